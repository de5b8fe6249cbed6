"""The chain of frames in a partition: each names its predecessor, so that one that was removed, moved or put in is missed."""

from collections import OrderedDict, deque
from typing import Final, Protocol

from sonde.frame import NO_TAG, Header, tag

_SESSIONS: Final = 10_000
_TAGS: Final = 100_000


class Follows(Protocol):
    """Follows the frames of one partition in order."""

    def follow(self, header: Header, frame: bytes | memoryview) -> str | None:
        """What is wrong with ``frame`` coming after those before it; ``None`` if nothing is."""
        ...

    def lose(self) -> None:
        """A frame could not be read: nothing is said about the next one."""
        ...


class Chain:
    """One writer: its sessions follow each other, and each names the end of the one before. ``cut`` says that the log no
    longer begins with its first frame."""

    def __init__(self, *, cut: bool) -> None:
        self._session = b""
        self._number = 0
        self._tag = NO_TAG
        self._seen: set[bytes] = set()
        self._unknown = cut  # what comes before the next frame cannot be known

    def follow(self, header: Header, frame: bytes | memoryview) -> str | None:
        """See :class:`Follows`."""
        wrong = None if self._unknown else self._wrong(header)
        self._unknown = False
        self._seen.add(header.session)
        self._session, self._number, self._tag = header.session, header.number, tag(header.codec, frame)
        return wrong

    def lose(self) -> None:
        """See :class:`Follows`."""
        self._unknown = True

    def _wrong(self, header: Header) -> str | None:
        if header.session == self._session:
            return _after(header, self._number, self._tag)
        if header.session in self._seen:
            return "its session had ended before"
        if header.number:
            return f"the first {header.number} frames of its session are missing"
        if header.previous not in {NO_TAG, self._tag}:
            return "its session began after another frame than the one before it"
        return None


class SharedChain:
    """Several writers at a time: their sessions interleave, as the frames of several sinks in one partition do.

    Each session is a chain of its own, in which nothing can be removed, moved or put in unseen. Where it began it names a
    frame that was the last one then; others may have come in between. So what is not seen is that the end of a session is
    missing which none that began later names.
    """

    def __init__(self, *, cut: bool) -> None:
        self._sessions: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()  # number and tag of the newest frame
        self._tags: deque[bytes] = deque()
        self._known: set[bytes] = set()
        self._unknown = cut  # there may be frames that are not known

    def follow(self, header: Header, frame: bytes | memoryview) -> str | None:
        """See :class:`Follows`."""
        before = self._sessions.pop(header.session, None)
        wrong = _after(header, *before) if before is not None else self._first(header)
        own = tag(header.codec, frame)
        self._sessions[header.session] = header.number, own
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
            self._unknown = True
        self._tags.append(own)
        self._known.add(own)
        if len(self._tags) > _TAGS:
            self._known.discard(self._tags.popleft())
            self._unknown = True
        return wrong

    def lose(self) -> None:
        """See :class:`Follows`: it may have been a frame of any session."""
        self._sessions.clear()
        self._unknown = True

    def _first(self, header: Header) -> str | None:
        if self._unknown:
            return None
        if header.number:
            return f"the first {header.number} frames of its session are missing"
        if header.previous != NO_TAG and header.previous not in self._known:
            return "its session began after a frame that is not here"
        return None


def _after(header: Header, number: int, before: bytes) -> str | None:
    """What is wrong with a frame coming after another of its session."""
    if header.number != number + 1:
        return f"frame {header.number} of its session comes after frame {number}"
    return None if header.previous == before else "it was sealed after another frame than the one before it"
