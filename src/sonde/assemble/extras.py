"""What needs an extra of Sonde is loaded when it is asked for."""

import importlib
from types import ModuleType
from typing import Final

from sonde.errors import Hold

_LIBRARIES: Final = {
    "confluent_kafka": "kafka",
    "psycopg": "postgres",
    "psycopg_binary": "postgres",
    "alembic": "postgres",
}
"""What a missing library belongs to."""


def load(module: str) -> ModuleType:
    """A module of :mod:`sonde`; :class:`Hold` naming the extra to install if a library is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise Hold(
            f"this needs the library {library}, which is not installed",
            hint=f'Install the extra: pip install "sonde[{_LIBRARIES[library]}]"',
        ) from None
