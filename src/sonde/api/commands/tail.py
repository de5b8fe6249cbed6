"""What the log says of commands and profiles, as soon as it says it."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sonde.clock import Clock, Micros
from sonde.entry import Entry, EntryKind
from sonde.errors import Damaged, Hold, Invalid, NotFound, Retry, SondeError
from sonde.frame import Opener
from sonde.ports import Log

_KINDS: Final = frozenset({EntryKind.COMMAND, EntryKind.PROFILE})
_READ_BYTES: Final = 1 << 20
_IDLE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0
_log = structlog.get_logger()

Begin = Callable[[], int]
News = tuple[Micros, Sequence[Entry]]
Tell = Callable[[int, Sequence[News]], None]


class Tail:
    """A thread that follows one partition of a log. ``begin`` makes ready and gives the offset from which to follow, or raises
    :class:`Retry`; ``tell`` is given the offset up to which the log was read, and of each frame with commands or profiles its
    log time and those entries.

    What cannot be read is passed over: the processor marks it.
    """

    def __init__(self, log: Log, opener: Opener, partition: int, *, begin: Begin, tell: Tell, clock: Clock) -> None:
        self.problem = ""
        self._log, self._opener, self._partition = log, opener, partition
        self._begin, self._tell, self._clock = begin, tell, clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except SondeError as error:
                self._wait(str(error))
            except Exception as error:  # a bug must not end the thread: it begins again from the store
                if not self._stopped.is_set():
                    _log.exception("commands_failed")
                    self._wait(repr(error))

    def _wait(self, why: str) -> None:
        if why != self.problem:
            _log.warning("commands_wait", reason=why)
        self.problem = why
        self._clock.wait(self._stopped, _RETRY_SECONDS)

    def _follow(self) -> None:
        offset = self._begin()
        self.problem = ""
        while not self._stopped.is_set():
            try:
                records = self._log.read(self._partition, offset, _READ_BYTES, _IDLE_SECONDS)
            except Damaged as damage:
                if damage.next_offset is None or damage.next_offset <= offset:
                    raise
                offset = damage.next_offset
                continue
            except NotFound as error:  # it was cut: the store knows what stood there
                raise Retry(str(error)) from None
            if records:
                offset = records[-1].offset + 1
                self._tell(offset, [news for record in records if (news := self._news(record.frame))])

    def _news(self, frame: bytes) -> News | None:
        try:
            header, entries = self._opener.open_entries(frame)
        except (Invalid, Damaged):
            return None
        except Hold as error:  # its key is away; without it nobody knows whether it holds commands
            raise Retry(str(error)) from None
        mine = [entry for entry in entries if entry.kind in _KINDS]
        return (header.log_time, mine) if mine else None
