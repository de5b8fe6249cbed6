"""The outbox file: what disks do to it, and other programs that look into it."""

import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.entry import EntryKind, Lane
from sonde.errors import Damaged, Hold, InUse, NewerFormat, NotFound, Retry
from sonde.keyring import KeyRing
from sonde.metrics import Metrics
from sonde.node.outbox import MemoryOutbox, SqliteOutbox, ask_again, dead_letters, what_waits
from sonde.node.outbox.tables import PAGE_BYTES, connect
from sonde.ports import Outbox, Outgoing
from sonde.testing.outbox_contract import check_stream, everything, fill, lane_of, stone

Open = Callable[..., SqliteOutbox]


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.generate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def open_outbox(path: Path, ring: KeyRing) -> Iterator[Open]:
    made: list[SqliteOutbox] = []

    def open_outbox(**options: object) -> SqliteOutbox:
        made.append(SqliteOutbox(path, **({"ring": ring} | options)))  # type: ignore[arg-type]
        return made[-1]

    yield open_outbox
    for outbox in made:
        outbox.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became so"
        threading.Event().wait(0.01)


def test_everything_is_there_after_opening_again(open_outbox: Open) -> None:
    first = open_outbox()
    fill(first, Lane.LIVE, 20)
    first.confirm(Lane.LIVE, 4)
    first.reject(Lane.LIVE, 7, "no")
    before, epoch = everything(first, Lane.LIVE), first.epoch
    waiting = first.waiting()
    first.close()
    second = open_outbox()
    assert second.epoch == epoch
    assert everything(second, Lane.LIVE) == before
    assert second.waiting() == waiting
    assert fill(second, Lane.LIVE, 1) == [21]
    assert second.problems == ()


def test_a_second_program_is_refused(open_outbox: Open) -> None:
    open_outbox()
    with pytest.raises(InUse):
        open_outbox()


def test_a_closed_outbox_says_so(open_outbox: Open) -> None:
    outbox = open_outbox()
    outbox.close()
    outbox.close()
    with pytest.raises(Hold, match="closed"):
        fill(outbox, Lane.LIVE, 1)


def test_nothing_in_the_file_can_be_read_without_the_key(open_outbox: Open, path: Path) -> None:
    outbox = open_outbox()
    outbox.put(Lane.LIVE, EntryKind.READINGS, b"a secret reading" * 10, 1)
    outbox.close()
    assert b"secret" not in b"".join(p.read_bytes() for p in path.parent.iterdir())
    assert {p.stat().st_mode & 0o077 for p in path.parent.iterdir()} == {0}


def test_puts_that_wait_share_a_commit(open_outbox: Open, path: Path) -> None:
    outbox = open_outbox()
    held, holding = threading.Event(), threading.Event()

    def hold() -> None:
        holding.set()
        held.wait(10.0)

    blocker = threading.Thread(target=lambda: outbox._writer.do(hold, change=False))
    blocker.start()
    holding.wait(10.0)
    threads = [threading.Thread(target=fill, args=(outbox, Lane.LIVE, 1)) for _ in range(40)]
    for thread in threads:
        thread.start()
    until(lambda: outbox._writer._jobs.qsize() >= 40)
    with connect(path) as other:
        before = other.data_version()
        held.set()
        for thread in [blocker, *threads]:
            thread.join()
        assert other.data_version() - before <= 2


def test_an_operation_that_fails_does_not_fail_its_neighbours(open_outbox: Open) -> None:
    outbox = open_outbox()
    failures: list[BaseException] = []

    def reject() -> None:
        try:
            outbox.reject(Lane.LIVE, 10_000, "there is none")
        except NotFound as error:
            failures.append(error)

    threads = [threading.Thread(target=reject) for _ in range(5)]
    threads += [threading.Thread(target=fill, args=(outbox, Lane.LIVE, 5)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 5
    assert len(everything(outbox, Lane.LIVE)) == 25


def test_a_full_disk_is_a_retry_and_nothing_breaks(open_outbox: Open, path: Path) -> None:
    """``RLIMIT_FSIZE`` stands in for the disk: writes beyond it fail as they do when there is no room."""
    outbox = open_outbox()
    fill(outbox, Lane.LIVE, 5)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(p.stat().st_size for p in path.parent.iterdir())
    noise = random.Random(1).randbytes(300_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, old[1]))
    try:
        for _ in range(3):
            with pytest.raises(Retry):
                outbox.put(Lane.LIVE, EntryKind.READINGS, noise, 1)
        assert len(everything(outbox, Lane.LIVE)) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert outbox.put(Lane.LIVE, EntryKind.READINGS, noise, 1) == 6, "what failed took no seq"
    outbox.close()
    again = open_outbox()
    check_stream(everything(again, Lane.LIVE), count=0)
    assert again.problems == ()


@contextlib.contextmanager
def files_left(room: int) -> Iterator[None]:
    """This process may open so many files more."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + max(map(int, os.listdir("/proc/self/fd"))), old[1]))
    taken = [os.dup(0)]
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(room):
            os.close(taken.pop())
        yield
    finally:
        for handle in taken:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


@pytest.mark.parametrize("room", range(8))
def test_too_many_open_files_is_not_damage(open_outbox: Open, path: Path, room: int) -> None:
    open_outbox().close()
    opened = False
    with files_left(room), contextlib.suppress(Retry, Hold):
        open_outbox().close()
        opened = True
    assert room or not opened
    assert open_outbox().problems == ()
    assert not list(path.parent.glob("*damaged*"))


@pytest.mark.parametrize("content", [b"", b"not a database" * 500, b"SQLite format 3\0" + bytes(5000)])
def test_a_foreign_file_is_set_aside(open_outbox: Open, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    outbox = open_outbox()
    assert fill(outbox, Lane.LIVE, 1) == [1]
    aside = list(path.parent.glob("outbox.db.damaged-*"))
    assert [p.read_bytes() for p in aside] == ([content] if content else [])
    assert bool(outbox.problems) == bool(content)
    assert all(p.name in outbox.problems[0] for p in aside)


def test_only_some_damaged_files_are_kept(path: Path, open_outbox: Open) -> None:
    for number in range(8):
        path.write_bytes(b"no database %d" % number)
        open_outbox().close()
    assert len(list(path.parent.glob("outbox.db.damaged-*"))) == 5


def test_a_missing_key_sets_the_file_aside(open_outbox: Open, path: Path) -> None:
    first = open_outbox()
    fill(first, Lane.LIVE, 3)
    first.close()
    second = open_outbox(ring=KeyRing.generate("another"))
    assert second.epoch != first.epoch
    assert everything(second, Lane.LIVE) == []
    assert "key" in second.problems[0]
    assert len(list(path.parent.glob("outbox.db.damaged-*"))) >= 1


def test_a_rotated_key_changes_nothing(open_outbox: Open, ring: KeyRing) -> None:
    first = open_outbox()
    fill(first, Lane.LIVE, 3)
    first.close()
    both = KeyRing("new", {**ring.keys, **KeyRing.generate("new").keys})
    second = open_outbox(ring=both)
    fill(second, Lane.LIVE, 3)
    check_stream(everything(second, Lane.LIVE), count=0)


def change(path: Path, statement: str, *values: object) -> None:
    """What a stray write, or a hand, does to the file."""
    connection = apsw.Connection(str(path))
    connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "update entries set seqless = 1",
        "delete from entries where id % 2 = 0",
        "update lanes set seq = seq + 1",
        "update lanes set confirmed = 3",
        "update outbox set epoch = 'ffffffffffffffff'",
        "delete from lanes",
        "delete from outbox",
        "drop table entries",
    ],
)
def test_a_file_that_does_not_fit_together_is_set_aside(open_outbox: Open, path: Path, statement: str) -> None:
    first = open_outbox()
    fill(first, Lane.LIVE, 10)
    first.close()
    if "seqless" in statement:
        statement = "update entries set count = count + 1 where id % 5 = 0"
    change(path, statement)
    second = open_outbox()
    assert second.epoch != first.epoch
    assert len(second.problems) == 1
    assert fill(second, Lane.LIVE, 1) == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "update entries set digest = zeroblob(16) where id & 15 = 5",
        "update entries set kind = 3 where id & 15 = 5",
        "update entries set frame = zeroblob(400) where id & 15 = 5",
        "update entries set frame = substr(frame, 1, length(frame) - 1) where id & 15 = 5",
        "update entries set frame = (select frame from entries where id & 15 = 4) where id & 15 = 5",
        "update entries set size = 1 where id & 15 = 5",
    ],
)
def test_one_damaged_entry_costs_only_itself(open_outbox: Open, path: Path, statement: str) -> None:
    first = open_outbox()
    fill(first, Lane.LIVE, 10)
    first.close()
    change(path, statement)
    second = open_outbox()
    assert [e.seq for e in second.peek(Lane.LIVE, 1 << 30)] == [1, 2, 3, 4], "first what is whole"
    second.confirm(Lane.LIVE, 4)
    entries = everything(second, Lane.LIVE)
    check_stream(entries, after=4, count=8)
    assert stone(entries[0])["readings"] == 2
    assert str(stone(entries[0])["reason"]).startswith("lost")
    assert len(entries) == 6
    assert second.epoch == first.epoch
    assert len(second.problems) == 1
    assert second.retry() == 0
    assert lane_of(second, Lane.LIVE).rejected == 1, "it is kept for whoever wants to look"


def test_damage_while_it_runs_starts_a_new_epoch(open_outbox: Open, path: Path) -> None:
    outbox = open_outbox()
    fill(outbox, Lane.LIVE, 2000, size=500)
    sent = outbox.peek(Lane.LIVE, 100)
    outbox._writer.do(
        lambda: outbox._file.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE), change=False
    )
    outbox._writer.do(outbox._file.connection.release_memory, change=False)
    epoch, size = outbox.epoch, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(random.Random(1).randbytes(size - PAGE_BYTES))
    outbox._writer.do(lambda: outbox._file.connection.execute("pragma shrink_memory"), change=False)
    put = 0
    while put < 3:
        try:
            outbox.put(Lane.LIVE, EntryKind.READINGS, b"x", 1)
            put += 1
        except Retry:
            continue
    assert outbox.epoch != epoch
    outbox.confirm(Lane.LIVE, sent[-1].until)
    assert len(everything(outbox, Lane.LIVE)) >= 2, "a receipt of the old epoch deletes nothing of the new one"
    assert len(list(path.parent.glob("outbox.db.damaged-*"))) >= 1


def snapshot(path: Path, into: Path) -> Path:
    """The files as a crash would leave them."""
    into.mkdir()
    for name in (path.name, path.name + "-wal"):
        if path.with_name(name).exists():
            shutil.copyfile(path.with_name(name), into / name)
    return into / path.name


def check_after_damage(damaged: Path, ring: KeyRing, before: list[Outgoing], epoch: str) -> str:
    """What was committed is there, or the outbox says that it is not; no seq is given twice with another content."""
    outbox = SqliteOutbox(damaged, ring)
    try:
        known = {entry.seq: entry for entry in before}
        try:
            again = fill(outbox, Lane.LIVE, 3, size=77)
            entries = drained(outbox) if outbox.epoch == epoch else []
        except Retry:  # it noticed only now
            assert outbox.epoch != epoch
        if outbox.epoch != epoch:
            assert outbox.problems
            assert list(damaged.parent.glob("*damaged*"))
            return "set aside"
        assert not set(again) & set(known), "a seq was given twice"
        check_stream(entries)
        covered = {seq for e in entries if e.kind == EntryKind.TOMBSTONE for seq in range(e.seq, e.until + 1)}
        found = {e.seq: e for e in entries if e.kind == EntryKind.READINGS}
        assert set(known) <= set(found) | covered, "lost without a word"
        assert all(found[seq] == known[seq] for seq in set(found) & set(known))
        assert bool(covered) == bool(outbox.problems)
        return "stepped over" if covered else "whole"
    finally:
        outbox.close()


def drained(outbox: SqliteOutbox) -> list[Outgoing]:
    entries: list[Outgoing] = []
    while some := outbox.peek(Lane.LIVE, 1 << 30):
        entries += some
        outbox.confirm(Lane.LIVE, some[-1].until)
    return entries


def outcomes(tmp_path: Path, ring: KeyRing, places: Callable[[int], range], file: str) -> dict[str, int]:
    """Flip one bit at each place of a file that a crash left behind; how each ended."""
    path = tmp_path / "outbox.db"
    outbox = SqliteOutbox(path, ring)
    for _ in range(12):
        fill(outbox, Lane.LIVE, 1, size=300)
    if file == path.name:
        outbox._writer.do(outbox._file.connection.wal_checkpoint, change=False)
    before, epoch = everything(outbox, Lane.LIVE), outbox.epoch
    left = snapshot(path, tmp_path / "left")
    outbox.close()
    if file == path.name:
        (left.parent / "outbox.db-wal").unlink()
    whole = (left.parent / file).read_bytes()
    chance = random.Random(5)
    ends: dict[str, int] = {}
    for place in places(len(whole)):
        trial = tmp_path / f"{place}"
        copy = snapshot(left, trial)
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        (trial / file).write_bytes(changed)
        end = check_after_damage(copy, ring, before, epoch)
        ends[end] = ends.get(end, 0) + 1
        shutil.rmtree(trial)
    return ends


def test_a_flipped_bit_in_the_wal_is_never_silent(tmp_path: Path, ring: KeyRing) -> None:
    ends = outcomes(tmp_path, ring, lambda size: range(0, size, size // 60), "outbox.db-wal")
    assert ends.get("stepped over", 0) > 5, ends


def test_a_flipped_bit_in_the_file_is_never_silent(tmp_path: Path, ring: KeyRing) -> None:
    ends = outcomes(tmp_path, ring, lambda size: range(0, size, size // 60), "outbox.db")
    assert len(ends) > 1, ends


@pytest.mark.all
def test_many_flipped_bits_are_never_silent(tmp_path: Path, ring: KeyRing) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    outcomes(tmp_path / "a", ring, lambda size: range(0, size, max(1, size // 400)), "outbox.db-wal")
    outcomes(tmp_path / "b", ring, lambda size: range(0, size, max(1, size // 400)), "outbox.db")


@pytest.mark.parametrize("cut", [1, 24, 100, 4120, 5000, 9000, 20_000])
def test_a_torn_end_costs_only_what_was_not_yet_confirmed(tmp_path: Path, ring: KeyRing, cut: int) -> None:
    """A file cut short, as after a power cut: the older commits are there, and no false alarm is raised."""
    path = tmp_path / "outbox.db"
    outbox = SqliteOutbox(path, ring)
    fill(outbox, Lane.LIVE, 12, size=300)
    left = snapshot(path, tmp_path / "left")
    outbox.close()
    wal = left.with_name("outbox.db-wal")
    os.truncate(wal, wal.stat().st_size - cut)
    again = SqliteOutbox(left, ring)
    entries = [e for e in everything(again, Lane.LIVE) if e.kind == EntryKind.READINGS]
    check_stream(entries, count=0)
    assert len(entries) >= 12 - 2 - cut // 4120
    assert again.epoch == outbox.epoch
    again.close()


def test_what_waits_can_be_seen_while_it_runs_and_while_it_does_not(open_outbox: Open, path: Path) -> None:
    outbox = open_outbox()
    fill(outbox, Lane.LIVE, 10)
    fill(outbox, Lane.CONTROL, 2, readings=0)
    outbox.reject(Lane.LIVE, 3, "not this")
    assert what_waits(path) == outbox.waiting()
    [letter] = dead_letters(path)
    assert (letter.lane, letter.readings, letter.reason, letter.again) == (Lane.LIVE, 2, "not this", False)
    waiting = outbox.waiting()
    outbox.close()
    assert what_waits(path) == waiting
    assert len(dead_letters(path)) == 1


def test_another_program_may_ask_for_dead_letters_to_be_sent_again(open_outbox: Open, path: Path) -> None:
    outbox = open_outbox()
    fill(outbox, Lane.LIVE, 3)
    outbox.reject(Lane.LIVE, 2, "no")
    asked = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; from sonde.node.outbox import ask_again; "
         f"print(ask_again(Path({str(path)!r})))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == "1"
    until(lambda: lane_of(outbox, Lane.LIVE).rejected == 0)
    entries = everything(outbox, Lane.LIVE)
    check_stream(entries, count=0)
    assert (entries[3].seq, entries[3].kind) == (4, EntryKind.READINGS)
    assert dead_letters(path) == []


def test_what_was_asked_while_nothing_ran_is_done_at_the_next_start(open_outbox: Open, path: Path) -> None:
    outbox = open_outbox()
    fill(outbox, Lane.LIVE, 3)
    outbox.reject(Lane.LIVE, 2, "no")
    outbox.close()
    assert ask_again(path) == 1
    again = open_outbox()
    until(lambda: lane_of(again, Lane.LIVE).rejected == 0)


def test_a_file_of_a_newer_format_is_left_alone(open_outbox: Open, path: Path) -> None:
    open_outbox().close()
    change(path, "update outbox set format = 99; pragma user_version = 99; alter table lanes add column more integer")
    with pytest.raises(NewerFormat):
        open_outbox()
    assert not list(path.parent.glob("*damaged*"))


def test_looking_at_what_is_no_outbox_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        what_waits(tmp_path / "none.db")
    (tmp_path / "no.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Damaged):
        dead_letters(tmp_path / "no.db")


def test_the_file_keeps_to_its_bound(open_outbox: Open, path: Path) -> None:
    metrics = Metrics()
    outbox = open_outbox(limit_bytes=1 << 20, metrics=metrics)
    noise = random.Random(3)
    for _ in range(600):
        outbox.put(Lane.LIVE, EntryKind.READINGS, noise.randbytes(noise.randrange(100, 20_000)), 5)
    assert path.stat().st_size < 1.5 * (1 << 20)
    dropped = metrics.registry.get_sample_value("sonde_outbox_dropped_readings_total", {"lane": "live"})
    entries = everything(outbox, Lane.LIVE)
    assert stone(entries[0])["readings"] == dropped
    assert sum(e.readings for e in entries) == 3000


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "peek", "confirm", "reject", "retry"]), st.integers(1, 3), st.integers(0, 4000)),
    max_size=60,
)


class Twin:
    """The same done to two outboxes, which must always agree."""

    def __init__(self, one: Outbox, other: Outbox) -> None:
        self.both = (one, other)

    def do(self, step: Step) -> None:
        what, lane, size = step
        results = [self._one(outbox, what, lane, size) for outbox in self.both]
        assert results[0] == results[1]

    def _one(self, outbox: Outbox, what: str, lane: int, size: int) -> object:
        match what:
            case "put":
                return outbox.put(lane, EntryKind.READINGS, bytes([lane]) * size, size % 7)
            case "peek":
                return [(e.seq, e.until, e.kind, e.readings, e.count, e.content) for e in outbox.peek(lane, size)]
            case "confirm":
                for entry in outbox.peek(lane, size):
                    outbox.confirm(lane, entry.until)
                return None
            case "reject":
                for entry in outbox.peek(lane, 1):
                    outbox.reject(lane, entry.seq, "no")
                return None
        return outbox.retry()


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_the_file_does_as_the_memory_does(steps: list[Step], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("twin") / "o.db"
    outbox = SqliteOutbox(path, KeyRing.generate())
    twin = Twin(outbox, MemoryOutbox())
    for step in steps:
        twin.do(step)
    for lane in (1, 2, 3):
        twin.do(("peek", lane, 1 << 30))
    counts = outbox.waiting()
    outbox.close()
    assert what_waits(path) == counts
