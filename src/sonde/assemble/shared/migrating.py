"""The tables of the database that is the store, brought up to date."""

from sonde.assemble import extras
from sonde.config import Settings
from sonde.errors import Hold


def migrate_database(settings: Settings) -> tuple[str | None, str]:
    """The version of the tables before, None if there were none, and now. :class:`Hold` if the store is no database."""
    if settings.database is None:
        raise Hold(
            "the store is DuckDB, which needs no migration: it is made again from the log",
            hint="For PostgreSQL set [store] url = postgresql://…",
        )
    found: tuple[str | None, str] = extras.load("sonde.assemble.shared.database").upgrade(settings.database)
    return found
