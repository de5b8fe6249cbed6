"""The schema of the database: made on an empty one, compared with what this Sonde needs, brought up to date on request."""

from typing import Final, cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from sonde.errors import Hold, NewerFormat, SondeError
from sonde.store.postgres.connections import Connection
from sonde.store.postgres.trouble import meaning

_LOCK: Final = 0x536F6E64  # of advisory locks: whoever holds it may change the schema
_PATIENCE: Final = "60s"
LEAST_VERSION: Final = 150_000
"""The oldest PostgreSQL that will do, as it numbers itself."""


def head() -> str:
    """The version of the schema that this Sonde needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def current(url: str) -> str | None:
    """The version of the schema in the database; None if there is none. :class:`Retry` or :class:`Hold` if it cannot be
    asked."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            return _version(connection)
    except psycopg.Error as error:
        raise meaning(error) from None


def prepare(url: str) -> None:
    """Make the tables if there are none. :class:`Hold` if they are of another version, or may not be made."""
    found = current(url)
    if found is None:
        upgrade(url)
    else:
        check(found)


def check(found: str | None) -> None:
    """:class:`Hold` unless ``found`` is the version that this Sonde needs."""
    wanted = head()
    if found is None:
        raise Hold("the database has no tables of Sonde yet", hint="Make them: sonde migrate")
    if found not in _known():
        raise NewerFormat(
            f"the database's schema has version {found}, and this Sonde knows {wanted}",
            hint="A newer Sonde was here: upgrade this one too",
        )
    if found != wanted:
        raise Hold(
            f"the database's schema has version {found}, and this Sonde needs {wanted}",
            hint="Stop the processors, make a backup, then: sonde migrate",
        )


def upgrade(url: str, to: str = "head") -> str | None:
    """Bring the schema up to date; the version that it had. Many may try at once: one does it, and the others wait.
    All of it happens, or nothing."""
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url, prepare_threshold=None), poolclass=NullPool
    )
    try:
        with engine.begin() as lent:
            return _upgrade(lent, to)
    except DBAPIError as error:
        raise _meaning(error.orig) from None
    except psycopg.Error as error:
        raise _meaning(error) from None


def _upgrade(lent: SqlConnection, to: str) -> str | None:
    connection = cast(Connection, lent.connection.driver_connection)
    if connection.info.server_version < LEAST_VERSION:
        raise Hold(
            f"the database is PostgreSQL {connection.info.server_version // 10_000}, and Sonde needs 15 or newer",
            hint="Upgrade the database",
        )
    connection.execute(f"set local lock_timeout = '{_PATIENCE}'".encode())
    connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    found = _version(connection)
    if found is not None and found not in _known():
        check(found)
    if found != head():
        _allow(connection)
        config = _config()
        config.attributes["connection"] = lent
        command.upgrade(config, to)
    return found


def _meaning(error: BaseException | None) -> SondeError:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Hold("the tables are in use", hint="Stop the processors and the API, then: sonde migrate")
    assert isinstance(error, psycopg.Error)
    return meaning(error)


def _version(connection: Connection) -> str | None:
    if connection.execute("select to_regclass('store.schema_version')").fetchall() == [(None,)]:
        return None
    rows = connection.execute("select version_num from store.schema_version").fetchall()
    return str(rows[0][0]) if rows else None


def _allow(connection: Connection) -> None:
    """Make sure that the schemas are there; :class:`Hold` with what to ask for if they may not be made."""
    for schema in ("store", "sonde", "control"):
        if connection.execute("select to_regnamespace(%s)", (schema,)).fetchall() != [(None,)]:
            continue
        ((may, user, database),) = connection.execute(
            "select has_database_privilege(current_database(), 'create'), current_user, current_database()"
        ).fetchall()
        if not may:
            raise Hold(
                f"the user {user} may not make the schema {schema} in the database {database}",
                hint=f'Ask its administrator for: GRANT CREATE ON DATABASE "{database}" TO "{user}"',
            )
        connection.execute(f"create schema {schema}".encode())


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "sonde.store.postgres:migrations")
    return config
