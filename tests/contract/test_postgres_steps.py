"""What a processor commits reaches those who look on in other processes, once; and of many programs, one is the owner."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from sonde.changes import Alert, Corrected, Progress, Series, Step
from sonde.store.postgres.connections import Connections, connect
from sonde.store.postgres.owner import OwnerLock
from sonde.store.postgres.step_reader import StepReader
from sonde.store.postgres.steps import StepWriter, write_steps
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.all
_PATIENCE = 60.0
LOG = "a log"
SERIES = Series(7, "boiler", "temperature", "s", "z", '{"floor":"2"}')


class Seen:
    """Port ``Onlooker``."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def committed(self, step: Step) -> None:
        self.steps.append(step)

    @property
    def places(self) -> list[tuple[int, int]]:
        return [(step.progress.partition, step.progress.offset) for step in self.steps]


def step(offset: int, partition: int = 0, log: str = LOG) -> Step:
    alert = Alert("id", "hot", 7, "above", "warning", "firing", 30.0, 5, 31.0, 31.0, fired_at=6)
    return Step(Progress(log, partition, offset, 9), [(alert, SERIES)], [Corrected(SERIES, 1, 2)])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def reader(tables: str, connections: Connections, seen: Seen) -> Iterator[StepReader]:
    with closing(StepReader(connections, lambda: connect(tables), LOG, [seen])) as reader:
        reader.start()
        assert reader.wait(_PATIENCE)
        yield reader


@pytest.fixture
def writer(connections: Connections) -> Iterator[StepWriter]:
    with closing(StepWriter(connections)) as writer:
        yield writer


def test_steps_arrive_as_they_were(reader: StepReader, writer: StepWriter, seen: Seen) -> None:
    for offset in range(1, 50):
        writer.committed(step(offset, offset % 3))
    until(lambda: len(seen.steps) == 49)
    assert sorted(seen.places) == sorted((offset % 3, offset) for offset in range(1, 50))
    assert next(s for s in seen.steps if s.progress.offset == 7) == step(7, 1)
    until(lambda: reader.listens is not None)
    assert reader.listens


def test_what_is_no_news_and_what_is_of_another_log_is_not_told(
    reader: StepReader, writer: StepWriter, seen: Seen
) -> None:
    writer.committed(Step(Progress(LOG, 0, 1)))
    writer.committed(step(2, log="another log"))
    writer.committed(step(3))
    until(lambda: bool(seen.steps))
    assert seen.places == [(0, 3)]


def test_what_came_before_is_not_told(tables: str, connections: Connections, writer: StepWriter, seen: Seen) -> None:
    writer.committed(step(1))
    until(lambda: _rows(connections) == 1)
    with closing(StepReader(connections, lambda: connect(tables), LOG, [seen])) as reader:
        reader.start()
        assert reader.wait(_PATIENCE)
        writer.committed(step(2))
        until(lambda: bool(seen.steps))
    assert seen.places == [(0, 2)]


def test_a_row_that_becomes_visible_late_is_told_and_none_twice(
    reader: StepReader, connections: Connections, seen: Seen
) -> None:
    """One that lost its partition wakes up and commits what it had begun, long after others went beyond it."""
    with connections.transaction(_PATIENCE) as late:
        write_steps(late, [step(5)])
        for offset in (10, 11, 12):
            with connections.transaction(_PATIENCE) as db:
                write_steps(db, [step(offset)])
        until(lambda: len(seen.steps) == 3)
    until(lambda: len(seen.steps) == 4)
    with connections.transaction(_PATIENCE) as db:
        write_steps(db, [step(12), step(13)])
    until(lambda: len(seen.steps) == 5)
    assert seen.places == [(0, 10), (0, 11), (0, 12), (0, 5), (0, 13)]


def test_it_heals_when_connections_are_cut_and_the_server_restarts(
    postgres: PostgresServer, tables: str, reader: StepReader, writer: StepWriter, seen: Seen
) -> None:
    database = tables.rpartition("/")[2]
    for offset in range(1, 4):
        postgres.terminate_backends(database)
        writer.committed(step(offset))
        until(lambda offset=offset: len(seen.steps) == offset)  # type: ignore[misc]
    postgres.stop()
    writer.committed(step(4))
    until(lambda: reader.problem is not None)
    postgres.start()
    until(lambda: len(seen.steps) == 4)
    assert seen.places == [(0, 1), (0, 2), (0, 3), (0, 4)]
    until(lambda: reader.problem is None)


def test_where_nothing_can_be_listened_for_it_looks(
    postgres: PostgresServer, connections: Connections, writer: StepWriter, seen: Seen
) -> None:
    """As behind a pooler: LISTEN is taken, and nothing ever comes of it. So it is in another database."""
    with closing(StepReader(connections, lambda: connect(postgres.url("postgres")), LOG, [seen])) as reader:
        reader.start()
        assert reader.wait(_PATIENCE)
        until(lambda: reader.listens is False)
        for offset in range(1, 4):
            writer.committed(step(offset))
            until(lambda offset=offset: len(seen.steps) == offset)  # type: ignore[misc]
    assert seen.places == [(0, 1), (0, 2), (0, 3)]


def test_old_steps_are_trimmed(connections: Connections) -> None:
    with connections.transaction(_PATIENCE) as db:
        write_steps(db, [step(1), step(2)])
        db.execute("update store.steps set at = now() - interval '1 hour' where \"offset\" = 1")
    with closing(StepWriter(connections)) as writer:
        writer.committed(step(3))
        until(lambda: _rows(connections) == 2)


def _rows(connections: Connections) -> int:
    with connections.connection() as db:
        return int(db.execute("select count(*) from store.steps").fetchall()[0][0])


def test_one_is_the_owner_and_the_next_when_it_leaves(tables: str) -> None:
    locks = [OwnerLock(lambda: connect(tables), "judge") for _ in range(3)]
    other = OwnerLock(lambda: connect(tables), "retention")
    assert [lock.held() for lock in locks] == [True, False, False]
    assert other.held()
    locks[0].close()
    until(lambda: any(lock.held() for lock in locks[1:]))
    assert [lock.held() for lock in locks[1:]].count(True) == 1
    for lock in (*locks, other):
        lock.close()


def test_who_loses_the_connection_is_no_owner_any_more(postgres: PostgresServer, tables: str) -> None:
    with closing(OwnerLock(lambda: connect(tables), "judge")) as one:
        assert one.held()
        postgres.terminate_backends(tables.rpartition("/")[2])
        with closing(OwnerLock(lambda: connect(tables), "judge")) as other:
            assert other.held()
            until(lambda: not one.held())
            assert other.held()
            assert not one.held()


def test_while_the_database_is_away_nobody_is_the_owner(postgres: PostgresServer, tables: str) -> None:
    with closing(OwnerLock(lambda: connect(tables), "judge")) as lock:
        assert lock.held()
        postgres.stop()
        try:
            until(lambda: not lock.held())
        finally:
            postgres.start()
        until(lock.held)


_OWNER = """
import sys, time
from sonde.store.postgres.connections import connect
from sonde.store.postgres.owner import OwnerLock
lock = OwnerLock(lambda: connect(sys.argv[1]), "judge")
while not lock.held():
    time.sleep(0.05)
print("owner", flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_owner_is_killed_another_one_takes_over(tables: str, how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _OWNER, tables], stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None
            assert any(line == b"owner\n" for line in owner.stdout)
            with closing(OwnerLock(lambda: connect(tables), "judge")) as lock:
                assert not lock.held()
                owner.send_signal(how)
                until(lock.held)
        finally:
            owner.kill()


def test_the_lock_keeps_no_row_from_being_tidied_away(tables: str, connections: Connections) -> None:
    """Its transaction stays open for weeks."""
    with closing(OwnerLock(lambda: connect(tables), "judge")) as lock:
        assert lock.held()
        with connections.connection() as db:
            rows = db.execute(
                "select backend_xid, backend_xmin from pg_stat_activity where state = 'idle in transaction'"
            ).fetchall()
    assert rows == [(None, None)]


def test_several_threads_may_ask(tables: str) -> None:
    answers: list[bool] = []
    with closing(OwnerLock(lambda: connect(tables), "judge")) as lock:
        threads = [threading.Thread(target=lambda: answers.append(lock.held())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [True] * 8
