"""The live feed's end in the log: each frame opened once, as soon as it is there, and what is new in it told."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from sonde.changes import Series, State
from sonde.clock import Clock, Micros, SystemClock
from sonde.errors import Damaged, Hold, NewerFormat, NotFound, Retry
from sonde.frame import MAGIC, Opener, read_header
from sonde.fresh import Fresh
from sonde.ports import Identities, Log, ReadEvents
from sonde.process.ahead import Ahead
from sonde.process.follower import Follower
from sonde.process.meaning import Meaning, Roll

_log = structlog.get_logger()
_IDLE_SECONDS: Final = 0.2
_TURN_SECONDS: Final = 0.02  # between two looks at several partitions of which none has anything new
_RETRY_SECONDS: Final = 1.0
_SURE_SECONDS: Final = 2.0
Tell = Callable[[Sequence[Fresh]], None]


class Following:
    """A :class:`sonde.ports.Feed` of all partitions, beside processors wherever they are.

    What is new it decides as they do, from the same standing: the store's when somebody began to listen, which ``load`` gives
    for a partition. It runs ahead of them, whose commits it does not wait for. If the store cannot be asked then, or is far
    behind, it follows from the end of the log, and something that comes again may be told again; it begins anew as soon as
    ``stored``, the next offset of each partition that is to be stored, is near that end. Both raise :class:`Retry` if that is
    not known now. While nobody listens it does nothing. A partition that cannot be followed now keeps no other from it.
    """

    def __init__(
        self,
        log: Log,
        load: Callable[[int], State],
        identities: Identities,
        opener: Opener,
        *,
        stored: Callable[[], Mapping[int, int]],
        clock: Clock | None = None,
        events: ReadEvents | None = None,
    ) -> None:
        self._log = log
        self._load, self._stored = load, stored
        self._events = events
        self._clock = clock or SystemClock()
        self._tell: Tell | None = None
        self._heard = threading.Event()
        self._roll = Roll()
        ahead = Ahead(identities)
        self._followers = {
            number: Follower(log, number, opener, Meaning(self._roll), ahead, clock=self._clock, events=events)
            for number in sorted(log.ends()) or [0]
        }
        self._again = dict.fromkeys(self._followers, float("-inf"))  # when each may be tried next
        self._ask_again = float("-inf")  # whether the store is near the end by now
        self._problems: dict[int, str] = {}
        self.id = log.id

    @property
    def problem(self) -> str | None:
        """What keeps some partition from being followed."""
        return next(iter(self._problems.values()), None)

    @property
    def unsure(self) -> bool:
        """Whether of some partition not all is known that came before: what comes again there may be told again."""
        return any(follower.begun and not follower.sure for follower in self._followers.values())

    def listen(self, tell: Tell | None) -> None:
        """See :meth:`sonde.ports.Feed.listen`."""
        self._tell = tell
        self._heard.set()

    def series(self, number: int) -> Series:
        """See :meth:`sonde.ports.Feed.series`."""
        return self._roll.series[number]

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """See :meth:`sonde.ports.Feed.ends`."""
        ends = self._log.ends()
        return {number: ends.get(number, (0, 0)) for number in self._followers}

    def read(self, partition: int, offset: int, limit_bytes: int) -> Sequence[Fresh]:
        """See :meth:`sonde.ports.Feed.read`."""
        follower = self._followers.get(partition)
        if follower is None:
            raise NotFound(f"the log has no partition {partition}")
        found = follower.read(offset, limit_bytes)
        if not found:
            raise Retry(f"the log holds nothing at offset {offset} yet", after=_IDLE_SECONDS)
        return found

    def at(self, partition: int, log_time: Micros) -> int:
        """See :meth:`sonde.ports.Feed.at`. A frame that cannot be read counts as late: rather too many than too few."""
        low, high = self._log.ends().get(partition, (0, 0))
        while low < high:
            middle = (low + high) // 2
            if self._is_before(partition, middle, log_time):
                low = middle + 1
            else:
                high = middle
        return low

    def _is_before(self, partition: int, offset: int, log_time: Micros) -> bool:
        try:
            (record, *_) = self._log.read(partition, offset, 1)
            if self._events is not None and not record.frame.startswith(MAGIC):
                return record.time < log_time
            return read_header(record.frame).log_time < log_time
        except NotFound:  # cut meanwhile
            return True
        except (Damaged, NewerFormat):
            return False

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop``. While that cannot be, ``problem`` says why, and it tries again."""
        while not stop.is_set():
            tell = self._tell
            if tell is None:
                for follower in self._followers.values():
                    follower.rest()
                self._heard.wait(_IDLE_SECONDS)
                self._heard.clear()
            elif not self._turn(tell):
                self._clock.wait(stop, _TURN_SECONDS)

    def _turn(self, tell: Tell) -> bool:
        """Look once at each partition; whether it need not be waited before the next look."""
        if self.unsure and self._clock.monotonic() >= self._ask_again:
            self._make_sure(tell)
            self._ask_again = self._clock.monotonic() + _SURE_SECONDS
        several = len(self._followers) > 1
        moved = False
        for number, follower in self._followers.items():
            if self._clock.monotonic() < self._again[number]:
                continue
            moved |= self._follow(number, follower, tell, 0.0 if several else _IDLE_SECONDS)
        return moved or (not several and not self._problems)

    def _follow(self, number: int, follower: Follower, tell: Tell, wait: float) -> bool:
        """Tell what is new in a partition; whether there was something."""
        try:
            told = follower.look(wait) if follower.begun else self._begin(number, follower)
        except (Retry, Hold, NotFound) as error:
            self._fail(number, follower, str(error))
            return False
        except Exception as error:  # a mistake of ours: those who listen go on from where they are
            _log.exception("feed_failed", event_name="feed.failed", partition=number)
            self._fail(number, follower, f"the live feed failed: {error!r}; it tries again")
            return False
        self._problems.pop(number, None)
        if told:
            tell(told)
        return bool(told)

    def _begin(self, number: int, follower: Follower) -> Sequence[Fresh]:
        try:
            state = self._load(number)
        except Retry as error:
            _log.warning("feed_unsure", event_name="feed.unsure", partition=number, problem=str(error))
            return follower.begin(None)
        return follower.begin(state)

    def _make_sure(self, tell: Tell) -> None:
        """Begin those anew of whom the store knows by now what came before."""
        try:
            stored, ends = self._stored(), self.ends()
            for number, follower in self._followers.items():
                if follower.begun and not follower.sure and follower.is_near(stored.get(number, 0), ends[number][1]):
                    tell(follower.begin(self._load(number)))
        except (Retry, Hold, NotFound):  # whoever asks them for something else says why
            return

    def _fail(self, number: int, follower: Follower, problem: str) -> None:
        if self._problems.get(number) != problem:
            _log.warning("feed_waits", event_name="feed.waits", partition=number, problem=problem)
        self._problems = {**self._problems, number: problem}
        self._again[number] = self._clock.monotonic() + _RETRY_SECONDS
        follower.rest()
