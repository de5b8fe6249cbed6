"""What every adapter of port ``Outbox`` must do. Subclass it, and give ``make`` as a fixture."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from sonde.entry import EntryKind, Lane
from sonde.errors import NotFound, Retry
from sonde.ports import Outbox, Outgoing, Waiting

MakeOutbox = Callable[[int], Outbox]
"""Makes an empty outbox that keeps up to so many bytes."""

ROOMY = 1 << 26


def fill(outbox: Outbox, lane: int, number: int, *, size: int = 10, readings: int = 2) -> list[int]:
    """Put ``number`` entries, each different; their seqs."""
    return [
        outbox.put(lane, EntryKind.READINGS, f"{lane}/{i}".encode().ljust(size, b"."), readings) for i in range(number)
    ]


def everything(outbox: Outbox, lane: int) -> list[Outgoing]:
    """All that waits in a lane."""
    return list(outbox.peek(lane, 1 << 40))


def check_stream(entries: list[Outgoing], *, after: int = 0, count: int | None = None) -> None:
    """Entries follow each other without a gap, and their counts add up."""
    for entry in entries:
        assert entry.seq == after + 1
        assert entry.until >= entry.seq
        if count is not None:
            assert entry.count == count + entry.readings
        after, count = entry.until, entry.count


def stone(entry: Outgoing) -> dict[str, object]:
    """What a tombstone says."""
    assert entry.kind == EntryKind.TOMBSTONE
    said: dict[str, object] = json.loads(entry.content)
    assert said["until"] == entry.until
    assert said["readings"] == entry.readings
    return said


def lane_of(outbox: Outbox, lane: int) -> Waiting:
    return next(w for w in outbox.waiting() if w.lane == lane)


class OutboxContract:
    """Tests of one adapter."""

    @pytest.fixture
    def make(self) -> Iterator[MakeOutbox]:
        """Makes empty outboxes, and closes them at the end. Override it."""
        raise NotImplementedError

    def test_what_was_put_comes_back_in_order(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        assert fill(outbox, Lane.LIVE, 5) == [1, 2, 3, 4, 5]
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert [e.content for e in entries] == [f"2/{i}".encode().ljust(10, b".") for i in range(5)]
        assert {(e.kind, e.readings, len(e.digest)) for e in entries} == {(EntryKind.READINGS, 2, 16)}
        assert [e.count for e in entries] == [2, 4, 6, 8, 10]

    def test_peek_takes_nothing_away_and_keeps_to_its_limit(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        fill(outbox, Lane.LIVE, 10, size=100)
        assert outbox.peek(Lane.BACKLOG, 1000) == []
        assert [e.seq for e in outbox.peek(Lane.LIVE, 350)] == [1, 2, 3]
        assert [e.seq for e in outbox.peek(Lane.LIVE, 1)] == [1]
        assert len(everything(outbox, Lane.LIVE)) == 10

    def test_lanes_count_for_themselves(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        for lane in (Lane.CONTROL, Lane.LIVE, Lane.BACKLOG):
            assert fill(outbox, lane, 2) == [1, 2]
        outbox.confirm(Lane.LIVE, 2)
        assert [w.entries for w in outbox.waiting()] == [2, 0, 2]

    def test_mistake_08_delivered_entries_are_deleted(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        fill(outbox, Lane.LIVE, 10)
        outbox.confirm(Lane.LIVE, 7)
        outbox.confirm(Lane.LIVE, 3)
        assert [e.seq for e in everything(outbox, Lane.LIVE)] == [8, 9, 10]
        outbox.confirm(Lane.LIVE, 10)
        assert everything(outbox, Lane.LIVE) == []
        assert lane_of(outbox, Lane.LIVE) == Waiting(Lane.LIVE, 0, 0, 0, None, 0)

    def test_a_seq_is_never_given_twice(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        fill(outbox, Lane.LIVE, 3)
        outbox.confirm(Lane.LIVE, 3)
        assert fill(outbox, Lane.LIVE, 2) == [4, 5]
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, after=3, count=6)

    def test_a_rejected_entry_leaves_a_tombstone_and_a_dead_letter(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        fill(outbox, Lane.LIVE, 3)
        outbox.reject(Lane.LIVE, 2, "no such metric")
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert [e.kind for e in entries] == [EntryKind.READINGS, EntryKind.TOMBSTONE, EntryKind.READINGS]
        assert stone(entries[1]) == {"until": 2, "readings": 2, "reason": "refused: no such metric"}
        assert lane_of(outbox, Lane.LIVE).rejected == 1
        with pytest.raises(NotFound):
            outbox.reject(Lane.LIVE, 9, "there is none")

    def test_mistake_01_dead_letters_can_be_sent_again(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        fill(outbox, Lane.LIVE, 3)
        kept = everything(outbox, Lane.LIVE)[1]
        outbox.reject(Lane.LIVE, 2, "no")
        assert outbox.retry() == 1
        assert outbox.retry() == 0
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert (entries[3].seq, entries[3].content, entries[3].digest) == (4, kept.content, kept.digest)
        assert lane_of(outbox, Lane.LIVE).rejected == 0

    def test_dead_letters_are_bounded(self, make: MakeOutbox) -> None:
        outbox = make(1 << 18)
        for seq in range(1, 301):
            fill(outbox, Lane.LIVE, 1, size=1000)
            outbox.reject(Lane.LIVE, seq, "no")
            outbox.confirm(Lane.LIVE, seq)
        assert 1 <= lane_of(outbox, Lane.LIVE).rejected < 300

    def test_mistake_11_the_oldest_make_way_and_the_ledger_knows(self, make: MakeOutbox) -> None:
        outbox = make(1 << 16)
        fill(outbox, Lane.BACKLOG, 5, size=900)
        fill(outbox, Lane.LIVE, 400, size=900)
        assert sum(w.bytes for w in outbox.waiting()) <= 1 << 16
        backlog, live = everything(outbox, Lane.BACKLOG), everything(outbox, Lane.LIVE)
        assert len(backlog) == 1, "the backlog goes first"
        assert stone(backlog[0])["readings"] == 10
        check_stream(live, count=0)
        assert str(stone(live[0])["reason"]).startswith("dropped")
        assert [e.kind for e in live[1:]] == [EntryKind.READINGS] * (len(live) - 1), "one tombstone for all in a row"
        assert live[-1].seq == 400
        assert live[-1].count == sum(e.readings for e in live) == 800

    def test_the_control_lane_is_never_dropped(self, make: MakeOutbox) -> None:
        outbox = make(1 << 16)
        fill(outbox, Lane.CONTROL, 10, size=900, readings=0)
        fill(outbox, Lane.LIVE, 300, size=900)
        assert [e.kind for e in everything(outbox, Lane.CONTROL)] == [EntryKind.READINGS] * 10
        with pytest.raises(Retry):
            fill(outbox, Lane.CONTROL, 1000, size=900, readings=0)
        assert sum(w.bytes for w in outbox.waiting()) <= 1 << 16

    def test_an_entry_larger_than_the_outbox_is_dropped_with_its_count(self, make: MakeOutbox) -> None:
        outbox = make(1 << 14)
        noise = bytes(hash((i, j)) & 255 for i in range(256) for j in range(1024))
        assert outbox.put(Lane.LIVE, EntryKind.READINGS, noise, 7) == 1
        assert fill(outbox, Lane.LIVE, 1) == [2]
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert stone(entries[0])["readings"] == 7

    def test_a_receipt_for_what_was_dropped_meanwhile_shortens_the_tombstone(self, make: MakeOutbox) -> None:
        outbox = make(1 << 16)
        fill(outbox, Lane.LIVE, 20, size=900)
        sent = outbox.peek(Lane.LIVE, 5 * 900)
        fill(outbox, Lane.LIVE, 400, size=900)
        outbox.confirm(Lane.LIVE, sent[-1].until)
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, after=5, count=10)
        stone(entries[0])

    def test_a_tombstone_that_is_put_learns_its_seq(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        fill(outbox, Lane.LIVE, 1)
        outbox.put(Lane.LIVE, EntryKind.TOMBSTONE, b'{"reason": "dropped: too fast"}', 9)
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert stone(entries[1]) == {"until": 2, "readings": 9, "reason": "dropped: too fast"}

    def test_an_older_copy_starts_a_new_epoch(self, make: MakeOutbox) -> None:
        """A sink that has seen more than was ever given out has seen another copy of this outbox."""
        outbox = make(ROOMY)
        epoch = outbox.epoch
        fill(outbox, Lane.LIVE, 5)
        fill(outbox, Lane.BACKLOG, 2)
        outbox.confirm(Lane.LIVE, 3)
        outbox.confirm(Lane.LIVE, 50)
        assert outbox.epoch != epoch
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert [e.content[:3] for e in entries] == [b"2/3", b"2/4"]
        assert fill(outbox, Lane.LIVE, 1) == [3]
        check_stream(everything(outbox, Lane.LIVE), count=0)
        check_stream(everything(outbox, Lane.BACKLOG), count=0)

    def test_an_epoch_is_sixteen_hex_digits_and_new_for_each(self, make: MakeOutbox) -> None:
        epochs = {make(ROOMY).epoch for _ in range(3)}
        assert len(epochs) == 3
        assert {len(bytes.fromhex(e)) for e in epochs} == {8}

    def test_many_threads_may_put_at_the_same_time(self, make: MakeOutbox) -> None:
        outbox = make(ROOMY)
        given: list[int] = []
        threads = [threading.Thread(target=lambda: given.extend(fill(outbox, Lane.LIVE, 50))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(given) == list(range(1, 401))
        entries = everything(outbox, Lane.LIVE)
        check_stream(entries, count=0)
        assert len(entries) == 400
