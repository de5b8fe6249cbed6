"""Dead letters in memory: the same port, gone with the process."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sonde.errors import Retry
from sonde.ports import DeadLetter

LIMIT_BYTES: Final = 64 << 20


class MemoryDeadLetters:
    """The port ``DeadLetters`` in memory. ``append`` puts a frame at the end of a partition of the log that they are beside.
    Bounded: :class:`Retry` when ``limit_bytes`` of frames wait, until some are taken back."""

    def __init__(self, append: Callable[[int, bytes], int], *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._append = append
        self._lock = threading.Lock()
        self._waiting: dict[str, DeadLetter] = {}
        self._gone: set[str] = set()  # names of those that were taken back
        self._left = limit_bytes

    def put(self, letter: DeadLetter) -> None:
        with self._lock:
            if letter.name in self._waiting or letter.name in self._gone:
                return
            if len(letter.frame) > self._left:
                raise Retry("there is no room for more dead letters", hint="Take some back", after=1.0)
            self._left -= len(letter.frame)
            self._waiting[letter.name] = letter

    def letters(self, limit: int) -> Sequence[DeadLetter]:
        with self._lock:
            return list(self._waiting.values())[:limit]

    def take_back(self, letter: DeadLetter) -> int:
        offset = self._append(letter.partition, letter.frame)
        with self._lock:
            self._gone.add(letter.name)
            if self._waiting.pop(letter.name, None) is not None:
                self._left += len(letter.frame)
        return offset

    def close(self) -> None:
        return
