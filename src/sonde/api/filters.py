"""What a question can be narrowed by: the query parameters that several routes share.

A filter that is there but empty is as if it were absent. A parameter that no route knows is refused with the nearest
known one, because a mistyped filter would give everything.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator

from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.moment import parse_span, parse_time

MOST: Final = 10_000
DEEPEST: Final = 1_000_000
_INTEGER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_TIME_SCHEMA: Final[dict[str, Any]] = {
    "pattern": r"^((19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3])"
    r":[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    r"|(0|[1-6][0-9]{0,9}|[1-6][0-9]{11,12}|[1-6][0-9]{14,15}|[1-6][0-9]{17,18})(\.[0-9]{1,9})?)?$",
    "examples": ["2026-01-01T00:00:00Z"],
}
_TIME_FORMS: Final = "RFC 3339 with an offset, or Unix time in s, ms, µs or ns by its size"


def _plain_integer(text: object) -> object:
    """Pydantic would take ``10.0``, ``1_0`` and blanks for an integer too."""
    if isinstance(text, str) and not _INTEGER.fullmatch(text):
        raise ValueError("not a whole number in plain digits")
    return text


Plain = BeforeValidator(_plain_integer)
Limit = Annotated[int, Query(ge=1, le=MOST, description=f"How many items at most, 1–{MOST:,}"), Plain]
Skip = Annotated[int, Query(ge=0, le=DEEPEST, description="How many to leave out; used by `Link: rel=next`"), Plain]
Site = Annotated[str, Query(max_length=256, description="Only this site")]
Zone = Annotated[str, Query(max_length=256, description="Only this zone")]
Device = Annotated[str, Query(max_length=256, description="Only this device")]
_since = Query(max_length=64, description=f"From this moment on: {_TIME_FORMS}", json_schema_extra=_TIME_SCHEMA)
_until = Query(max_length=64, description=f"Before this moment: {_TIME_FORMS}", json_schema_extra=_TIME_SCHEMA)
Since = Annotated[str, _since]
Until = Annotated[str, _until]
Window = Annotated[
    str,
    Query(
        max_length=16,
        description="Width of a window: a multiple of one that is kept (5m and 15m unless configured otherwise)",
        json_schema_extra={"pattern": "^(5|[1-9][0-9]{0,2}[05])m$|^[1-9][0-9]{0,2}h$|^[1-9]d$"},
    ),
]


def given(text: str) -> str | None:
    """A filter's value, or ``None`` if it narrows nothing."""
    return text or None


def moment(text: str, field: str) -> Micros | None:
    """The moment that a filter names; :class:`Invalid` if it names none."""
    return parse_time(text, field) if text else None


def width(text: str) -> int:
    """The width of a window in seconds; :class:`Invalid` beyond a year."""
    seconds = parse_span(text, "window")
    if seconds > 366 * 86_400:
        raise Invalid(Problem(None, "window", f"{text!r} is longer than a year; try 1d"))
    return seconds


def refuse_unknown(names: list[str], known: set[str]) -> None:
    """:class:`Invalid` for a name that is not known or stands twice, with the nearest that is known."""
    for name in names:
        if name not in known:
            raise Invalid(Problem(None, name[:64], f"not a parameter of this route; {_suggestion(name, known)}"))
        if names.count(name) > 1:
            raise Invalid(Problem(None, name, "stands twice; give it once"))


def _suggestion(name: str, known: set[str]) -> str:
    if not known:
        return "it takes none"
    near = difflib.get_close_matches(name[:64], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}"


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _parameters(inner)


async def _only_known_parameters(request: Request) -> None:
    route = cast(APIRoute, request.scope["route"])
    known = set(_parameters(route.dependant))
    refuse_unknown([name for name, _ in request.query_params.multi_items()], known)


only_known_parameters: Final = Depends(_only_known_parameters)
