"""Bodies of requests, never longer than they may be."""

from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from fastapi import Request

from sonde.errors import Invalid, Problem, TooLarge, Unsupported

MOST_BYTES: Final = 1_500_000  # holds the longest question in SQL, should each character be escaped: 12 bytes each
_MOST_SHOWN: Final = 500  # characters of what was wrong; a name in a body may be as long as the body
FORM: Final = "application/x-www-form-urlencoded"
T = TypeVar("T")


async def read_json(request: Request, shape: type[T]) -> T:
    """The body as ``shape``; :class:`Unsupported`, :class:`TooLarge` or :class:`Invalid`."""
    _check_type(request, "application/json")
    data = await _read(request)
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, "body", _shown(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(Problem(None, "body", f"not JSON ({_shown(error)})"), syntax=True) from None


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form; of a field that stands twice, the last."""
    _check_type(request, FORM)
    data = await _read(request)
    try:
        return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=16))
    except ValueError as error:
        raise Invalid(Problem(None, "body", f"not a form ({error})"), syntax=True) from None


def _shown(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def _check_type(request: Request, expected: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != expected:
        raise Unsupported(f"the content type {given[:64]!r} is not understood here", hint=f"Send {expected}")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Unsupported(f"the content encoding {encoding[:64]!r} is not understood here", hint="Send it plain")


async def _read(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise TooLarge(f"the body is longer than {MOST_BYTES:,} bytes")
        parts.append(part)
    return b"".join(parts)
