"""The chain of frames in a partition: each names its predecessor, so that one that was removed, moved or put in is missed."""

from sonde.frame import NO_TAG, Header, tag


class Chain:
    """Follows the frames of one partition in order. ``cut`` says that the log no longer begins with its first frame."""

    def __init__(self, *, cut: bool) -> None:
        self._session = b""
        self._number = 0
        self._tag = NO_TAG
        self._seen: set[bytes] = set()
        self._unknown = cut  # what comes before the next frame cannot be known

    def follow(self, header: Header, frame: bytes | memoryview) -> str | None:
        """What is wrong with ``frame`` coming after the one before it; ``None`` if nothing is."""
        wrong = None if self._unknown else self._wrong(header)
        self._unknown = False
        self._seen.add(header.session)
        self._session, self._number, self._tag = header.session, header.number, tag(header.codec, frame)
        return wrong

    def lose(self) -> None:
        """A frame could not be read: nothing is said about the next one."""
        self._unknown = True

    def _wrong(self, header: Header) -> str | None:
        if header.session == self._session:
            if header.number != self._number + 1:
                return f"frame {header.number} of its session comes after frame {self._number}"
            return None if header.previous == self._tag else "it was sealed after another frame than the one before it"
        if header.session in self._seen:
            return "its session had ended before"
        if header.number:
            return f"the first {header.number} frames of its session are missing"
        if header.previous not in {NO_TAG, self._tag}:
            return "its session began after another frame than the one before it"
        return None
