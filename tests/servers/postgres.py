"""A real PostgreSQL on loopback, started by the tests: durable as in earnest, and able to be hurt.

One server a test process (``postgres``), a fresh database a test (``database``): the address of one that is empty, and owned
by the ordinary user ``sonde``.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

USER: Final = "postgres"
VERSION: Final = 15
_PATIENCE: Final = 60.0  # seconds
_SETTINGS: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "log_min_messages": "fatal",
    "timezone": "Europe/Berlin",  # what is stored must not depend on it
}


class PostgresServer:
    """One server with its data in ``folder``. It comes back at the same port."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._settings = {**_SETTINGS, **settings, "port": str(self.port), "unix_socket_directories": str(folder)}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        data = folder / "data"
        made = _run("initdb", "-D", str(data), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        assert made.returncode == 0, made.stderr.decode()
        self.start()
        self.execute("create role sonde login")
        self.execute("create role sonde_read nologin")  # an ordinary user may not make roles
        self.execute("grant sonde_read to sonde")

    @property
    def pid(self) -> int:
        """Of the process that all others come from."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            command = _as_user("postgres", "-D", str(self.folder / "data"), *arguments)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._wait()

    def stop(self) -> None:
        """Shut it down: connections are cut, what was committed stays."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Let it die without a word, as when the power goes."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Let it hang: every connection stays, nothing is answered any more."""
        os.kill(self.pid, signal.SIGSTOP)  # first, so that it starts no further ones
        for pid in self._servants():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, if it hangs."""
        for pid in (*self._servants(), self.pid):
            os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def execute(self, sql: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the administrator; its rows."""
        with psycopg.connect(self.url(database, USER), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def terminate_backends(self, database: str) -> int:
        """Cut all connections to a database; how many."""
        sql = f"""select count(pg_terminate_backend(pid)) from pg_stat_activity
          where datname = '{database}' and pid <> pg_backend_pid()"""
        return int(self.execute(sql)[0][0])

    def url(self, database: str, user: str = "sonde") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self, made: str = "") -> Iterator[str]:
        """The name of a new, empty database of the user ``sonde``, for the time of a ``with``; ``made`` says how else it is
        to be."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f"create database {name} owner sonde {made}")
        try:
            yield name
        finally:
            self.execute(f"drop database if exists {name} with (force)")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self.pid, how)
        self._process.wait(_PATIENCE)

    def _servants(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + _PATIENCE
        while not self._answers():
            log = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"PostgreSQL did not start: {log}"
            assert time.monotonic() < until, f"PostgreSQL does not answer: {log}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", USER), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def programs() -> Path:
    """The folder of PostgreSQL's programs."""
    for folder in (Path(f"/usr/lib/postgresql/{VERSION}/bin"), Path("/usr/local/bin"), Path("/usr/bin")):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    assert found, f"these tests need PostgreSQL {VERSION}: apt-get install postgresql-{VERSION}"
    return Path(found).parent


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A server of one's own, for the time of a ``with``."""
    folder = Path(tempfile.mkdtemp(prefix="sonde-postgres-"))
    server: PostgresServer | None = None
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        server = PostgresServer(folder, **settings)
        yield server
    finally:
        if server is not None:
            server.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server that the tests of this process share."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    with postgres.database() as name:
        yield postgres.url(name)


def _as_user(program: str, *arguments: str) -> list[str]:
    """A command of PostgreSQL's, which refuses to run as root and goes when this process does."""
    command = [str(programs() / program), *arguments]
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "KILL", *command]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig", "KILL", *command]


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(_as_user(program, *arguments), capture_output=True, cwd="/", check=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
