"""A column of times, as callers write them, to microseconds: the whole column at once.

What is not plain sailing gives ``None``, and the reading-by-reading way (:mod:`sonde.sink.objects`) finds out why.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.moment import EARLIEST, FIRST_YEAR, LAST_YEAR, LATEST, parse_time
from sonde.reading import TIME
from sonde.sink.values import kind_of, shown

Times: TypeAlias = npt.NDArray[np.int64]

# A number's unit follows from its size: below this bound, so many microseconds each.
_UNITS: Final = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
_MILLIS: Final = range(10**11, 10**14)
_MICROS: Final = range(10**14, 10**17)
_USUAL: Final = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}|\.\d{6})?Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLON, _Z = ord(":"), ord("Z")
_SHORTEST: Final = len("2026-01-01T00:00:00Z")
_SECONDS_AT: Final = len("2026-01-01T00:00")


def from_number(number: float) -> Micros:
    """The moment that a number stands for; not checked for its range."""
    for bound, micros in _UNITS:
        if number < bound:
            return round(number * micros)
    return int(number) // 1_000


def exact(given: Any) -> Micros:
    """The moment that one value stands for; :class:`Invalid` if it is none that is allowed."""
    if type(given) is str:
        return _usual(given) if _USUAL.fullmatch(given) else parse_time(given)
    if type(given) is not int and type(given) is not float:
        raise _invalid(f"it is {kind_of(given)}; write RFC 3339 with an offset, or a number")
    moment = from_number(given) if 0 <= given < 1e30 else -1
    if not EARLIEST <= moment < LATEST:
        raise _invalid(f"{shown(given)} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment


def _usual(text: str) -> Micros:
    """The same as ``parse_time`` for the most usual way of writing a time, in half the time."""
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except ValueError:
        return parse_time(text)  # which says what is wrong
    moment = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return moment if EARLIEST <= moment < LATEST else parse_time(text)


def from_numbers(numbers: Sequence[float], until: Micros = LATEST) -> Times | None:
    """The moments that ``numbers`` stand for, all within the years that are allowed and before ``until``, or ``None``."""
    types = set(map(type, numbers))
    if types == {int}:
        return _from_ints(cast(Sequence[int], numbers), until)
    if float in types and min(numbers) < 0:
        return None
    if types == {float}:
        return _from_floats(np.array(numbers), until)
    return _within(np.fromiter(map(from_number, numbers), np.float64, len(numbers)), until)


def _from_ints(numbers: Sequence[int], until: Micros) -> Times | None:
    """First and last are found by Python: numpy would let go of the interpreter's lock, which costs more than the work."""
    first, last = min(numbers), max(numbers)
    if first in _MICROS and last in _MICROS:
        return np.array(numbers, np.int64) if last < until else None
    if first in _MILLIS and last in _MILLIS:
        return np.array(numbers, np.int64) * 1_000 if last * 1_000 < until else None
    try:
        moments = from_integers(np.array(numbers, np.int64))
    except OverflowError:
        return None
    return None if moments is None else _within(moments, until)


def from_integers(numbers: Times) -> Times | None:
    """The same for a column of integers."""
    if not len(numbers):
        return numbers
    lowest, highest = numbers.min(), numbers.max()
    if lowest < 0:
        return None
    for bound, micros in _UNITS:
        if highest < bound:
            return _within(numbers * micros) if micros == 1_000_000 or lowest >= bound / 1_000 else _each(numbers)
    return _within(numbers // 1_000) if lowest >= 1e17 else _each(numbers)


def _from_floats(numbers: npt.NDArray[np.float64], until: Micros) -> Times | None:
    lower = 0.0
    for bound, micros in _UNITS:
        if numbers.min() >= lower and numbers.max() < bound:
            return _within(np.rint(numbers * micros), until)
        lower = bound
    return _within(np.fromiter(map(from_number, numbers.tolist()), np.float64, len(numbers)), until)


def from_texts(texts: pa.Array, until: Micros = LATEST) -> Times | None:
    """The same for a column of text: RFC 3339 with an offset and at most nine decimals."""
    if not _full(texts):
        return None
    for unit in ("us", "ns"):  # to nanoseconds only where decimals ask for it: their range is smaller
        try:
            moments = texts.cast(pa.timestamp(unit, "UTC"))
        except pa.ArrowInvalid:
            continue
        return _within(moments.cast(TIME, safe=False).cast(pa.int64()).to_numpy(), until)
    return None


def _full(texts: pa.Array) -> bool:
    """Whether each text has seconds, and an offset with a colon: Arrow would do without."""
    _, offset_buffer, data_buffer = texts.buffers()
    if data_buffer is None or texts.null_count:
        return False
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if not len(texts) or np.diff(offsets).min() < _SHORTEST:
        return False
    data = np.frombuffer(data_buffer, np.uint8)
    ends = offsets[1:]
    zoned = (data[ends - 1] == _Z) | (data[ends - 3] == _COLON)
    return bool(((data[offsets[:-1] + _SECONDS_AT] == _COLON) & zoned).all())


def _each(numbers: Times) -> Times | None:
    return _within(np.fromiter(map(from_number, numbers.tolist()), np.int64, len(numbers)))


def _within(moments: npt.NDArray[Any], until: Micros = LATEST) -> Times | None:
    if len(moments) and not (moments.min() >= EARLIEST and moments.max() < until):
        return None
    return moments.astype(np.int64, copy=False)


def _invalid(message: str) -> Invalid:
    return Invalid(Problem(None, "time", message))
