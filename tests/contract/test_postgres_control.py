"""The control database in PostgreSQL: tokens, sessions, the audit trail, notices; several programs at once."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from sonde.access import Access
from sonde.audit import Act, act, chained, written
from sonde.clock import DAY, Clock, SystemClock
from sonde.control.audit import SqliteAuditTrail
from sonde.control.notices import SqliteNotices
from sonde.control.postgres import notices as adapters
from sonde.control.postgres.audit import PostgresAuditTrail
from sonde.control.postgres.control import PostgresControl
from sonde.control.postgres.moving import move
from sonde.control.postgres.notices import PostgresNotices
from sonde.control.sqlite import SqliteControl
from sonde.errors import Damaged, Retry, Unauthenticated
from sonde.ports import AuditTrail, Control, Credential, Notices, Session
from sonde.store.postgres.connections import Connections
from sonde.testing.audit_contract import AuditTrailContract, write
from sonde.testing.control_contract import ControlContract
from sonde.testing.notices_contract import NoticesContract, notice
from sonde.token import Token, digest, new_secret, session_id
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all
_PATIENCE = 60.0


class TestPostgresControl(ControlContract):
    @pytest.fixture
    def control(self, clock: Clock, connections: Connections) -> Iterator[Control]:
        with closing(PostgresControl(connections, clock)) as control:
            yield control


class TestPostgresAuditTrail(AuditTrailContract):
    @pytest.fixture
    def trail(self, connections: Connections) -> AuditTrail:
        return PostgresAuditTrail(connections)


class TestPostgresNotices(NoticesContract):
    @pytest.fixture
    def notices(self, connections: Connections) -> Notices:
        return PostgresNotices(connections)

    def test_only_the_newest_of_those_that_are_settled_are_kept(
        self, notices: Notices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adapters, "_KEPT", 3)
        notices.add("webhook.ops", "log", {0: 1}, [notice(0), *(notice(n, fate="sent") for n in range(1, 9))])
        assert [n.news["number"] for n in notices.recent(None, 10)] == [8, 7, 6, 0]


def test_a_revoked_token_is_refused_by_every_server_soon(connections: Connections) -> None:
    """Each remembers what it looked up; none for longer than until something changes."""
    with closing(PostgresControl(connections)) as here, closing(PostgresControl(connections)) as there:
        token, made = _token(here)
        servers = [Access(control, SystemClock()) for control in (here, there)]
        for server in servers:
            assert server.check(token.text, "ingest", "10.0.0.1").id == made.id
        here.revoke(made.id)
        for server in servers:
            _until(partial(_is_refused, server, token))


def test_a_session_that_was_ended_is_refused_by_every_server_soon(connections: Connections) -> None:
    with closing(PostgresControl(connections)) as here, closing(PostgresControl(connections)) as there:
        _, made = _token(here)
        key = digest(new_secret())
        now = SystemClock().now()
        here.sessions.put(key, Session(session_id(key), "cookie", made.id, made.name, now, now + DAY))
        assert there.sessions.take(key, "cookie", now) is not None
        assert here.sessions.end(session_id(key))
        assert here.sessions.take(key, "cookie", now) is None
        _until(lambda: there.sessions.take(key, "cookie", now) is None)


def test_a_link_is_used_once_by_whichever_server(connections: Connections) -> None:
    with closing(PostgresControl(connections)) as here, closing(PostgresControl(connections)) as there:
        _, made = _token(here)
        key = digest(new_secret())
        now = SystemClock().now()
        here.sessions.put(key, Session(session_id(key), "link", made.id, made.name, now, now + DAY))
        assert [control.sessions.take(key, "link", now) is not None for control in (there, here, there)] == [
            True,
            False,
            False,
        ]


def test_while_the_database_is_away_those_who_are_known_are_let_in(
    postgres: PostgresServer, connections: Connections
) -> None:
    """Sinks go on confirming. Nobody else gets in, and hears why at once."""
    with closing(PostgresControl(connections)) as control:
        token, made = _token(control)
        stranger, _ = _token(control)
        assert control.find_token(token.digest) is not None
        postgres.stop()
        try:
            _until(lambda: _is_away(control, stranger))
            found = control.find_token(token.digest)
            assert found is not None
            assert found.id == made.id
        finally:
            postgres.start()
        _until(lambda: not _is_away(control, stranger))
        control.revoke(made.id)
        found = control.find_token(token.digest)
        assert found is not None
        assert found.revoked


def test_a_database_that_hangs_holds_nobody_up(connections: Connections) -> None:
    """Servers ask on their event loop: whoever is known gets in at once, others hear soon that it does not answer."""
    with closing(PostgresControl(connections)) as control:
        known, _ = _token(control)
        stranger, _ = _token(control)
        assert control.find_token(known.digest) is not None
        with connections.transaction(_PATIENCE) as db:
            db.execute("lock table control.tokens in access exclusive mode")
            with pytest.raises(Retry, match="does not answer"):
                control.find_token(stranger.digest)
            assert control.find_token(known.digest) is not None
        _until(lambda: not _is_away(control, stranger))


def test_last_use_survives_the_end_of_the_program(connections: Connections) -> None:
    with closing(PostgresControl(connections)) as control:
        token, _ = _token(control)
        control.find_token(token.digest)
    with closing(PostgresControl(connections)) as control:
        assert control.tokens()[0].last_used is not None


@pytest.mark.parametrize("what", ["change", "take", "newest", "anew"])
def test_tampering_with_the_trail_is_found(postgres: PostgresServer, connections: Connections, what: str) -> None:
    trail = PostgresAuditTrail(connections)
    write(trail, 5)
    head = dict([trail.head()])
    sql = {
        "change": ["update control.audit set act = %s where number = 3"],
        "take": ["delete from control.audit where number = 3 and %s::bytea is not null"],
        "newest": ["delete from control.audit where number = 5 and %s::bytea is not null"],
        "anew": [],
    }[what]
    with connections.transaction(5.0) as db:
        for statement in sql:
            db.execute(statement.encode(), (written(Act(3, "mallet", "purge")),))
        if what == "anew":
            previous = bytes(32)
            for number in range(1, 6):
                forged = Act(number, "mallet", "purge")
                previous = chained(previous, forged)
                db.execute(
                    "update control.audit set act = %s, hash = %s where number = %s",
                    (written(forged), previous, number),
                )
            db.execute("update control.audit_ends set head_hash = %s", (previous,))
    with pytest.raises(Damaged):
        trail.verify(head)


def test_the_chain_is_that_of_the_embedded_trail(connections: Connections) -> None:
    trail = PostgresAuditTrail(connections)
    expected = bytes(32)
    for number in range(3):
        made = act(number, "alice", "token.create", f"n-{number} ü", why='"quoted"\n\x00')
        trail.write(made)
        expected = chained(expected, made)
    assert trail.head() == (3, expected)


_WRITER = """
import sys
from sonde.audit import act
from sonde.control.postgres.audit import PostgresAuditTrail
from sonde.store.postgres.connections import Connections
connections = Connections(sys.argv[1])
trail = PostgresAuditTrail(connections)
for n in range(40):
    trail.write(act(n, sys.argv[2], "rule.set", str(n)))
connections.close()
"""


def test_several_processes_write_at_once(tables: str, connections: Connections) -> None:
    names = ("one", "two", "three")
    processes = [subprocess.Popen([sys.executable, "-c", _WRITER, tables, name]) for name in names]
    assert [process.wait(_PATIENCE) for process in processes] == [0, 0, 0]
    trail = PostgresAuditTrail(connections)
    assert trail.verify() == 120
    written_by = {name: [a.on for _, a in trail.read(None, 1000) if a.who == name] for name in names}
    assert all(ons == [str(n) for n in range(39, -1, -1)] for ons in written_by.values())


def test_an_act_that_cannot_be_written_says_retry(postgres: PostgresServer, connections: Connections) -> None:
    trail = PostgresAuditTrail(connections)
    postgres.stop()
    try:
        with pytest.raises(Retry):
            write(trail, 1)
    finally:
        postgres.start()
    write(trail, 1)
    assert trail.verify() == 1


def test_a_control_database_moves_from_its_file(tmp_path: Path, connections: Connections) -> None:
    path, now = tmp_path / "control.db", SystemClock().now()
    file, acts, told = SqliteControl(path), SqliteAuditTrail(path), SqliteNotices(path)
    tokens = [_token(file) for _ in range(3)]
    key = digest(new_secret())
    made = tokens[0][1]
    file.sessions.put(key, Session(session_id(key), "cookie", made.id, made.name, now, now + DAY, agent="Füchse\t\\N"))
    file.revoke(tokens[2][1].id)
    write(acts, 5)
    acts.forget(3)
    told.add("webhook.ops", "log", {0: 5}, [notice(1), notice(2)])
    assert move(path, connections) == 3
    with closing(PostgresControl(connections)) as control:
        assert control.tokens() == file.tokens()
        assert list(control.sessions.all(now)) == list(file.sessions.all(now))
        found = control.sessions.take(key, "cookie", now)
        assert found is not None
        assert found.id == made.id
        trail = PostgresAuditTrail(connections)
        assert trail.head() == acts.head()
        assert trail.read(None, 10) == acts.read(None, 10)
        assert trail.verify(dict([acts.head()])) == 3
        write(trail, 1)
        assert list(PostgresNotices(connections).recent(None, 10)) == list(told.recent(None, 10))
        assert move(path, connections) is None, "it has things of its own now"
        assert trail.verify() == 4
    for each in (file, acts, told):
        each.close()


def _token(control: Control) -> tuple[Token, Credential]:
    token = Token.make()
    made = Credential(Token.make().id, f"name-{token.id}", frozenset({"ingest"}), created=SystemClock().now())
    control.create_token(made, token.digest)
    return token, made


def _is_refused(server: Access, token: Token) -> bool:
    try:
        server.check(token.text, "ingest", "127.0.0.1")
    except Unauthenticated:
        return True
    return False


def _is_away(control: Control, token: Token) -> bool:
    try:
        control.find_token(token.digest)
    except Retry:
        return True
    return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
