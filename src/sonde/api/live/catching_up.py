"""Bringing a subscription from where it is to where the others are: what it missed, once, in order, then live."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import structlog

from sonde.api.live.matching import Matching, Rows
from sonde.api.live.news import NEWS
from sonde.api.live.parcel import Parcel
from sonde.api.live.recent import Recent
from sonde.api.live.subscription import Subscription
from sonde.api.live.writer import Readings
from sonde.clock import SECOND
from sonde.errors import Damaged, Hold, NotFound, Retry
from sonde.fresh import Fresh
from sonde.metrics import Metrics
from sonde.ports import Feed

_log = structlog.get_logger()
_READ_BYTES: Final = 1 << 20  # of sealed frames a read
_AT_ONCE: Final = 5000  # readings looked at before others have a turn
_OLD_BYTES: Final = 16 << 20
_WAIT_SECONDS: Final = 1.0


class Front(Protocol):
    """What those that are live have, as one that comes behind needs to know it."""

    recent: Recent
    moved: asyncio.Event

    def front(self, partition: int) -> int | None:
        """The next offset that those who are live will get; none while that is not known."""
        ...

    def join(self, subscription: Subscription) -> bool:
        """Let a subscription be live, if it is where those are that are; whether it was."""
        ...


class CatchingUp:
    """One task a subscription that is behind. Frames that are not at hand any more are read one stretch at a time."""

    def __init__(self, front: Front, feed: Feed, metrics: Metrics) -> None:
        self._front = front
        self._feed = feed
        self._metrics = metrics
        self._old = Recent(_OLD_BYTES)
        self._turn = asyncio.Semaphore(1)

    async def run(self, subscription: Subscription) -> None:
        """Until it is live, or has ended."""
        parcel = Parcel(subscription.wanted)
        try:
            while not subscription.ended:
                await subscription.room.wait()
                if self._front.join(subscription):
                    return
                await self._step(subscription, parcel)
        except Exception:
            _log.exception("live_subscription_failed", event_name="live.failed", at=str(subscription.place))
            raise

    async def _step(self, subscription: Subscription, parcel: Parcel) -> None:
        place = subscription.place
        moved = self._front.moved
        for partition, offset in place.offsets.items():
            front = self._front.front(partition)
            if front is not None and offset < front:
                await self._advance(subscription, parcel, partition, offset, front)
                return
        await moved.wait()

    async def _advance(
        self, subscription: Subscription, parcel: Parcel, partition: int, offset: int, front: int
    ) -> None:
        frames = self._front.recent.read(partition, offset, front, _AT_ONCE)
        if not frames and not subscription.resumed:
            self._lose(subscription, parcel, "slow")
            return
        if not frames:
            frames = await self._read(subscription, parcel, partition, offset, front)
        frames = [fresh for fresh in frames if fresh.offset < front]
        for fresh, rows in self._chosen(subscription, parcel, frames):
            await self._give(subscription, parcel, fresh, rows)
        await self._send(subscription, parcel)
        await asyncio.sleep(0)

    async def _read(
        self, subscription: Subscription, parcel: Parcel, partition: int, offset: int, front: int
    ) -> Sequence[Fresh]:
        async with self._turn:
            found = self._old.read(partition, offset, front, _AT_ONCE)
            if found:
                return found
            try:
                found = await asyncio.to_thread(self._feed.read, partition, offset, _READ_BYTES)
            except NotFound:
                self._lose(subscription, parcel, "cut", {partition: self._feed.ends()[partition][0]})
            except Damaged as error:
                if error.next_offset is None or error.next_offset <= offset:
                    await asyncio.sleep(_WAIT_SECONDS)
                else:
                    self._lose(subscription, parcel, "damaged", {partition: error.next_offset})
            except (Retry, Hold):
                await asyncio.sleep(_WAIT_SECONDS)
        for fresh in found:
            self._old.put(fresh)
        return found

    def _lose(
        self, subscription: Subscription, parcel: Parcel, reason: str, offsets: dict[int, int] | None = None
    ) -> None:
        """Say what the client does not get, and go on behind it: where the live ones are, unless ``offsets`` says."""
        place = subscription.place
        before = str(place)
        if offsets is None:
            offsets = {p: front for p in place.offsets if (front := self._front.front(p)) is not None}
        for partition, offset in offsets.items():
            place.move(partition, offset)
        self._metrics.live_gaps.labels(reason).inc()
        parcel.say("gap", place, {"from": before, "to": str(place), "reason": reason})
        for frame in parcel.take():
            subscription.room.line.send(frame.frame)

    def _chosen(
        self, subscription: Subscription, parcel: Parcel, frames: Sequence[Fresh]
    ) -> Sequence[tuple[Fresh, Rows]]:
        """The frames, each with the rows of it that are wanted. With a rate, of those of one series that came in the same
        stretch of time the last."""
        rate, place = subscription.wanted.rate, subscription.place
        seen: set[tuple[int, int]] = set()
        chosen: list[tuple[Fresh, Rows]] = []
        for fresh in reversed(frames):
            rows = self._matching(subscription, fresh)
            if place.offsets[fresh.partition] == fresh.offset:
                rows = rows[rows >= place.within.get(fresh.partition, 0)]
            if rate and fresh.series is not None:
                stretch = int(fresh.log_time * rate // SECOND)
                kept = [row for row in rows[::-1].tolist() if _first_time(seen, (int(fresh.series[row]), stretch))]
                parcel.skipped += len(rows) - len(kept)
                rows = np.array(kept[::-1], np.intp)
            chosen.append((fresh, rows))
        return chosen[::-1]

    def _matching(self, subscription: Subscription, fresh: Fresh) -> Rows:
        """The rows of a frame that a subscription is about."""
        if fresh.series is None or "data" not in subscription.wanted.kinds:
            return np.zeros(0, np.intp)
        if subscription.matching is None:
            subscription.matching = Matching(subscription.wanted, self._feed.series)
        return subscription.matching.rows(fresh.series)

    async def _give(self, subscription: Subscription, parcel: Parcel, fresh: Fresh, rows: Rows) -> None:
        """Put what a frame brings into messages; send them as they are full."""
        place, wanted = subscription.place, subscription.wanted
        for start in range(0, len(rows), _AT_ONCE):
            await self._give_readings(subscription, parcel, fresh, rows[start : start + _AT_ONCE])
        for entry in fresh.entries:
            news = NEWS[entry.kind](entry, fresh.log_time) if entry.kind in NEWS else None
            if news is not None and news.type in wanted.kinds and wanted.matches_device(news.device):
                parcel.say(news.type, place, news.members)
        if fresh.lost:
            behind = place.copy()
            behind.move(fresh.partition, fresh.until)
            members = {"from": str(place), "to": str(behind), "reason": "damaged", "detail": fresh.lost}
            parcel.say("gap", behind, members)
        place.move(fresh.partition, fresh.until)

    async def _give_readings(self, subscription: Subscription, parcel: Parcel, fresh: Fresh, rows: Rows) -> None:
        readings = Readings(fresh, rows, self._feed.series)
        write = readings.plain if subscription.wanted.plain else readings.v1
        for i, row in enumerate(rows.tolist()):
            if parcel.is_full:
                subscription.place.move(fresh.partition, fresh.offset, row)
                await self._send(subscription, parcel)
            parcel.add(write(i))

    async def _send(self, subscription: Subscription, parcel: Parcel) -> None:
        parcel.seal(subscription.place)
        for frame in parcel.take():
            subscription.room.line.send(frame.frame)
            self._metrics.live_readings.inc(frame.readings)
            await asyncio.sleep(0)  # the others have a turn, however quickly this one reads
            await subscription.room.wait()


def _first_time(seen: set[tuple[int, int]], key: tuple[int, int]) -> bool:
    if key in seen:
        return False
    seen.add(key)
    return True
