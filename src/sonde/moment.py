"""Times and spans of time as people and programs write them.

A time is RFC 3339 with an offset, or a number whose unit follows from its size: seconds below 1e11, milliseconds below
1e14, microseconds below 1e17, else nanoseconds. A span is a number and a unit: ``90s``, ``5m``, ``1h``, ``1d``, ``2w``.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from sonde.clock import SECOND, Clock, Micros
from sonde.errors import Invalid, Problem

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2200
EARLIEST: Final[Micros] = 0
LATEST: Final[Micros] = 7_289_654_400_000_000  # the end of LAST_YEAR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET: Final = r"(?:[Zz]|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d))"
_TIME: Final = re.compile(
    rf"(?P<moment>\d{{4}}-\d\d-\d\d[Tt ]\d\d:\d\d:)(?P<second>\d\d)(?:\.(?P<fraction>\d+))?{_OFFSET}", re.ASCII
)
_NAIVE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?", re.ASCII)
_LOST_PLUS: Final = re.compile(
    r"(?P<moment>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?) (?P<offset>\d\d:\d\d)", re.ASCII
)
_NUMBER: Final = re.compile(r"\d{1,20}(?:\.\d{1,20})?", re.ASCII)
_SPAN: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_EXAMPLE: Final = "write RFC 3339 with an offset, such as 2026-01-01T00:00:00Z, or Unix time"


def parse_time(text: str, field: str = "time") -> Micros:
    """The moment that ``text`` names, in microseconds UTC; finer digits are cut off.

    :class:`Invalid` naming ``field`` if it names none, has no offset, or lies outside the years 1970 to 2200.
    """
    match = _TIME.fullmatch(text)
    if match:
        return _moment(match, text, field)
    if _NUMBER.fullmatch(text):
        return _from_number(Decimal(text), text, field)
    raise _invalid(field, _why(text))


def format_time(micros: Micros) -> str:
    """RFC 3339 in UTC with microseconds: ``2026-01-01T00:00:00.000000Z``."""
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str, clock: Clock, field: str = "since") -> Micros:
    """The moment that ``text`` names: a time, or a span before now. :class:`Invalid` naming ``field``."""
    if _SPAN.fullmatch(text):
        return clock.now() - parse_span(text, field) * SECOND
    return parse_time(text, field)


def parse_span(text: str, field: str = "span") -> int:
    """The seconds that ``text`` stands for, at least 1; :class:`Invalid` naming ``field`` if it is no span."""
    match = _SPAN.fullmatch(text)
    if not match or int(match[1]) == 0:
        raise _invalid(field, f"{_shown(text)} is not a span of time; write a number and s, m, h, d or w, such as 5m")
    return int(match[1]) * _UNITS[match[2]]


def format_span(seconds: int) -> str:
    """The shortest span of that many seconds, in its largest whole unit up to days: 300 is ``5m``, 604800 ``7d``."""
    for unit in "dhm":
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def _moment(match: re.Match[str], text: str, field: str) -> Micros:
    second = int(match["second"])
    leap = second == 60  # RFC 3339 allows it, Unix time has no place for it: it is the start of the next minute
    try:
        moment = datetime.fromisoformat(f"{match['moment'].upper()}{59 if leap else second:02d}+00:00")
    except ValueError as error:
        raise _invalid(field, f"{_shown(text)} is no time ({error})") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _invalid(field, f"{_shown(text)} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    if hours > 23 or minutes > 59:
        raise _invalid(field, f"{_shown(text)} has no possible offset")
    offset = (hours * 3600 + minutes * 60) * (-1 if match["sign"] == "-" else 1)
    micros = 0 if leap else int((match["fraction"] or "")[:6].ljust(6, "0"))
    return ((moment - _EPOCH) // timedelta(seconds=1) + leap - offset) * 1_000_000 + micros


def _from_number(number: Decimal, text: str, field: str) -> Micros:
    if number < 10**11:
        micros = number * 1_000_000
    elif number < 10**14:
        micros = number * 1_000
    elif number < 10**17:
        micros = number
    else:
        micros = number / 1_000
    if not EARLIEST <= micros < LATEST:
        raise _invalid(field, f"{_shown(text)} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return int(micros)


def _why(text: str) -> str:
    lost = _LOST_PLUS.fullmatch(text)
    if lost:
        return f"{_shown(text)} has a space for a plus: in a URL write {lost['moment']}%2B{lost['offset']}"
    if _NAIVE.fullmatch(text):
        return f"{_shown(text)} has no offset from UTC; {_EXAMPLE}"
    return f"{_shown(text)} is not a time; {_EXAMPLE}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:63] + "…")


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(Problem(None, field, message))
