"""What users ask in SQL: one SELECT, as a role that sees the views and nothing else, within limits.

Lines of defence, each good for itself: the transaction is read-only; the role ``sonde_read`` may read the views only;
functions that do something (volatile ones: files, the network, settings, locks, other sessions) are refused by what the
database's own catalogue says of them; and the text is run as a subquery, where nothing but a query can stand.
"""

# ruff: noqa: S608 - a user's text is run as what it is, which is what all this is about

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg
import pyarrow as pa
from psycopg import RawCursor

from sonde.cursor import Cursor
from sonde.errors import Hold, Invalid, Problem, Retry
from sonde.question import Answer, Sql
from sonde.store.postgres.columns import SHOWN, cursor_of, fetch, table_of
from sonde.store.postgres.connections import Connection, Connections
from sonde.store.postgres.snapshot import Snapshot
from sonde.store.postgres.tokens import called, goes_on, tokens
from sonde.store.postgres.trouble import meaning

ROLE: Final = "sonde_read"
LONGEST: Final = 100_000  # characters of SQL
LARGEST_ANSWER: Final = 64 << 20  # bytes
USERS: Final = 2  # queries of users at once
_ALLOWED: Final = "allowed is one SELECT (also WITH … SELECT or VALUES) over readings, windows, alerts, devices, gaps"
_FIRST: Final = frozenset({"select", "with", "values", "table"})
_HARMLESS: Final = frozenset({"random", "clock_timestamp", "timeofday", "gen_random_uuid"})
_TEXT: Final = 25
_TEXTS: Final = frozenset({_TEXT, 1042, 1043})  # text, char, varchar: by PostgreSQL's number
_TOO_LARGE: Final = f"more than {LARGEST_ANSWER >> 20} MB"
_LIMITS: Final = (
    "set local work_mem = '16MB'; set local hash_mem_multiplier = 1; set local max_parallel_workers_per_gather = 0;"
    " set local jit = off; set local standard_conforming_strings = on; set local search_path = sonde;"
)
_BOUND: Final = "set local temp_file_limit = '1GB'; "
_MAY: Final = """select coalesce((select pg_has_role(oid, 'member') from pg_roles where rolname = $1), false) as member,
  coalesce((select bool_and(has_table_privilege($1, oid, 'select')) and has_schema_privilege($1, 'sonde', 'usage')
    from pg_class where relnamespace = 'sonde'::regnamespace and relkind = 'v' and exists (
      select from pg_roles where rolname = $1)), false) as granted,
  has_parameter_privilege('temp_file_limit', 'set') as bounded,
  coalesce(has_schema_privilege(to_regnamespace('store')::oid, 'usage'), false) as inside"""
_GRANT: Final = f"grant usage on schema sonde to {ROLE}; grant select on all tables in schema sonde to {ROLE}"
_VOLATILE: Final = (
    "select distinct proname::text as name from pg_proc where proname::text = any($1::text[]) and provolatile = 'v'"
)
_PASSING: Final = ("57P", "08", "53", "58", "XX", "40")


class Guard:
    """Asks what users ask; ``log`` is the id of the log whose places are the cursors of the answers."""

    def __init__(self, connections: Connections, log: str) -> None:
        self._connections, self._log = connections, log
        self._users = threading.BoundedSemaphore(USERS)

    def ask(self, question: Sql) -> Answer:
        """:class:`Invalid` if it may not be asked, or was asked wrongly; :class:`Retry` if it took too long; :class:`Hold` if
        the role is missing."""
        text = check_text(question.text)
        if not self._users.acquire(timeout=question.seconds):
            raise Retry(f"{USERS} queries are running already", hint="Try again when one of them is done", after=1.0)
        try:
            may = self._rights()
            with self._connections.snapshot(question.seconds) as connection, _as_users_see_it():
                inside = may["inside"]  # who may only read the views cannot know how far the log is stored
                place = Snapshot.begin(connection, self._log).place if inside else Cursor(self._log, {})
                _refuse_volatile(connection, text)
                connection.execute(f"{_BOUND if may['bounded'] else ''}{_LIMITS} set local role {ROLE}".encode())
                return Answer(_rows(connection, question, _cut(text)), place)
        finally:
            self._users.release()

    def _rights(self) -> Mapping[str, bool]:
        """What this user may do. :class:`Hold` if there is nobody to read as; what that role may read is granted if it is not
        yet."""
        with self._connections.connection() as connection:
            may: Mapping[str, bool] = fetch(connection, _MAY, (ROLE,)).to_pylist()[0]
            if not may["member"]:
                user = connection.info.user
                raise Hold(
                    f"the database has no role {ROLE} that {user} may act as",
                    hint=f'Ask its administrator for: CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO "{user}"',
                )
            if not may["granted"]:
                connection.execute(_GRANT.encode())
            return may


def check_text(text: str) -> str:
    """:class:`Invalid` if a text cannot be one SELECT, or cannot be read for sure."""
    if len(text) > LONGEST:
        raise _refused(f"longer than {LONGEST:,} characters")
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text):
        raise _refused(f"it holds a zero byte or half a character; {_ALLOWED}")
    found = list(tokens(text))
    first = next((token for token in found if token[:2] != ("sign", "(")), None)
    if first is None or first.kind != "word" or first.name not in _FIRST:
        raise _refused(f"it is not a SELECT; {_ALLOWED}")
    if any(token.kind == "unicode" for token in found) or goes_on(found):
        raise _refused("names with U& escapes, and texts with E'…' that go on in the next line, are off")
    return text


def _cut(text: str) -> str:
    """The text without the semicolon at its end."""
    found = list(tokens(text))
    while found and found[-1][:2] == ("sign", ";"):
        text = text[: found.pop().start]
    if any(token[:2] == ("sign", ";") for token in found):
        raise _refused(f"it holds more than one statement; {_ALLOWED}")
    return text


def _refuse_volatile(connection: Connection, text: str) -> None:
    names = sorted(called(list(tokens(text))) - _HARMLESS)
    for name in fetch(connection, _VOLATILE, (names,))["name"].to_pylist():
        raise _refused(f"the function {name} is off: it may do more than compute; {_ALLOWED}")


def _rows(connection: Connection, question: Sql, text: str) -> pa.Table:
    """The rows of a user's query, as long as they are not too many."""
    values = list(question.parameters)
    described = _describe(connection, text, values)
    columns = ", ".join(_shown(f"c{n}", oid) for n, (_, oid) in enumerate(described))
    names = ", ".join(f"c{n}" for n in range(len(described)))
    wrapped = f"select {columns} from (\n{text}\n) q({names})"
    shown = [(name, oid if oid in SHOWN else _TEXT) for name, oid in described]
    with cursor_of(connection) as cursor, closing(_stream(cursor, wrapped, values)) as stream:
        return _gather(stream, shown, question.rows)


def _stream(cursor: RawCursor[tuple[Any, ...]], text: str, values: Sequence[object]) -> Generator[tuple[Any, ...]]:
    """Row by row, so that no more of an answer is here than is wanted; closed early, it stops the query."""
    yield from cursor.stream(text.encode(), values, binary=True)


def _shown(column: str, oid: int) -> str:
    """A column as it is fetched. A text that is too long to be fetched stops the query, and is not sent first."""
    if oid in SHOWN and oid not in _TEXTS:
        return column
    text = f"{column}::text"
    stop = f"(left({text}, 0) || '{_TOO_LARGE}')::int::text"  # no number, which only the value's own row finds out
    return f"case when octet_length({text}) > {LARGEST_ANSWER} then {stop} else {text} end"


def _describe(connection: Connection, text: str, values: Sequence[object]) -> list[tuple[str, int]]:
    """Names and types of the columns of what is a statement by itself; without running it."""
    with cursor_of(connection) as cursor:
        cursor.execute(f"select * from (\n{text}\n) q limit 0".encode(), values, binary=True)
        described = [(column.name, column.type_code) for column in cursor.description or ()]
    if not described:
        raise _refused("it gives no columns")
    return described


def _gather(stream: Iterable[tuple[Any, ...]], described: Sequence[tuple[str, int]], most: int) -> pa.Table:
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in stream:
        rows.append(row)
        size += sum(len(value) if isinstance(value, str | bytes) else 16 for value in row)
        if len(rows) > most:
            raise _refused(f"more than {most:,} rows; add LIMIT, or aggregate")
        if size > LARGEST_ANSWER:
            raise _refused(f"{_TOO_LARGE}; add LIMIT, or fewer columns")
    return table_of(described, rows)


@contextmanager
def _as_users_see_it() -> Iterator[None]:
    """What is wrong with a user's query is the user's to mend."""
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise Retry("the query was stopped: it took too long", hint="Ask for less at once") from None
    except psycopg.Error as error:
        if _of_the_database(error):
            raise meaning(error) from None
        words = (error.diag.message_primary or str(error)).strip()
        raise _refused(f"{_TOO_LARGE} in one value" if words.endswith(f'"{_TOO_LARGE}"') else words) from None
    except (pa.ArrowException, UnicodeError, OverflowError, ValueError, TypeError) as error:
        raise _refused(str(error)) from None


def _of_the_database(error: psycopg.Error) -> bool:
    """Whether it is no mistake in the query."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_PASSING)


def _refused(message: str) -> Invalid:
    return Invalid(Problem(None, "sql", message))
