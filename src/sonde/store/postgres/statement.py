"""The shared questions (:mod:`sonde.store.queries`) in PostgreSQL's words."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from sonde.store.queries import Query

_NAME: Final = re.compile(r"\$([a-z]\w*)")
_NOT_THERE: Final = re.compile("[\0\ud800-\udfff]")
_NUMBERS: Final = 2**31


class Statement(NamedTuple):
    """SQL with ``$1`` where values go."""

    text: str
    values: tuple[object, ...] = ()


def statement(query: Query, more: Mapping[str, object] | None = None) -> Statement:
    """A query whose values have names, as one whose values have numbers. ``more`` are values of sources in its text."""
    values = {**query.values, **(more or {})}
    numbers: dict[str, int] = {}
    text = _NAME.sub(lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", query.text)
    return Statement(text, tuple(_known(values[name]) for name in numbers))


def _known(value: object) -> object:
    """A value as the database can be asked for it. What no text there can hold, no name there has either, and it is not
    found; nor are series whose number is none."""
    if isinstance(value, str):
        return _NOT_THERE.sub("\x01", value)
    if isinstance(value, list):
        return [number for number in value if 0 <= number < _NUMBERS]
    return value
