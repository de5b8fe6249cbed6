"""What a value is, and whether columns hold values of the kinds that they name."""

import re
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.errors import Invalid, Problem


class Kind(IntEnum):
    """What a value is; ``NONE`` is a sensor that failed to give one."""

    NUMBER = 0
    INTEGER = 1
    BOOLEAN = 2
    TEXT = 3
    JSON = 4
    NONE = 5


class Quality(IntEnum):
    """How far a value can be trusted."""

    GOOD = 0
    FAILED = 1
    RANGE = 2  # outside what the device's profile declares
    TYPE = 3  # not of the type that the profile declares
    CLOCK = 4  # its time is further ahead than a clock may be


_DIGITS: Final = re.compile(r"-?[0-9]{1,19}")
_decode_json = msgspec.json.Decoder().decode


def check_values(kind: pa.Array, value: pa.Array, text: pa.Array, quality: pa.Array) -> None:
    """:class:`Invalid` naming the first row whose value is not of its kind. ``kind`` and ``quality`` have no nulls. Costs next
    to nothing for plain numbers."""
    if not len(kind):
        return
    kinds = kind.to_numpy()
    highest = _check_span("kind", kinds, max(Kind))
    _check_span("quality", quality.to_numpy(), max(Quality))
    numbers = text.null_count == len(text) and not value.null_count
    if numbers and highest <= Kind.BOOLEAN and np.isfinite(value.to_numpy()).all():
        return
    has_value = value.is_valid().to_numpy(zero_copy_only=False)
    has_text = text.is_valid().to_numpy(zero_copy_only=False)
    whole = np.isfinite(value.to_numpy(zero_copy_only=False))  # a null is NaN
    _require("value", ~has_value & np.isin(kinds, (Kind.NUMBER, Kind.BOOLEAN)), "a number should stand here")
    _require("value", ~has_text & ~whole & (kinds == Kind.INTEGER), "an integer should stand here")
    _require("text", ~has_text & np.isin(kinds, (Kind.TEXT, Kind.JSON)), "text should stand here")
    _check_texts(text, has_text & (kinds == Kind.INTEGER), _integer, "an integer of 64 bits")
    _check_texts(text, kinds == Kind.JSON, _decode_json, "JSON")


def _check_span(name: str, numbers: npt.NDArray[np.int8], highest: int) -> int:
    top = int(numbers.max())
    if top > highest or numbers.min() < 0:
        row = int(((numbers < 0) | (numbers > highest)).argmax())
        raise Invalid(Problem(row, name, f"{numbers[row]} is none; they go from 0 to {highest}"))
    return top


def _require(name: str, wrong: npt.NDArray[np.bool_], message: str) -> None:
    if wrong.any():
        raise Invalid(Problem(int(wrong.argmax()), name, message))


def _check_texts(text: pa.Array, chosen: npt.NDArray[np.bool_], parse: Callable[[str], object], what: str) -> None:
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return
    for row, content in zip(rows, text.take(pa.array(rows)).to_pylist(), strict=True):
        try:
            parse(content)
        except (ValueError, RecursionError):
            raise Invalid(Problem(int(row), "text", f"{what} should stand here")) from None


def _integer(text: str) -> None:
    if not _DIGITS.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(text)
