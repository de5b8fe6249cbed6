"""The live feed: what is new in the log goes to the clients that want it, at most every twentieth of a second per client.

All of it runs on the server's loop, but for reading and opening frames. Clients that are up to date share their messages
(:class:`Group`). One that does not take what it is sent falls behind, alone: it goes on from where it was when it has
room again (:class:`CatchingUp`). So there is no queue a client; the log is the queue.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Final

from sonde.api.live.catching_up import CatchingUp
from sonde.api.live.groups import Groups, Ready
from sonde.api.live.items import Item, Items
from sonde.api.live.parcel import Parcel
from sonde.api.live.place import Place
from sonde.api.live.recent import Recent
from sonde.api.live.subscription import Subscription
from sonde.api.live.wanted import Wanted
from sonde.changes import Step
from sonde.clock import Clock, Micros
from sonde.fresh import Fresh
from sonde.metrics import Metrics
from sonde.ports import Feed

COALESCE_SECONDS: Final = 0.02
_QUIET_SECONDS: Final = 5.0
_LINGER_SECONDS: Final = 30.0  # after the last client went, before the log is not followed any more
_RECENT_BYTES: Final = 32 << 20
_GATHER_SECONDS: Final = 0.5  # over which what the processor found is gathered
_MATCHES: Final = 50_000  # of those that are behind and what was found; beyond, they are told that there was something
_WAITING_READINGS: Final = 100_000  # told, and not looked at yet; then the feed waits


class LiveFeed:
    """Subscriptions, and what they are sent."""

    def __init__(self, feed: Feed, metrics: Metrics, clock: Clock) -> None:
        self.source = feed
        self.clock = clock
        self.recent = Recent(_RECENT_BYTES)
        self.moved = asyncio.Event()
        self.metrics = metrics
        self._front: dict[int, int] = {}  # what was sent to those that are live
        self._told: dict[int, int] = {}  # what waits to be sent besides
        self._groups = Groups(feed.series)
        self._behind: set[Subscription] = set()
        self._catching_up = CatchingUp(self, feed, metrics)
        self._pending: list[Fresh] = []
        self._waiting = 0
        self._room = threading.Event()
        self._room.set()
        self._timer: asyncio.TimerHandle | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._items = Items()
        self._linger: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        self._delivered = 0
        self._due = 0.0
        self._subscriptions = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def place(self) -> Place:
        """Now: the end of the log."""
        return Place(self.source.id, {partition: end for partition, (_, end) in self.source.ends().items()})

    async def place_at(self, moment: Micros) -> Place:
        """Where the log was at a moment."""
        at, partitions = self.source.at, list(self.source.ends())
        return Place(self.source.id, {p: await asyncio.to_thread(at, p, moment) for p in partitions})

    def front(self, partition: int) -> int | None:
        """The next offset that those who are live will get; none while that is not known."""
        return self._front.get(partition)

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to send."""
        self._subscriptions += 1
        self._begin()
        self._go_behind(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Send nothing more."""
        if subscription.ended:
            return
        subscription.end()
        self._subscriptions -= 1
        self._behind.discard(subscription)
        if subscription.is_live:
            self._groups.leave(subscription)
        if not self._subscriptions and self._loop is not None:
            self._linger = self._loop.call_later(_LINGER_SECONDS, self._rest)

    def where(self, subscription: Subscription) -> Place:
        """Where a subscription is."""
        return Place(self.source.id, self._front) if subscription.is_live else subscription.place

    def join(self, subscription: Subscription) -> bool:
        """Let a subscription be live, if it is where those are that are; whether it was."""
        place = subscription.place
        if place.within or any(self._front.get(p) != offset for p, offset in place.offsets.items()):
            return False
        self._groups.join(subscription)
        subscription.resumed, subscription.task, subscription.matching = False, None, None
        self._behind.discard(subscription)
        self._pay(subscription, place)
        return True

    def _pay(self, subscription: Subscription, place: Place) -> None:
        """Say what could not be said while a subscription was behind."""
        parcel = Parcel(subscription.wanted)
        for type_, members in subscription.owed:
            parcel.say(type_, place, members)
        if subscription.owes_more:
            why = "alerts and corrections were left out: ask for them again"
            parcel.say("gap", place, {"from": str(place), "to": str(place), "reason": "slow", "detail": why})
            self.metrics.live_gaps.labels("slow").inc()
        subscription.owed, subscription.owes_more = [], False
        for frame in parcel.take():
            subscription.room.line.send(frame.frame)

    def _go_behind(self, subscription: Subscription) -> None:
        self._behind.add(subscription)
        subscription.task = asyncio.get_running_loop().create_task(self._catching_up.run(subscription))

    def _begin(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._quiet = self._loop.call_later(_QUIET_SECONDS, self._say_where)
            self.source.listen(self._hear)

    def _rest(self) -> None:
        self.source.listen(None)
        for timer in (self._timer, self._quiet, self._telling):
            if timer is not None:
                timer.cancel()
        self._loop = self._timer = self._quiet = self._telling = None
        self._items = Items()
        self._pending.clear()
        self._front.clear()
        self._told.clear()
        self.recent.clear()
        self._waiting = 0
        self._room.set()

    def _hear(self, fresh: Sequence[Fresh]) -> None:
        """Called by the feed, on its own thread; it waits if the loop has no time for what was told already."""
        loop = self._loop
        if loop is None:
            return
        while not self._room.wait(1.0) and not loop.is_closed():
            continue
        with contextlib.suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(self._take, fresh)

    def _take(self, told: Sequence[Fresh]) -> None:
        if self._loop is None:
            return
        for fresh in told:
            expected = self._told.get(fresh.partition)
            if expected is not None and fresh.until <= expected:
                continue
            if expected is not None and fresh.offset > expected:
                self._jump(fresh)
            elif expected is None:
                self._begin_at(fresh)
            self._told[fresh.partition] = fresh.until
            if fresh.until > fresh.offset:
                self._pending.append(fresh)
                self._waiting += len(fresh.batch) if fresh.batch is not None else 1
        if self._waiting > _WAITING_READINGS:
            self._room.clear()
        if self._pending:
            self._schedule(0.0)
        else:
            self._wake()

    def _begin_at(self, fresh: Fresh) -> None:
        """The feed may begin at the end of the log: those that asked a moment ago read by themselves what has come since."""
        self._front[fresh.partition] = fresh.offset
        for subscription in self._behind:
            subscription.resumed |= subscription.place.offsets.get(fresh.partition, fresh.offset) < fresh.offset

    def _jump(self, fresh: Fresh) -> None:
        """The feed goes on further ahead: those that are live read what lies between by themselves."""
        self._flush()
        for group in self._groups:
            for subscription in list(group.members):
                subscription.resumed = True
                self._fall_behind(subscription, Place(self.source.id, self._front))
        self._front[fresh.partition] = fresh.offset

    def _fall_behind(self, subscription: Subscription, place: Place) -> None:
        subscription.place = place.copy()
        self._groups.leave(subscription)
        self._go_behind(subscription)

    def _schedule(self, after: float) -> None:
        """See to it that what waits is sent, not before ``after`` seconds and not sooner after the last time than we may."""
        if self._loop is None:
            return
        when = self._loop.time() + max(after, self._flushed + COALESCE_SECONDS - time.monotonic(), 0.0)
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due = when  # uvloop's handle for what is due at once cannot say when
        self._timer = self._loop.call_at(when, self._flush)

    def _flush(self) -> None:
        """Send what has come to those that are live."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed = now = time.monotonic()
        before, place = Place(self.source.id, self._front), Place(self.source.id, self._front)
        pending, self._pending, self._waiting = self._pending, [], 0
        for fresh in pending:
            self._groups.sort(fresh, place)
            place.move(fresh.partition, fresh.until)
            self.recent.put(fresh)
        self._front.update(place.offsets)
        self._send(before, place, now)
        self._room.set()
        if pending:
            self._wake()
            self.metrics.live_seconds.observe(time.monotonic() - now)
        due = self._groups.due()
        if due is not None:
            self._schedule(max(COALESCE_SECONDS, due - now))

    def committed(self, step: Step) -> None:
        """See :meth:`sonde.ports.Onlooker.committed`."""
        loop = self._loop
        if loop is not None and (step.alerts or step.corrected):
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._gather, step)

    def _gather(self, step: Step) -> None:
        self._items.put(step)
        if self._loop is not None and self._telling is None:
            self._telling = self._loop.call_later(_GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        """Tell what the processor found."""
        self._telling = None
        self._flush()  # first what came before it
        place = Place(self.source.id, self._front)
        items = list(self._items.take())
        for item in items:
            self._groups.say(item, place)
        self._owe(items)
        self._send(place, place, time.monotonic())

    def _owe(self, items: Sequence[Item]) -> None:
        """Keep what was found for those that are behind."""
        wanting: dict[Wanted, list[Subscription]] = {}
        for subscription in self._behind:
            wanting.setdefault(subscription.wanted, []).append(subscription)
        many = len(items) * len(wanting) > _MATCHES
        for wanted, subscriptions in wanting.items():
            of_kind = [item for item in items if item.type in wanted.kinds]
            theirs = () if many else [i for i in of_kind if i.series is None or wanted.matches(i.series)]
            for subscription in subscriptions:
                subscription.owes_more |= many and bool(of_kind)
                for item in theirs:
                    subscription.owe(item.type, item.members)

    def _send(self, before: Place, place: Place, now: float) -> None:
        """Send what there is, now that the log was read from ``before`` up to ``place``. One whose client does not take it
        goes on by itself from where it is."""
        slow: list[tuple[Subscription, Place]] = []
        for ready in self._groups.take(before, place, now):
            for subscription in ready.group.members:
                behind = self._send_to(subscription, ready)
                if behind is not None:
                    slow.append((subscription, behind))
        self.metrics.live_readings.inc(self._delivered)
        self._delivered = 0
        for subscription, behind in slow:
            self._fall_behind(subscription, behind)

    def _send_to(self, subscription: Subscription, ready: Ready) -> Place | None:
        """Send what there is; where the subscription is if its client does not take all of it."""
        line, behind = subscription.room.line, ready.before
        for number, frame in enumerate(ready.frames):
            if ready.overrun or not line.has_room:
                for left in ready.frames[number:]:
                    if left.not_in_log is not None:
                        subscription.owe(*left.not_in_log)
                return behind
            line.send(frame.frame)
            self._delivered += frame.readings
            behind = frame.behind
        return behind if ready.overrun else None

    def _wake(self) -> None:
        """Let those that are behind look again."""
        self.moved.set()
        self.moved = asyncio.Event()

    def _say_where(self) -> None:
        """Tell those to whom nothing was sent for a while how far they are: so they need not read it again."""
        if self._loop is None:
            return
        place = Place(self.source.id, self._front)
        for group in self._groups:
            if group.is_quiet and not group.wanted.plain and group.due() is None:
                self._groups.say_where(group, place)
        self._send(place, place, time.monotonic())
        for group in self._groups:
            group.is_quiet = True
        self._quiet = self._loop.call_later(_QUIET_SECONDS, self._say_where)
