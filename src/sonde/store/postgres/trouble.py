"""What PostgreSQL's errors mean, in Sonde's words."""

import re
from typing import Final

import psycopg

from sonde.errors import Hold, Retry, SondeError

_NEVER: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba.conf entry|role \S+ does not exist|database \S+ does not exist"
    r"|permission denied for database|is not permitted to log in|certificate verify failed|root certificate file"
    r"|server does not support SSL|invalid sslmode|invalid connection option|missing \"=\" after",
    re.I,
)
"""What a refused connection says if it will be refused again. Other words, and other languages, are tried again."""
_PASSING: Final[tuple[tuple[tuple[str, ...], str, str, float | None], ...]] = (
    (("57P", "08"), "the database is away ({})", "", 1.0),
    (("40001", "40P01", "55P03", "55006", "25P03"), "the database is busy ({})", "", 0.1),
    (("57014",), "the database took too long and was stopped", "Ask for a shorter span or fewer series", None),
    (("25006",), "the database may only be read: is it a standby?", "Connect to the primary", 5.0),
    (("53100",), "the database's disk is full ({})", "Free some space there", 5.0),
    (("53200",), "the database is short of memory or locks ({})", "Raise its max_locks_per_transaction", 5.0),
    (("53300",), "the database has no connection left ({})", "Raise its max_connections, or put a pooler between", 2.0),
    (("53", "58"), "the database is short of something ({})", "Read its own log", 5.0),
)
_LASTING: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (("28", "3D000", "42501"), "the database refuses this user ({})", "Check [store] url, and what the user may do"),
    (("42P01", "42703", "42883", "3F000"), "the database lacks what should be there ({})", "Try: sonde migrate"),
    (("XX",), "the database is damaged, or has a fault ({})", "Read its own log; restore a backup"),
)


def meaning(error: psycopg.Error) -> SondeError:
    """The error of Sonde's tree for one of the driver's."""
    text, state = _text(error), error.sqlstate or ""
    if not state:
        return _without_state(error, text)
    for states, words, hint, after in _PASSING:
        if state.startswith(states):
            return Retry(words.format(text), hint=hint, after=after)
    for states, words, hint in _LASTING:
        if state.startswith(states):
            return Hold(words.format(text), hint=hint)
    return Hold(f"the database refused what it should have done ({state}: {text})", hint="Rebuild the store")


def _without_state(error: psycopg.Error, text: str) -> SondeError:
    """Of an error that is not the server's own."""
    if _NEVER.search(text):
        return Hold(
            f"the database refuses to be connected to ({text})", hint="Check [store] url, and the user's rights"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Retry(f"the database is away ({text})", after=1.0)
    return Hold(f"the database cannot be used so ({text})", hint="Check [store] url")


def _text(error: psycopg.Error) -> str:
    """The first line: what comes behind it is advice to programmers, or repeats the address."""
    primary = error.diag.message_primary
    lines = [line.strip() for line in (primary or str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
