"""The sink: who sends, how much, is it valid; then into the log, and only then a receipt."""

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from sonde.access import Access, may_write
from sonde.clock import Clock, Micros
from sonde.entry import Entry
from sonde.errors import Forbidden, Reject, Retry, SondeError
from sonde.frame import Codec
from sonde.keyring import Keys
from sonde.metrics import Metrics
from sonde.ports import Credential, Log, Outgoing, StreamId, Telemetry
from sonde.routing import CONTROL, partition_of_lane
from sonde.sink import forms, identity, streams
from sonde.sink.admission import Admission
from sonde.sink.asked import deposit_of
from sonde.sink.columns import Received
from sonde.sink.commit import Committer
from sonde.sink.deposit import Deposit, Whole
from sonde.sink.limits import Limits
from sonde.sink.patience import Patience
from sonde.sink.queue import Queue, offer_together
from sonde.sink.refusals import Refusals, reason_of
from sonde.sink.session import Session
from sonde.sink.spread import Spreader
from sonde.sink.waiting import Waiting

_LIMITS: Final = Limits()
_HEAVY: Final = 512 << 10  # bodies from so many bytes on are read in a thread, so that small ones need not wait
_HEAVY_COMPRESSED: Final = 32 << 10
_WORKERS: Final = 2
_T = TypeVar("_T")


class Sink:
    """Ports ``Intake`` and ``Journal`` in front of a log.

    ``telemetry`` and ``uplink`` return when what they took is durable, in every partition that it goes to
    (:mod:`sonde.routing`). If that fails for one of them the whole request is an error, and other partitions may have
    their part: sent again, what has an identity is recognised there.
    While ``ticks`` says so of a partition, log time goes on there though nothing comes. ``stop`` takes nothing more in;
    ``close`` also finishes what was taken, and must be called.
    """

    def __init__(
        self,
        log: Log,
        ring: Keys,
        codec: Codec,
        access: Access,
        *,
        clock: Clock,
        metrics: Metrics,
        limits: Limits = _LIMITS,
        ticks: Callable[[int], bool] = lambda partition: False,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._admission = Admission(access, limits, clock)
        self._refusals = Refusals()
        self._streams = streams.Streams()
        self._patience = Patience(limits.waiting_seconds)
        self._readers = concurrent.futures.ThreadPoolExecutor(_WORKERS, thread_name_prefix="sonde-read")
        partitions = sorted(log.ends()) or [CONTROL]
        self._waiting = Waiting(limits)
        sessions = partial(Session, log, ring=ring, codec=codec, clock=clock)
        self._committers = {
            number: Committer(
                log,
                number,
                sessions(number),
                self._new_queue(),
                clock=clock,
                metrics=metrics,
                refusals=self._refusals if number == partitions[0] else None,
                ticks=partial(ticks, number),
            )
            for number in partitions
        }
        self._writers: list[Committer | Spreader] = list(self._committers.values())
        self._queues = [committer.queue for committer in self._committers.values()]
        if len(partitions) > 1:
            self._spread = self._new_queue()
            own = [sessions(number) for number in partitions]
            self._writers.append(Spreader(log, own, self._spread, clock=clock, metrics=metrics))

    @property
    def last_durable(self) -> Micros | None:
        """When the log was last written by this process."""
        return max((w.last_durable for w in self._writers if w.last_durable is not None), default=None)

    def sealing_keys(self) -> set[str]:
        """The names of the master keys that seal what is taken from now on: one, when a change is complete."""
        for writer in self._writers:
            writer.queue.wake.set()
        return set().union(*(writer.keys for writer in self._writers))

    def admit(self, token: str | None, scope: str, size: int, address: str, certificate: bytes = b"") -> Credential:
        try:
            return self._admission.admit(token, scope, size, address, certificate)
        except SondeError as error:
            self._metrics.refused.labels(reason_of(error)).inc()
            raise

    async def telemetry(self, who: Credential, request: Telemetry) -> int:
        now = self._clock.now()
        readings = 0
        try:
            received, body, home = await self._read(request, now)
            readings = len(received)
            if request.idempotency_key:
                identity.check_key(request.idempotency_key)
            if who.devices:
                _check_devices(who, received)
        except SondeError as error:
            self._refuse(who, error, readings)
            raise
        queue = self._spread if home is None else self._queues[home]
        await self._deposit([(queue, deposit_of(who, request.idempotency_key, body, received))])
        return readings

    async def uplink(self, who: Credential, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        size = sum(len(entry.content) for entry in entries)
        try:
            streams.check_stream(who, stream, entries)
            self._streams.check(who.node, stream, confirmed, entries[0].seq)
            check = partial(streams.check_entries, who, stream, entries, self._clock.now(), self._limits)
            checked = await self._in_thread(check) if size >= _HEAVY else check()
        except SondeError as error:  # the node keeps count of its own readings, so only the metric counts them here
            self._metrics.refused.labels(reason_of(error)).inc()
            raise
        await self._deposit(self._of_node(who.node, stream.lane, checked, size))
        self._streams.durable(who.node, stream, checked.until)
        return checked.until

    async def record(self, entries: Sequence[Entry], partition: int | None = None) -> Mapping[int, int]:
        """See :meth:`sonde.ports.Journal.record`."""
        loop = asyncio.get_running_loop()
        chosen = self._chosen(partition)
        answers = {number: loop.create_future() for number in chosen}
        for number, answer in answers.items():
            chosen[number].queue.offer(Deposit(lambda: entries, answer=answer))
            self._patience.add(answer, loop)
        return dict(zip(answers, await asyncio.gather(*answers.values()), strict=True))

    def record_now(self, entries: Sequence[Entry], partition: int | None = None) -> Mapping[int, int]:
        """The same from a thread that may wait, such as before a server runs."""
        offsets = {}
        for number, committer in self._chosen(partition).items():
            answer: concurrent.futures.Future[int] = concurrent.futures.Future()
            committer.queue.offer(Deposit(lambda: entries, answer=answer))
            try:
                offsets[number] = answer.result(self._limits.waiting_seconds)
            except TimeoutError:
                raise Retry("the disk is too slow", after=5.0) from None
        return offsets

    def stop(self) -> None:
        """Take nothing more in: :class:`Retry` to whoever comes."""
        for writer in self._writers:
            writer.queue.stop()

    def close(self) -> None:
        """Stop, and make durable what was taken; its senders hear of it if their event loop still runs."""
        self.stop()
        self._readers.shutdown()
        for writer in self._writers:
            writer.close()

    async def _read(self, request: Telemetry, now: Micros) -> tuple[Received, bytes, int | None]:
        size = len(request.body)
        if size >= _HEAVY or (request.content_encoding and size >= _HEAVY_COMPRESSED):
            return await self._in_thread(partial(self._understand, request, now))
        return self._understand(request, now)

    def _understand(self, request: Telemetry, now: Micros) -> tuple[Received, bytes, int | None]:
        received, body = forms.read(request, now, self._limits)
        return received, body, received.home(len(self._queues))

    def _in_thread(self, work: "partial[_T]") -> Awaitable[_T]:
        try:
            return asyncio.get_running_loop().run_in_executor(self._readers, work)
        except RuntimeError:
            raise Retry("the sink is shutting down", hint="Send again", after=1.0) from None

    async def _deposit(self, offers: Sequence[tuple[Queue, Deposit]]) -> None:
        """Return when all of them are durable; an error says nothing of any."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future() if len(offers) == 1 else Whole(len(offers), loop)
        for _, deposit in offers:
            deposit.answer = answer
        offer_together(offers, loop)
        self._patience.add(answer, loop)
        await answer

    def _of_node(self, node: str, lane: int, checked: streams.Checked, size: int) -> list[tuple[Queue, Deposit]]:
        """The entries of a lane, for its partition; and profiles for those by which readings are marked elsewhere."""
        count = len(self._queues)
        mine = partition_of_lane(node, lane, count)
        rows = sum(map(len, checked.parts))
        offers = [(self._queues[mine], Deposit(lambda: checked.entries, checked.parts, size, rows, "uplink"))]
        for number, copies in streams.copies(node, checked.entries, count).items():
            offers.append((self._queues[number], Deposit(partial(list, copies))))
        return offers

    def _new_queue(self) -> Queue:
        return Queue(self._waiting, self._limits, self._clock)

    def _chosen(self, partition: int | None) -> Mapping[int, Committer]:
        return self._committers if partition is None else {partition: self._committers[partition]}

    def _refuse(self, who: Credential, error: SondeError, readings: int) -> None:
        reason = reason_of(error)
        self._metrics.refused.labels(reason).inc()
        if isinstance(error, Reject):
            self._refusals.count(who.name, reason, readings)


def _check_devices(who: Credential, received: Received) -> None:
    for device in received.devices():
        if not may_write(who, device):
            raise Forbidden(
                f"the token {who.name!r} may not write the device {device!r}",
                hint=f"It may write {', '.join(who.devices)}; make another: sonde token create NAME --device PATTERN",
            )
