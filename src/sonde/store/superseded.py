"""Files of parts that others have taken the place of: they stay while a question may read them."""

import threading
from collections.abc import Iterable


class Superseded:
    """Which questions began under which version of the layout, and which file the last one that had it was. From any thread."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._version = 0
        self._began: dict[int, int] = {}  # version → questions that may still see it
        self._files: list[tuple[int, str]] = []  # last version that has it, file

    def show(self, version: int) -> None:
        """Questions that begin from now on see this version."""
        with self._changing:
            self._version = version

    def begin(self) -> int:
        """A question begins; give what is returned to :meth:`end`."""
        with self._changing:
            self._began[self._version] = self._began.get(self._version, 0) + 1
            return self._version

    def end(self, version: int) -> None:
        with self._changing:
            self._began[version] -= 1
            if not self._began[version]:
                del self._began[version]

    def add(self, version: int, files: Iterable[str]) -> None:
        """Files that ``version`` was the last one to have."""
        with self._changing:
            self._files += [(version, name) for name in files]

    def still_read(self) -> set[str]:
        """The files that a question may still read; the others are forgotten."""
        with self._changing:
            seen = min(self._began, default=self._version)
            self._files = [(last, name) for last, name in self._files if last >= seen]
            return {name for _, name in self._files}
