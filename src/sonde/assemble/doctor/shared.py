"""Checks of what many processes share: brokers and topics, the database. Loaded only where they are the log and the store."""

from collections.abc import Iterator
from typing import Any, Final

import psycopg

from sonde.assemble.doctor.finding import Finding, Patient
from sonde.assemble.shared.brokers import connection_of, open_log, plans_of
from sonde.clock import SECOND, Micros, SystemClock
from sonde.errors import SondeError
from sonde.log.kafka.checks import checks
from sonde.store.postgres import migrate
from sonde.store.postgres.trouble import meaning

_OFF_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 10
_RIGHTS: Final = {
    "store": "select, insert, update, delete",
    "control": "select, insert, update, delete",
}


def brokers(patient: Patient) -> Iterator[Finding]:
    """Whether the brokers answer, and both topics are as they should be."""
    settings = patient.settings
    connection = connection_of(settings)
    behind = _behind(patient)
    for number, plan in enumerate(plans_of(settings)):
        for remark in checks(connection, plan, behind=None if number else behind):
            yield Finding("brokers", remark.level, remark.message, remark.hint)


def database(patient: Patient) -> Iterator[Finding]:
    """Whether the database answers, is new enough, has the tables of this version, and lets this user work; and its clock."""
    assert patient.settings.database is not None
    try:
        with psycopg.connect(
            patient.settings.database.get_secret_value(),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=_CONNECT_SECONDS,
        ) as connection:
            yield from _version(connection)
            yield from _clock(connection)
            yield from _rights(connection)
    except psycopg.Error as error:
        meant = meaning(error)
        yield Finding("database", "wrong", meant.message, meant.hint)
        return
    yield from _tables(patient)


def _version(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    number = connection.info.server_version
    text = f"PostgreSQL {number // 10_000}.{number % 10_000} answers"
    if number < migrate.LEAST_VERSION:
        yield Finding("database", "wrong", text, f"Sonde needs {migrate.LEAST_VERSION // 10_000} or newer")
    else:
        yield Finding("database", "ok", text)


def _clock(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    before = SystemClock().now()
    ((there,),) = connection.execute("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").fetchall()
    after = SystemClock().now()
    seconds = max(before - there, there - after, 0) / SECOND
    if seconds > _OFF_SECONDS:
        yield Finding(
            "clock", "wrong", f"the database's clock is {seconds:,.0f} s off this machine's", "Set one of them right"
        )
    else:
        yield Finding("clock", "ok", "the database's clock agrees with this machine's")


def _rights(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    for schema, needed in _RIGHTS.items():
        rows = connection.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = %s and c.relkind in ('r', 'p') and not has_table_privilege(c.oid, %s) limit 1",
            (schema, needed.split(", ")[1]),
        ).fetchall()
        if rows:
            yield Finding(
                "database",
                "wrong",
                f"this user may not write {schema}.{rows[0][0]}",
                f"Ask its administrator for: grant {needed} on all tables in schema {schema} to {connection.info.user}",
            )


def _tables(patient: Patient) -> Iterator[Finding]:
    assert patient.settings.database is not None
    try:
        found = migrate.current(patient.settings.database.get_secret_value())
        if found is None:
            yield Finding("database", "ok", "it has no tables yet: the first start makes them")
            return
        migrate.check(found)
    except SondeError as error:
        yield Finding("database", "wrong", error.message, error.hint)
    else:
        yield Finding("database", "ok", f"its tables have version {found}, as this Sonde needs")


def _behind(patient: Patient) -> Micros | None:
    """How old the oldest is that the log holds and the store does not; None if that cannot be found out, or all is stored."""
    assert patient.settings.database is not None
    try:
        with psycopg.connect(
            patient.settings.database.get_secret_value(),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=_CONNECT_SECONDS,
        ) as connection:
            places = connection.execute(
                "select log, partition, next_offset, (extract(epoch from log_time) * 1000000)::bigint from store.progress"
            ).fetchall()
        log = open_log(patient.settings, make_it=False)
    except (psycopg.Error, SondeError):
        return None
    try:
        ends = log.ends()
    except SondeError:
        return None
    finally:
        log.close()
    now = SystemClock().now()
    ages = [
        now - int(stored)
        for id_, partition, place, stored in places
        if id_ == log.id and stored > 0 and place < ends.get(partition, (0, 0))[1]
    ]
    return max(ages, default=None)
