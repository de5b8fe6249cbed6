"""A real pgbouncer between Sonde and PostgreSQL that lends connections for a transaction: LISTEN brings nothing through it, and
what a session remembers belongs to somebody else the next moment."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psycopg

from tests.servers.postgres import USER, PostgresServer

_PATIENCE: Final = 60.0  # seconds
_SETTINGS: Final = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
logfile = {folder}/log
pidfile = {folder}/pid
"""


_LEFT: Final = """
select 'the prepared statement ' || statement from pg_prepared_statements
union all select 'it listens to ' || channel from pg_listening_channels() channel
union all select name || ' = ' || setting from pg_settings where setting <> reset_val and name in ('role', 'search_path',
  'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'work_mem', 'temp_file_limit', 'jit',
  'transaction_read_only', 'default_transaction_read_only')
union all select 'the table ' || relname from pg_class where relnamespace = pg_my_temp_schema()
union all select 'a lock' from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'
"""


class Pooler:
    """Before ``server``, with at most ``size`` connections to each of its databases."""

    def __init__(self, folder: Path, server: PostgresServer, size: int) -> None:
        self._folder, self._size = folder, size
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        settings = _SETTINGS.format(server=server.port, port=self.port, folder=folder, size=size)
        (folder / "pgbouncer.ini").write_text(settings)
        (folder / "users").write_text(f'"sonde" ""\n"{USER}" ""\n')
        self._process = subprocess.Popen(
            [*_user(), _program(), str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL
        )
        self._wait()

    def url(self, database: str) -> str:
        return f"postgresql://sonde@127.0.0.1:{self.port}/{database}"

    def left_behind(self, database: str) -> set[str]:
        """What those who had a session before left in it: looked for in all that the pooler may lend at the same moment."""
        with ExitStack() as stack:
            lent = [stack.enter_context(psycopg.connect(self.url(database))) for _ in range(self._size)]
            found = {row for connection in lent for row in connection.execute(_LEFT.encode()).fetchall()}
        return {str(what) for (what,) in found}

    def close(self) -> None:
        self._process.kill()
        self._process.wait(_PATIENCE)

    def _wait(self) -> None:
        until = time.monotonic() + _PATIENCE
        while not self._answers():
            log = self._folder / "log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            assert self._process.poll() is None, f"pgbouncer did not start: {said}"
            assert time.monotonic() < until, f"pgbouncer does not answer: {said}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def pooler(server: PostgresServer, size: int = 8) -> Iterator[Pooler]:
    """One of one's own, for the time of a ``with``."""
    folder = Path(tempfile.mkdtemp(prefix="sonde-pooler-"))
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    made: Pooler | None = None
    try:
        made = Pooler(folder, server, size)
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder)


def _program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, "these tests need pgbouncer: apt-get install pgbouncer"
    return found


def _user() -> list[str]:
    """Before a command that refuses to run as root and goes when this process does."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "KILL"]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig", "KILL"]
