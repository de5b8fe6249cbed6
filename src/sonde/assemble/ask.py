"""One question in SQL: to the server that runs on a data directory, to another, or to a database."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
import pyarrow as pa
from pydantic import SecretStr

from sonde.access import Access
from sonde.api.export import ARROW
from sonde.assemble import extras
from sonde.assemble.remote import Remote
from sonde.assemble.server import COOKIE, Running
from sonde.assemble.tokens import open_people
from sonde.clock import SECOND, SystemClock
from sonde.config import Settings
from sonde.config.sections import Api
from sonde.directory import DataDirectory
from sonde.people import People
from sonde.ports import Credential
from sonde.question import Sql

_SECONDS: Final = 120


def ask_remote(remote: Remote, text: str) -> pa.Table:
    """The rows that a server answers."""
    content = remote.post("/sql", msgspec.json.encode({"sql": text}), ARROW)
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def ask_running(directory: DataDirectory, server: Running, text: str) -> pa.Table:
    """The rows that the server of this directory answers, whose store is its own."""
    with let_in(directory, None, "sonde sql", _SECONDS) as headers:
        return ask_remote(Remote(server.url, headers, server.tls()), text)


def ask_database(url: SecretStr, text: str, limits: Api) -> pa.Table:
    """The rows that a database answers, without a server between, and with the same limits."""
    question = Sql(text, seconds=limits.sql_time, rows=limits.sql_rows)
    rows: pa.Table = extras.load("sonde.assemble.shared.database").ask_sql(url, question)
    return rows


@contextmanager
def let_in(
    directory: DataDirectory, settings: Settings | None, agent: str, seconds: int
) -> Iterator[Mapping[str, str]]:
    """Headers for the server of this directory, while the block lasts, and at most for so many seconds. Whoever may write its
    control database may ask: it lets this command in like a browser that has signed in."""
    with open_people(directory, settings) as people:
        access = Access(people.control, SystemClock())
        cookie = access.open_session(_admin(people, seconds), agent=agent, lasts=seconds * SECOND)
        try:
            yield {"Cookie": f"{COOKIE}={cookie}"}
        finally:
            access.close_session(cookie)


def _admin(people: People, seconds: int) -> Credential:
    """A token that may do everything; a short-lived one if there is none."""
    for credential in people.valid_tokens():
        if "admin" in credential.scopes:
            return credential
    return people.create_token("sql", ["admin"], expires=SystemClock().now() + seconds * SECOND)[1]
