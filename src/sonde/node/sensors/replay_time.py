"""Times as they stand in files, as moments. All columns at once: a file may have millions."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sonde.errors import Hold
from sonde.moment import EARLIEST, LATEST

Moments = npt.NDArray[np.int64]

_STEP: Final = 15 * 60 * 1_000_000  # offsets change at whole quarters of an hour
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (a local time)
_UNITS: Final = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0))  # below: microseconds in the unit


class Times:
    """Reads the time column of one file, piece by piece, in order.

    Without an offset in the file, times are local to ``zone``. Where a clock is set back, an hour comes twice: the first
    time it is taken as summer time, and as winter time from where times would otherwise go backwards.
    """

    def __init__(self, where: str, zone: str, pattern: str = "") -> None:
        self._where = where
        self._zone = zone
        self._pattern = pattern
        self._last = np.iinfo(np.int64).min

    def moments(self, column: pa.Array, first_row: int) -> Moments:
        """Microseconds UTC; :class:`Hold` naming the row if one is no time."""
        if column.null_count:
            row = first_row + int(np.argmax(np.asarray(column.is_null())))
            raise self._wrong(row, "has no time")
        local, moments = self._parse(column, first_row)
        if local:
            moments = self._from_local(moments)
        wrong = (moments < EARLIEST) | (moments >= LATEST)
        if wrong.any():
            raise self._wrong(first_row + int(np.argmax(wrong)), "lies outside the years 1970 to 2200")
        if len(moments):
            self._last = int(moments[-1])
        return moments

    def _parse(self, column: pa.Array, first_row: int) -> tuple[bool, Moments]:
        """Whether these are local times, and microseconds since 1970 on that clock."""
        kind = column.type
        if pa.types.is_timestamp(kind):
            return kind.tz is None, _integers(column.cast(pa.timestamp("us", kind.tz), safe=False))
        if pa.types.is_date(kind):
            return True, _integers(column.cast(pa.timestamp("us")))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return False, _from_numbers(np.asarray(column, np.float64), column)
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        if self._pattern:
            return self._by_pattern(text, first_row)
        for local, target in ((True, pa.timestamp("us")), (False, pa.timestamp("us", "UTC"))):
            try:
                return local, _integers(text.cast(target))
            except pa.ArrowInvalid:
                continue
        try:
            numbers = text.cast(pa.float64())
        except pa.ArrowInvalid:
            raise self._wrong(first_row + _first_unreadable(text), "holds no time that can be read") from None
        return False, _from_numbers(np.asarray(numbers), numbers)

    def _by_pattern(self, text: pa.Array, first_row: int) -> tuple[bool, Moments]:
        try:
            return True, _integers(pc.strptime(text, format=self._pattern, unit="us"))
        except pa.ArrowInvalid:
            raise self._wrong(first_row, f"does not look like {self._pattern}") from None

    def _from_local(self, local: Moments) -> Moments:
        if not self._zone:
            raise Hold(
                f"the times in {self._where} have no offset, so they could mean any moment",
                hint="Say where they were taken, such as --timezone Europe/Brussels, or --timezone UTC",
            )
        quarters, places = np.unique(local // _STEP, return_inverse=True)
        zone = zone_named(self._zone)
        first = np.array([_offset(zone, int(q), 0) for q in quarters], np.int64)[places]
        second = np.array([_offset(zone, int(q), 1) for q in quarters], np.int64)[places]
        moments: Moments = local - first
        for row in np.flatnonzero(first > second):  # the hours that come twice
            before = moments[row - 1] if row else self._last
            if moments[row] < before:
                moments[row] = local[row] - second[row]
        return moments

    def _wrong(self, row: int, what: str) -> Hold:
        return Hold(f"{self._where}: row {row} {what}", hint="Name the time column with --time-column, or mend the row")


def zone_named(name: str) -> ZoneInfo:
    """The time zone; :class:`Hold` if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Hold(f"there is no time zone {name!r}", hint="Write a name such as Europe/Brussels, or UTC") from None


def _offset(zone: ZoneInfo, quarter: int, fold: int) -> int:
    """Microseconds that a local time is ahead of UTC."""
    moment = (_EPOCH + timedelta(microseconds=quarter * _STEP)).replace(tzinfo=zone, fold=fold)
    offset = moment.utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)


def _integers(column: pa.Array) -> Moments:
    return np.array(column.cast(pa.int64()), np.int64)


def _from_numbers(numbers: npt.NDArray[np.float64], column: Any) -> Moments:
    """The unit follows from the size: seconds, milliseconds, microseconds, nanoseconds."""
    size = np.abs(numbers)
    factor = np.select([size < limit for limit, _ in _UNITS], [unit for _, unit in _UNITS], 1e-3)
    if np.all(factor == 1.0) and pa.types.is_integer(column.type):
        return _integers(column)
    moments: Moments = np.rint(numbers * factor).astype(np.int64)
    return moments


def _first_unreadable(text: pa.Array) -> int:
    for row, value in enumerate(text.to_pylist()):
        try:
            datetime.fromisoformat(value).astimezone(UTC)
        except ValueError:
            return row
    return 0
