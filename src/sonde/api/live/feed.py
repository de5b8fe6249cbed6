"""The live feed: what is new in the log goes to the clients that want it, at most every twentieth of a second per client.

All of it runs on the server's loop, but for reading and opening frames. Clients that are up to date share their messages
(:class:`Group`). One that does not take what it is sent falls behind, alone: it goes on from where it was when it has
room again (:class:`CatchingUp`). So there is no queue a client; the log is the queue.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from sonde.api.live.catching_up import CatchingUp
from sonde.api.live.group import Group
from sonde.api.live.index import Index
from sonde.api.live.news import NEWS
from sonde.api.live.parcel import Parcel, Sealed
from sonde.api.live.place import Place
from sonde.api.live.recent import Recent
from sonde.api.live.subscription import Subscription
from sonde.api.live.thinning import Held
from sonde.api.live.wanted import Wanted
from sonde.api.live.writer import Rows
from sonde.fresh import Fresh
from sonde.metrics import Metrics
from sonde.ports import Feed

COALESCE_SECONDS: Final = 0.02
_QUIET_SECONDS: Final = 5.0
_LINGER_SECONDS: Final = 30.0  # after the last client went, before the log is not followed any more
_RECENT_BYTES: Final = 32 << 20
_WAITING_READINGS: Final = 100_000  # told, and not looked at yet; then the feed waits


class LiveFeed:
    """Subscriptions, and what they are sent."""

    def __init__(self, feed: Feed, metrics: Metrics) -> None:
        self.source = feed
        self.recent = Recent(_RECENT_BYTES)
        self.moved = asyncio.Event()
        self.metrics = metrics
        self._front: dict[int, int] = {}  # what was sent to those that are live
        self._told: dict[int, int] = {}  # what waits to be sent besides
        self._index = Index(feed.series)
        self._groups: dict[Wanted, Group] = {}
        self._catching_up = CatchingUp(self, feed, metrics)
        self._pending: list[Fresh] = []
        self._waiting = 0
        self._room = threading.Event()
        self._room.set()
        self._timer: asyncio.TimerHandle | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        self._subscriptions = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def place(self) -> Place:
        """Now: the end of the log."""
        return Place(self.source.id, {partition: end for partition, (_, end) in self.source.ends().items()})

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
        if subscription.is_live:
            self._leave(subscription)
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
        group = self._groups.get(subscription.wanted)
        if group is None:
            group = self._groups[subscription.wanted] = Group(subscription.wanted)
            self._index.add(group)
        group.members[subscription] = None
        subscription.is_live, subscription.resumed, subscription.task = True, False, None
        subscription.known.clear()
        return True

    def _leave(self, subscription: Subscription) -> None:
        subscription.is_live = False
        group = self._groups[subscription.wanted]
        del group.members[subscription]
        if not group.members:
            del self._groups[subscription.wanted]
            self._index.remove(group)

    def _go_behind(self, subscription: Subscription) -> None:
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
        for timer in (self._timer, self._quiet):
            if timer is not None:
                timer.cancel()
        self._loop = self._timer = self._quiet = None
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
        self._room.wait(1.0)
        try:
            loop.call_soon_threadsafe(self._take, fresh)
        except RuntimeError:  # the server has ended
            return

    def _take(self, told: Sequence[Fresh]) -> None:
        if self._loop is None:
            return
        for fresh in told:
            expected = self._told.get(fresh.partition)
            if expected is not None and fresh.until <= expected:
                continue
            if expected is not None and fresh.offset > expected:
                self._jump(fresh)
            self._front.setdefault(fresh.partition, fresh.offset)
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

    def _jump(self, fresh: Fresh) -> None:
        """The feed goes on further ahead: those that are live read what lies between by themselves."""
        self._flush()
        for group in list(self._groups.values()):
            for subscription in list(group.members):
                self._fall_behind(subscription)
        self._front[fresh.partition] = fresh.offset

    def _fall_behind(self, subscription: Subscription) -> None:
        subscription.place, subscription.resumed = Place(self.source.id, self._front), True
        self._leave(subscription)
        self._go_behind(subscription)

    def _schedule(self, after: float) -> None:
        """See to it that what waits is sent, not before ``after`` seconds and not sooner after the last time than we may."""
        if self._loop is None:
            return
        when = self._loop.time() + max(after, self._flushed + COALESCE_SECONDS - time.monotonic(), 0.0)
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._flush)

    def _flush(self) -> None:
        """Send what has come to those that are live."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed = now = time.monotonic()
        before, place = Place(self.source.id, self._front), Place(self.source.id, self._front)
        pending, self._pending, self._waiting = self._pending, [], 0
        touched: dict[Group, None] = {}
        for fresh in pending:
            self._sort(fresh, place, touched)
            place.move(fresh.partition, fresh.until)
            self.recent.put(fresh)
        self._front.update(place.offsets)
        due = self._send(touched, before, place, now)
        if touched:
            self.metrics.live_seconds.observe(time.monotonic() - now)
        self._room.set()
        if pending:
            self._wake()
        if due is not None:
            self._schedule(max(COALESCE_SECONDS, due - now))

    def _sort(self, fresh: Fresh, place: Place, touched: dict[Group, None]) -> None:
        """Put what a frame brings into the parcels of those who want it."""
        if fresh.series is not None:
            found = self._index.rows(fresh.series)
            if len(found):
                self._sort_readings(fresh, found, place, touched)
        if fresh.lost:
            behind = place.copy()
            behind.move(fresh.partition, fresh.until)
            for group in self._groups.values():
                say_lost(group.parcel, place, behind, fresh.lost)
                touched[group] = None
        for entry in fresh.entries:
            news = NEWS[entry.kind](entry, fresh.log_time) if entry.kind in NEWS else None
            if news is not None:
                for group in self._groups.values():
                    if news.type in group.wanted.kinds and group.wanted.matches_device(news.device):
                        group.parcel.say(news.type, place, **news.members)
                        touched[group] = None

    def _sort_readings(self, fresh: Fresh, found: Any, place: Place, touched: dict[Group, None]) -> None:
        rows = Rows(fresh, found, self.source.series)
        partition, offset, of = fresh.partition, fresh.offset, self._index.of
        for i, (row, number) in enumerate(zip(found.tolist(), rows.ids, strict=True)):
            v1 = plain = None
            for group in of(number):
                if group.wanted.plain:
                    plain = plain or rows.plain(i)
                    held = Held(plain, partition, offset, row)
                else:
                    v1 = v1 or rows.v1(i)
                    held = Held(v1, partition, offset, row)
                group.add(number, held, place)
                touched[group] = None

    def _send(self, touched: dict[Group, None], before: Place, place: Place, now: float) -> float | None:
        """Send what groups have to their members; when something that is held back may go."""
        due: float | None = None
        for group in list(self._groups.values()):
            if not group.wanted.rate and group not in touched:
                continue
            frames = group.take(place, now)
            held = group.due()
            due = held if due is None or (held is not None and held < due) else due
            if frames:
                self._send_to(group, frames, before)
        return due

    def _send_to(self, group: Group, frames: Sequence[Sealed], before: Place) -> None:
        """Send messages to all who are live; one whose client does not take them goes on by itself from where it is."""
        slow: list[tuple[Subscription, Place]] = []
        readings = 0
        for subscription in group.members:
            room, behind = subscription.room, before
            for frame in frames:
                if not room.is_free:
                    slow.append((subscription, behind))
                    break
                room.send(frame.frame)
                readings += frame.readings
                behind = frame.behind
        self.metrics.live_readings.inc(readings)
        for subscription, behind in slow:
            self._leave(subscription)
            subscription.place = behind.copy()
            self._go_behind(subscription)

    def _wake(self) -> None:
        """Let those that are behind look again."""
        self.moved.set()
        self.moved = asyncio.Event()

    def _say_where(self) -> None:
        """Tell those to whom nothing was sent for a while how far they are: so they need not read it again."""
        if self._loop is None:
            return
        place = Place(self.source.id, self._front)
        for group in list(self._groups.values()):
            if group.is_quiet and not group.wanted.plain and group.due() is None:
                group.parcel.say("cursor", place)
                self._send_to(group, group.parcel.take(), place)
            group.is_quiet = True
        self._quiet = self._loop.call_later(_QUIET_SECONDS, self._say_where)


def say_lost(parcel: Parcel, place: Place, behind: Place, why: str) -> None:
    """Say that a stretch of the log cannot be read."""
    parcel.say("gap", behind, **{"from": str(place), "to": str(behind), "reason": "damaged", "detail": why})
