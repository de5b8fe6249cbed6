"""JSON text, exactly: which reading cannot be parsed, and where a key stands twice.

The quick decoder takes the last of two equal keys without a word, and says of an error only at which byte it is. So
requests are counted first (:func:`whole`), and those that do not add up are read again here, slowly.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from sonde.errors import Invalid, Problem
from sonde.sink.objects import Twice
from sonde.sink.values import shown

_SMALL: Final = 4096
_QUOTE: Final = ord('"')
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NO_TEXT: Final[set[type]] = {float, int, bool, type(None)}
_DEEP: Final = "it is nested too deeply"


def texts_in(body: bytes) -> int:
    """How many texts, keys among them, stand in ``body``, which is valid JSON."""
    if b"\\" in body:
        body = _ESCAPE.sub(b"", body)
    if len(body) < _SMALL:
        return body.count(b'"') // 2
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == _QUOTE)) // 2


def texts_of(thing: Any) -> int:
    """How many texts, keys among them, stand in a decoded value. Fewer than in its text: a key stood twice."""
    if isinstance(thing, str):
        return 1
    if isinstance(thing, dict):
        return len(thing) + sum(map(texts_of, thing.values()))
    if isinstance(thing, list):
        types = set(map(type, thing))
        if types <= _NO_TEXT:
            return 0
        return len(thing) if types == {str} else sum(map(texts_of, thing))
    return 0


def readings_in(body: bytes) -> Iterator[Any]:
    """The readings in ``body``, one object or an array; :class:`Invalid` at the first that cannot be parsed."""
    text = _text(body)
    start = _skip(text, 0)
    if not text[start : start + 1]:
        raise _syntax(None, "the body is empty; send a reading, or an array of them")
    if text[start] != "[":
        thing, end = _one(text, start, 0)
        yield thing
    else:
        yield from _array(text, start + 1)
        return
    if _skip(text, end) != len(text):
        raise _syntax(None, f"something follows the end of the JSON {_place(text, end)}; send an array, or NDJSON")


def lines_in(body: bytes) -> Iterator[Any]:
    """The same for NDJSON: a reading a line, empty lines left out. Several in a line are taken too."""
    index = 0
    for line in _text(body).split("\n"):
        at = _skip(line, 0)
        while at < len(line):
            thing, at = _one(line, at, index)
            yield thing
            at, index = _skip(line, at), index + 1


def _array(text: str, at: int) -> Iterator[Any]:
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        at += 1
    else:
        index = 0
        while True:
            thing, at = _one(text, _skip(text, at), index)
            yield thing
            at = _skip(text, at)
            if text[at : at + 1] == "]":
                at += 1
                break
            if text[at : at + 1] != ",":
                raise _syntax(index, f"a comma or ] should follow it {_place(text, at)}")
            at, index = at + 1, index + 1
    if _skip(text, at) != len(text):
        raise _syntax(None, f"something follows the end of the array {_place(text, at)}")


def _one(text: str, at: int, index: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        raise _syntax(index, _DEEP) from None
    except json.JSONDecodeError as error:
        raise _syntax(index, f"not JSON: {error.msg} {_place(text, error.pos)}") from None
    except ValueError as error:
        raise _syntax(index, f"not JSON: {error}") from None


def _place(text: str, at: int) -> str:
    return (
        f"at character {at} ({shown(text[at : at + 10])})" if at < len(text) else "at the end, where more should come"
    )


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _syntax(None, f"the body is not UTF-8 (byte {error.start}); JSON travels as UTF-8") from None
    if text.startswith("\ufeff"):
        raise _syntax(None, "the body starts with a byte order mark; send UTF-8 without one")
    return text


def _syntax(index: int | None, message: str) -> Invalid:
    return Invalid(Problem(index, "", message), syntax=True)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    thing = dict(pairs)
    if len(thing) == len(pairs):
        return thing
    seen: set[str] = set()
    twice = Twice(thing)
    twice.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return twice


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON; a sensor that failed sends null with a quality")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= 100 else 10**100


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
