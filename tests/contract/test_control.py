"""Every adapter of port ``Control``."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sonde.clock import DAY, SECOND, Clock, SystemClock
from sonde.control.memory import MemoryControl
from sonde.control.sqlite import SqliteControl
from sonde.errors import Damaged, Hold, NewerFormat, Retry
from sonde.ports import Control, Credential, Session
from sonde.testing.control_contract import ControlContract
from sonde.token import Token, digest, new_secret, session_id


class TestMemory(ControlContract):
    @pytest.fixture
    def control(self, clock: Clock) -> Control:
        return MemoryControl(clock)


class TestSqlite(ControlContract):
    @pytest.fixture
    def control(self, clock: Clock, tmp_path: Path) -> Iterator[Control]:
        control = SqliteControl(tmp_path / "control.db", clock)
        yield control
        control.close()


def credential(name: str) -> Credential:
    return Credential(Token.make().id, name, frozenset({"ingest"}), created=SystemClock().now())


def put(control: Control, key: bytes, kind: str, made: Credential, expires: int) -> None:
    control.sessions.put(key, Session(session_id(key), kind, made.id, made.name, SystemClock().now(), expires))


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    token, made, cookie = Token.make(), credential("one"), digest(new_secret())
    control = SqliteControl(path)
    control.create_token(made, token.digest)
    put(control, cookie, "cookie", made, SystemClock().now() + DAY)
    control.find_token(token.digest)
    control.close()
    again = SqliteControl(path)
    found = again.find_token(token.digest)
    assert found is not None
    assert found.last_used is not None
    assert again.sessions.take(cookie, "cookie", SystemClock().now()) is not None
    again.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    control = SqliteControl(tmp_path / "control.db")
    control.create_token(credential("one"), Token.make().digest)
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    control.close()


def test_two_programs_see_each_others_changes(tmp_path: Path) -> None:
    first, second = SqliteControl(tmp_path / "control.db"), SqliteControl(tmp_path / "control.db")
    token = Token.make()
    first.create_token(credential("one"), token.digest)
    assert second.find_token(token.digest) is not None
    second.revoke("one")
    found = first.find_token(token.digest)
    assert found is not None
    assert found.revoked
    first.close()
    second.close()


_RACE = """
import sys
from pathlib import Path
from sonde.control.sqlite import SqliteControl
from sonde.errors import Conflict
from sonde.ports import Credential
from sonde.token import Token
control, made = SqliteControl(Path(sys.argv[1])), 0
for i in range(10):
    try:
        control.create_token(Credential(Token.make().id, f"node-{i}", frozenset()), Token.make().digest)
        made += 1
    except Conflict:
        pass
control.close()
print(made)
"""


def test_several_processes_start_and_write_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RACE, str(tmp_path / "control.db")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    made = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert sum(made) == 20  # two valid tokens a name, whoever made them


def test_one_link_lets_one_browser_in(tmp_path: Path) -> None:
    first, second = SqliteControl(tmp_path / "control.db"), SqliteControl(tmp_path / "control.db")
    made = credential("one")
    first.create_token(made, Token.make().digest)
    now = SystemClock().now()
    for _ in range(20):
        key, entered = digest(new_secret()), []
        put(first, key, "link", made, now + 60 * SECOND)
        start = threading.Barrier(2)

        def enter(control: SqliteControl, key: bytes = key, start: threading.Barrier = start) -> None:
            start.wait()
            entered.append(control.sessions.take(key, "link", now))  # noqa: B023 - joined below

        threads = [threading.Thread(target=enter, args=(c,)) for c in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(e is not None for e in entered) == 1
    first.close()
    second.close()


def test_finding_waits_for_no_writer(tmp_path: Path) -> None:
    """The event loop looks tokens up: another program in the middle of a write must not hold it up."""
    path = tmp_path / "control.db"
    control = SqliteControl(path)
    token = Token.make()
    control.create_token(credential("one"), token.digest)
    writer = apsw.Connection(str(path))
    writer.execute("begin immediate")
    assert control.find_token(token.digest) is not None
    assert len(control.tokens()) == 1
    writer.execute("rollback")
    writer.close()
    control.close()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "control.db"))
    db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(NewerFormat):
        SqliteControl(tmp_path / "control.db")


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"this was never a database, but it is long enough" * 100)
    with pytest.raises(Damaged, match=r"control\.db"):
        SqliteControl(tmp_path / "control.db")


def test_a_folder_that_is_not_there_holds(tmp_path: Path) -> None:
    with pytest.raises((Hold, Retry), match=r"control\.db"):
        SqliteControl(tmp_path / "nowhere" / "control.db")


def test_a_closed_one_says_retry(tmp_path: Path) -> None:
    control = SqliteControl(tmp_path / "control.db")
    control.close()
    with pytest.raises(Retry):
        control.find_token(Token.make().digest)
