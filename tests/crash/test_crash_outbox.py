"""kill -9 of a program that uses an outbox, at any moment: what was committed stays, and no seq means two things."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sonde.entry import EntryKind, Lane
from sonde.keyring import KeyRing
from sonde.node.outbox import SqliteOutbox
from sonde.testing.outbox_contract import check_stream, everything

CHILD = """
import hashlib, random, sys, threading
from pathlib import Path
from sonde.entry import EntryKind
from sonde.keyring import KeyRing
from sonde.node.outbox import SqliteOutbox

path, seed = Path(sys.argv[1]), int(sys.argv[2])
outbox = SqliteOutbox(path / "outbox.db", KeyRing.load(path / "keys.json"), limit_bytes=int(sys.argv[3]))
lock = threading.Lock()

def say(*words):
    with lock:
        sys.stdout.write(" ".join(map(str, words)) + "\\n")
        sys.stdout.flush()

say("epoch", outbox.epoch)

def put(number):
    chance = random.Random(f"{seed}/{number}")
    while True:
        lane = chance.choice([1, 2, 3])
        content = chance.randbytes(chance.randrange(1, 3000))
        seq = outbox.put(lane, EntryKind.READINGS, content, 0 if lane == 1 else 3)
        say("put", lane, seq, hashlib.sha256(content).hexdigest()[:32])

def take(lane):
    chance = random.Random(f"{seed}/take/{lane}")
    while True:
        entries = outbox.peek(lane, 20_000)
        if not entries:
            threading.Event().wait(0.001)
            continue
        for entry in entries:
            say("seen", lane, entry.seq, entry.until, entry.kind, entry.digest.hex())
        if chance.random() < 0.05 and entries[0].kind == EntryKind.READINGS:
            outbox.reject(lane, entries[0].seq, "not this")
        else:
            say("confirming", lane, entries[-1].until)
            outbox.confirm(lane, entries[-1].until)
            say("confirmed", lane, entries[-1].until)

for number in range(4):
    threading.Thread(target=put, args=(number,), daemon=True).start()
for lane in (1, 2, 3):
    threading.Thread(target=take, args=(lane,), daemon=True).start()
threading.Event().wait()
"""


class Witness:
    """What the children said before they were killed, and what must therefore be true."""

    def __init__(self) -> None:
        self.epochs: set[str] = set()
        self.put: dict[tuple[int, int], str] = {}
        self.content: dict[tuple[int, int], str] = {}
        self.confirmed = {1: 0, 2: 0, 3: 0}
        self.confirming = {1: 0, 2: 0, 3: 0}

    def hear(self, line: str) -> None:
        match line.split():
            case ["epoch", epoch]:
                self.epochs.add(epoch)
            case ["put", lane, seq, digest]:
                self.put[int(lane), int(seq)] = digest
                self.means(int(lane), int(seq), digest)
            case ["seen", lane, seq, until, kind, digest] if int(kind) == EntryKind.READINGS:
                assert seq == until
                self.means(int(lane), int(seq), digest)
            case ["confirming", lane, seq]:
                self.confirming[int(lane)] = int(seq)
            case ["confirmed", lane, seq]:
                self.confirmed[int(lane)] = int(seq)

    def means(self, lane: int, seq: int, digest: str) -> None:
        """A seq that a sink may have seen means one content for ever."""
        assert self.content.setdefault((lane, seq), digest) == digest, f"{lane} {seq} was given twice"

    def check(self, outbox: SqliteOutbox) -> None:
        assert outbox.problems == ()
        for lane in (Lane.CONTROL, Lane.LIVE, Lane.BACKLOG):
            entries = everything(outbox, lane)
            first = entries[0].seq if entries else outbox.last(lane) + 1
            assert self.confirmed[lane] < first <= self.confirming[lane] + 1
            check_stream(entries, after=first - 1)
            found = {entry.seq: entry for entry in entries}
            gone = {s for e in entries if e.kind == EntryKind.TOMBSTONE for s in range(e.seq, e.until + 1)}
            for (of, seq), digest in self.put.items():
                if of == lane and seq >= first and seq not in gone:
                    assert found[seq].digest.hex() == digest, f"{lane} {seq} was committed and is lost"
            for seq, entry in found.items():
                if entry.kind == EntryKind.READINGS:
                    self.means(lane, seq, entry.digest.hex())


def kill_and_check(path: Path, rounds: int, limit: int, seed: int) -> Witness:
    chance = random.Random(seed)
    ring = KeyRing.generate()
    ring.save(path / "keys.json")
    witness = Witness()
    for number in range(rounds):
        arguments = [sys.executable, "-c", CHILD, str(path), str(seed * 1000 + number), str(limit)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline()]
            timer = threading.Timer(chance.uniform(0.005, 0.25), child.kill)
            timer.start()
            lines += child.stdout.readlines()
            timer.join()
        for line in lines:
            if line.endswith("\n"):
                witness.hear(line)
        outbox = SqliteOutbox(path / "outbox.db", ring, limit_bytes=limit)
        witness.check(outbox)
        outbox.close()
    return witness


def check_not_vacuous(witness: Witness, rounds: int) -> None:
    assert len(witness.epochs) == 1, "no crash of a program is damage to its file"
    assert len(witness.put) > 20 * rounds
    assert min(witness.confirmed.values()) > rounds


def test_mistake_03_killed_at_any_moment_nothing_is_left_pending(tmp_path: Path) -> None:
    check_not_vacuous(kill_and_check(tmp_path, 6, 1 << 30, 1), 6)


@pytest.mark.all
@pytest.mark.parametrize("seed", range(2, 5))
def test_killed_at_many_moments(tmp_path: Path, seed: int) -> None:
    check_not_vacuous(kill_and_check(tmp_path, 25, 1 << 30, seed), 25)


@pytest.mark.all
def test_killed_while_the_oldest_make_way(tmp_path: Path) -> None:
    witness = kill_and_check(tmp_path, 25, 200_000, 9)
    assert len(witness.epochs) == 1
    assert len(witness.put) > 500
