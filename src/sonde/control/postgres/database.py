"""What the control database needs of PostgreSQL: a way to it, which somebody else opens and closes."""

from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeAlias

import psycopg

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

SECONDS: Final = 5.0
"""How long a statement of the control database may take."""


class Database(Protocol):
    """Connections to a database. Any thread may use it; errors are of :mod:`sonde.errors`."""

    def transaction(self, seconds: float) -> AbstractContextManager[Connection]:
        """All that is done inside, or nothing; ``seconds`` for each statement."""
        ...

    def snapshot(self, seconds: float) -> AbstractContextManager[Connection]:
        """One moment to look at; nothing can be changed."""
        ...
