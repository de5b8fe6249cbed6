"""The uplink: in order, for ever, and nothing is deleted that has no receipt."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from sonde.clock import SystemClock
from sonde.entry import EntryKind, Lane
from sonde.errors import Conflict, Hold, Reject, Retry, TooLarge
from sonde.node.backoff import Backoff
from sonde.node.outbox import MemoryOutbox
from sonde.node.parcel import LARGEST, SMALLEST, Parcel
from sonde.node.uplink import Uplink
from sonde.ports import Outgoing, StreamId
from sonde.testing.outbox_contract import everything, fill, lane_of


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became so"
        threading.Event().wait(0.002)


class Sink:
    """A wire with a sink at its end that answers as ``respond`` says, and keeps what it took, by lane."""

    def __init__(self) -> None:
        self.taken: dict[int, dict[int, Outgoing]] = {lane: {} for lane in (1, 2, 3)}
        self.sends: list[tuple[StreamId, int, list[Outgoing]]] = []
        self.respond: Callable[[StreamId, Sequence[Outgoing]], None] = lambda stream, entries: None
        self.lose_receipts = 0
        self.duplicates = 0
        self._lock = threading.Lock()
        self._in_flight: set[int] = set()

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        with self._lock:
            assert stream.lane not in self._in_flight, "one request in flight a lane"
            self._in_flight.add(stream.lane)
            self.sends.append((stream, confirmed, list(entries)))
        try:
            self.respond(stream, entries)
            taken = self.taken[stream.lane]
            with self._lock:
                for entry in entries:
                    self.duplicates += entry.seq in taken
                    assert taken.setdefault(entry.seq, entry) == entry, "one seq, two contents"
                if self.lose_receipts:
                    self.lose_receipts -= 1
                    raise Retry("the receipt was lost")
            return entries[-1].until
        finally:
            self._in_flight.discard(stream.lane)

    def close(self) -> None:
        pass


def refuse(error: Exception, times: int = 1 << 30) -> Callable[[StreamId, Sequence[Outgoing]], None]:
    left = [times]

    def respond(stream: StreamId, entries: Sequence[Outgoing]) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error

    return respond


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


class Stepping(SystemClock):
    """The machine's clock, but waiting for a backoff or hold takes next to no time, and is written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        return signal.wait(min(seconds, 0.001))


@pytest.fixture
def clock() -> Stepping:
    return Stepping()


@pytest.fixture
def uplink(outbox: MemoryOutbox, sink: Sink, clock: Stepping) -> Iterator[Uplink]:
    uplink = Uplink(outbox, sink, clock=clock, backoff=lambda: Backoff(0.01, 0.1))
    yield uplink
    assert uplink.stop(5.0)


def empty(outbox: MemoryOutbox) -> bool:
    return not any(lane.entries for lane in outbox.waiting())


def test_everything_arrives_once_and_in_order(uplink: Uplink, outbox: MemoryOutbox, sink: Sink) -> None:
    for lane in (Lane.CONTROL, Lane.LIVE, Lane.BACKLOG):
        fill(outbox, lane, 500)
    uplink.start()
    until(lambda: empty(outbox))
    assert [list(taken) for taken in sink.taken.values()] == [list(range(1, 501))] * 3
    assert sink.duplicates == 0
    assert all(confirmed == entries[0].seq - 1 for _, confirmed, entries in sink.sends)


def test_mistake_05_many_entries_share_a_request(uplink: Uplink, outbox: MemoryOutbox, sink: Sink) -> None:
    fill(outbox, Lane.BACKLOG, 2000, size=100)
    uplink.start()
    until(lambda: empty(outbox))
    assert len(sink.sends) < 20


def test_mistake_01_a_failed_send_is_repeated_for_ever(
    uplink: Uplink, outbox: MemoryOutbox, sink: Sink, clock: Stepping
) -> None:
    sink.respond = refuse(Retry("down"), 300)
    fill(outbox, Lane.LIVE, 3)
    uplink.start()
    until(lambda: empty(outbox))
    assert len(sink.sends) == 301
    assert list(sink.taken[Lane.LIVE]) == [1, 2, 3]


def test_a_lost_receipt_makes_a_duplicate_with_the_same_identity(
    uplink: Uplink, outbox: MemoryOutbox, sink: Sink
) -> None:
    sink.lose_receipts = 5
    fill(outbox, Lane.LIVE, 10)
    uplink.start()
    until(lambda: empty(outbox))
    assert sink.duplicates >= 5
    assert list(sink.taken[Lane.LIVE]) == list(range(1, 11))


def test_a_hold_keeps_everything_and_says_so(uplink: Uplink, outbox: MemoryOutbox, sink: Sink, clock: Stepping) -> None:
    sink.respond = refuse(Hold("the token is unknown"))
    fill(outbox, Lane.LIVE, 3)
    uplink.start()
    until(lambda: len(sink.sends) > 3)
    assert uplink.problems() == ("the token is unknown",)
    assert uplink.status()["live"].startswith("on hold")
    assert len(everything(outbox, Lane.LIVE)) == 3
    assert 30.0 in clock.waits
    sink.respond = lambda stream, entries: None
    until(lambda: empty(outbox))
    until(lambda: uplink.problems() == ())


def test_retry_after_is_a_floor(uplink: Uplink, outbox: MemoryOutbox, sink: Sink, clock: Stepping) -> None:
    sink.respond = refuse(Retry("too fast", after=17.0), 1)
    fill(outbox, Lane.LIVE, 1)
    uplink.start()
    until(lambda: empty(outbox))
    assert 17.0 in clock.waits


def test_mistake_08_a_refused_entry_becomes_a_dead_letter_and_the_rest_goes_on(
    uplink: Uplink, outbox: MemoryOutbox, sink: Sink
) -> None:
    def respond(stream: StreamId, entries: Sequence[Outgoing]) -> None:
        if entries[0].seq == 3 and entries[0].kind == EntryKind.READINGS:
            raise Reject("nonsense")
        if any(entry.seq == 3 and entry.kind == EntryKind.READINGS for entry in entries):
            raise TooLarge("so that it comes alone")

    sink.respond = respond
    fill(outbox, Lane.LIVE, 5)
    uplink.start()
    until(lambda: empty(outbox))
    kinds = {seq: entry.kind for seq, entry in sorted(sink.taken[Lane.LIVE].items())}
    assert kinds == {1: 1, 2: 1, 3: EntryKind.TOMBSTONE, 4: 1, 5: 1}
    assert lane_of(outbox, Lane.LIVE).rejected == 1


def test_what_is_too_large_is_sent_in_smaller_parts(uplink: Uplink, outbox: MemoryOutbox, sink: Sink) -> None:
    def respond(stream: StreamId, entries: Sequence[Outgoing]) -> None:
        if sum(len(entry.content) for entry in entries) > 5000:
            raise TooLarge("5000 is the limit")

    sink.respond = respond
    fill(outbox, Lane.BACKLOG, 100, size=1000)
    outbox.put(Lane.BACKLOG, EntryKind.READINGS, bytes(6000), 9)
    uplink.start()
    until(lambda: empty(outbox))
    assert len(sink.taken[Lane.BACKLOG]) == 101
    assert lane_of(outbox, Lane.BACKLOG).rejected == 1, "only the one that is too large alone"


def test_a_conflict_tells_where_to_go_on(uplink: Uplink, outbox: MemoryOutbox, sink: Sink) -> None:
    sink.respond = refuse(Conflict("I have more", known=4), 1)
    fill(outbox, Lane.LIVE, 6)
    uplink.start()
    until(lambda: empty(outbox))
    assert list(sink.taken[Lane.LIVE]) == [5, 6]


def test_a_sink_that_has_more_than_was_given_out_starts_a_new_epoch(
    uplink: Uplink, outbox: MemoryOutbox, sink: Sink
) -> None:
    epoch = outbox.epoch
    sink.respond = refuse(Conflict("I have more", known=40), 1)
    fill(outbox, Lane.LIVE, 6)
    uplink.start()
    until(lambda: empty(outbox))
    assert sink.sends[0][0].epoch == epoch
    assert {stream.epoch for stream, _, _ in sink.sends[1:]} == {outbox.epoch} != {epoch}
    assert list(sink.taken[Lane.LIVE]) == list(range(1, 7))


def test_a_sink_that_takes_nothing_is_not_asked_at_full_speed(
    uplink: Uplink, outbox: MemoryOutbox, sink: Sink, clock: Stepping
) -> None:
    sink.send = lambda stream, confirmed, entries: 0  # type: ignore[method-assign]
    fill(outbox, Lane.LIVE, 1)
    uplink.start()
    until(lambda: bool(uplink.problems()))
    assert len(everything(outbox, Lane.LIVE)) == 1


def test_mistake_03_a_bug_does_not_strand_a_lane(uplink: Uplink, outbox: MemoryOutbox, sink: Sink) -> None:
    sink.respond = refuse(ZeroDivisionError("a bug"), 3)
    fill(outbox, Lane.LIVE, 2)
    uplink.start()
    until(lambda: empty(outbox))


def test_live_until_something_waits_two_seconds_then_backlog_then_live_at_once(
    uplink: Uplink, outbox: MemoryOutbox, sink: Sink, clock: Stepping
) -> None:
    sink.respond = refuse(Retry("away"))
    uplink.start()
    assert uplink.lane() is Lane.LIVE
    [seq] = fill(outbox, Lane.LIVE, 1)
    uplink.committed(Lane.LIVE, seq)
    assert uplink.lane() is Lane.LIVE
    clock.ahead += 2.5
    assert uplink.lane() is Lane.BACKLOG
    fill(outbox, Lane.BACKLOG, 1000)
    slow = threading.Event()

    def back(stream: StreamId, entries: Sequence[Outgoing]) -> None:
        if stream.lane == Lane.BACKLOG:
            slow.wait(10.0)

    sink.respond = back
    until(lambda: uplink.lane() is Lane.LIVE)
    assert lane_of(outbox, Lane.BACKLOG).entries == 1000, "live is back while the backlog still drains"
    slow.set()
    until(lambda: empty(outbox))


def test_what_waited_since_before_the_start_counts_as_waiting(
    outbox: MemoryOutbox, sink: Sink, clock: Stepping
) -> None:
    fill(outbox, Lane.LIVE, 3)
    sink.respond = refuse(Retry("away"))
    uplink = Uplink(outbox, sink, clock=clock)
    uplink.start()
    clock.ahead += 2.5
    assert uplink.lane() is Lane.BACKLOG
    sink.respond = lambda stream, entries: None
    until(lambda: uplink.lane() is Lane.LIVE)
    assert uplink.stop(5.0)


def test_a_hanging_lane_does_not_hold_up_the_others(uplink: Uplink, outbox: MemoryOutbox, sink: Sink) -> None:
    hang = threading.Event()

    def respond(stream: StreamId, entries: Sequence[Outgoing]) -> None:
        if stream.lane == Lane.BACKLOG:
            hang.wait(10.0)

    sink.respond = respond
    fill(outbox, Lane.BACKLOG, 1)
    fill(outbox, Lane.LIVE, 1)
    fill(outbox, Lane.CONTROL, 1)
    uplink.start()
    until(lambda: len(sink.taken[Lane.LIVE]) == len(sink.taken[Lane.CONTROL]) == 1)
    hang.set()
    until(lambda: empty(outbox))


def test_a_parcel_grows_while_it_is_quick_and_shrinks_when_it_fails() -> None:
    parcel = Parcel()
    entry = Outgoing(1, 1, 1, 1, 1, b"", bytes(1 << 20))
    for _ in range(30):
        parcel.took([entry] * 16, 0.1)
    assert parcel.bytes == LARGEST
    parcel.took([entry] * 16, 12.0)
    assert parcel.bytes == LARGEST // 2
    for _ in range(30):
        parcel.failed()
    assert parcel.bytes == SMALLEST
    parcel.too_large([entry, entry])
    for _ in range(30):
        parcel.took([entry], 0.1)
        parcel.failed()
    assert parcel.bytes <= SMALLEST // 2, "never again as much as was too large"


def test_a_stop_ends_a_backoff(outbox: MemoryOutbox, sink: Sink) -> None:
    sink.respond = refuse(Retry("down", after=1000.0))
    fill(outbox, Lane.LIVE, 1)
    uplink = Uplink(outbox, sink)
    uplink.start()
    until(lambda: bool(uplink.problems()))
    assert uplink.stop(2.0)
