"""Every adapter of port ``AuditTrail``; and whoever changes the file behind its back is found out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.audit import LONGEST, Act, act, chained, written
from sonde.control.audit import MemoryAuditTrail, SqliteAuditTrail
from sonde.control.file import STEPS
from sonde.errors import Damaged, Hold, Retry
from sonde.ports import AuditTrail
from sonde.testing.audit_contract import AuditTrailContract, write


class TestMemory(AuditTrailContract):
    @pytest.fixture
    def trail(self) -> AuditTrail:
        return MemoryAuditTrail()


class TestSqlite(AuditTrailContract):
    @pytest.fixture
    def trail(self, tmp_path: Path) -> Iterator[AuditTrail]:
        trail = SqliteAuditTrail(tmp_path / "control.db")
        yield trail
        trail.close()


REST = "update audit_ends set (head, head_hash) = (select number, hash from audit order by number desc limit 1)"
NONE = "update audit_ends set head = 0, head_hash = zeroblob(32)"
TAMPERING = {
    "a name changed": "update audit set act = replace(cast(act as text), 'alice', 'mallet') where number = 3",
    "a letter changed": "update audit set act = replace(cast(act as text), 'rule-5', 'rule-6') where number = 5",
    "no JSON": "update audit set act = 'x' where number = 2",
    "a hash changed": "update audit set hash = zeroblob(32) where number = 4",
    "the newest hash changed": "update audit set hash = zeroblob(32) where number = 6",
    "one removed": "delete from audit where number = 3",
    "the first removed": "delete from audit where number = 1",
    "the newest removed": "delete from audit where number = 6",
    "all removed": "delete from audit",
    "one removed and the rest moved up": (
        "delete from audit where number = 3; update audit set number = number - 1 where number > 3;" + REST
    ),
    "two swapped": (
        "update audit set number = 90 where number = 2; update audit set number = 2 where number = 3;"
        "update audit set number = 3 where number = 90"
    ),
    "one put in at the end": "insert into audit select 7, act, hash from audit where number = 6",
    "one put in between": (
        "update audit set number = -number where number > 3; update audit set number = 1 - number where number < 0;"
        "insert into audit select 4, act, hash from audit where number = 3;" + REST
    ),
    "one put in before": "insert into audit select 0, act, hash from audit where number = 1",
    "the start moved": (
        "delete from audit where number < 3; update audit_ends set start = 2, start_hash = zeroblob(32)"
    ),
    "the ends removed": "delete from audit_ends",
}


@pytest.mark.parametrize("statements", TAMPERING.values(), ids=TAMPERING)
def test_whatever_is_changed_in_the_file_is_found(tmp_path: Path, statements: str) -> None:
    path = tmp_path / "control.db"
    trail = SqliteAuditTrail(path)
    write(trail, 6)
    assert trail.verify() == 6
    tamper(path, statements)
    with pytest.raises(Damaged, match=r"control\.db"):
        trail.verify()
    trail.close()


@pytest.mark.parametrize("dropped", [1, 3, 6])
def test_who_takes_the_newest_out_and_mends_the_ends_is_found_by_an_anchor(tmp_path: Path, dropped: int) -> None:
    path = tmp_path / "control.db"
    trail = SqliteAuditTrail(path)
    write(trail, 6)
    number, noted = trail.head()
    tamper(path, f"delete from audit where number > {6 - dropped};" + (REST if dropped < 6 else NONE))
    assert trail.verify() == 6 - dropped  # all that is left fits
    with pytest.raises(Damaged, match="taken out"):
        trail.verify({number: noted})
    for _ in range(dropped):  # and others in their place do not fit either
        trail.write(act(1, "alice", "token.create"))
    with pytest.raises(Damaged, match="written anew"):
        trail.verify({number: noted})
    trail.close()


def test_who_writes_the_whole_trail_anew_is_found_by_an_anchor(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    trail = SqliteAuditTrail(path)
    write(trail, 3)
    number, noted = trail.head()
    previous = bytes(32)
    db = apsw.Connection(str(path))
    for n in range(1, 4):
        forged = Act(n, "mallet", "purge")
        previous = chained(previous, forged)
        db.execute("update audit set act = ?, hash = ? where number = ?", (written(forged), previous, n))
    db.execute("update audit_ends set head_hash = ?", (previous,))
    db.close()
    assert trail.verify() == 3
    with pytest.raises(Damaged, match="written anew"):
        trail.verify({number: noted})
    trail.close()


def tamper(path: Path, statements: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(statements)
    db.close()


_WRITER = """
import sys
from pathlib import Path
from sonde.audit import act
from sonde.control.audit import SqliteAuditTrail
trail = SqliteAuditTrail(Path(sys.argv[1]))
for n in range(40):
    trail.write(act(n, sys.argv[2], "rule.set", str(n)))
trail.close()
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    names = ("one", "two", "three")
    processes = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in names]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    trail = SqliteAuditTrail(path)
    assert trail.verify() == 120
    written_by = {name: [a.on for _, a in trail.read(None, 1000) if a.who == name] for name in names}
    assert all(ons == [str(n) for n in range(39, -1, -1)] for ons in written_by.values())
    trail.close()


def test_what_is_written_survives_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    trail = SqliteAuditTrail(path)
    write(trail, 2)
    head = trail.head()
    trail.close()
    again = SqliteAuditTrail(path)
    assert again.head() == head
    assert again.verify() == 2
    again.close()


def test_a_file_of_the_first_version_gets_a_trail(tmp_path: Path) -> None:
    """A control database that was made before there was a trail."""
    path = tmp_path / "control.db"
    db = apsw.Connection(str(path))
    db.execute(STEPS[0] + "pragma user_version = 1")
    db.close()
    trail = SqliteAuditTrail(path)
    write(trail, 1)
    assert trail.verify() == 1
    trail.close()


def test_an_act_that_cannot_be_written_says_retry(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    trail = SqliteAuditTrail(path)
    trail.close()
    with pytest.raises(Retry):
        write(trail, 1)
    with pytest.raises((Hold, Retry)):
        SqliteAuditTrail(tmp_path / "nowhere" / "control.db")


@given(st.text(max_size=3 * LONGEST))
def test_any_text_can_be_kept_and_is_bounded(text: str) -> None:
    trail = MemoryAuditTrail()
    made = act(1, text, "purge", text, text, why=text)
    trail.write(made)
    assert trail.verify() == 1
    assert all(len(each) <= LONGEST for each in (made.who, made.on, made.address, made.detail["why"]))


def test_a_path_that_is_no_text_can_be_kept() -> None:
    made = act(1, "local", "backup", "/mnt/\udcff")
    assert made.on == "/mnt/\\udcff"
    trail = MemoryAuditTrail()
    trail.write(made)
    assert trail.read(None, 1) == [(1, made)]
