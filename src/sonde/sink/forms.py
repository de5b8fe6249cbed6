"""From the body of a request to readings in columns.

Three ways, each slower and more exact than the one before. *Alike*: an array of objects with the same keys is decoded
into typed structs, and checked column by column. *Objects*: whatever else is JSON, checked reading by reading.
*Syntax*: what cannot be parsed, or has a key twice, is read once more to say where. Only the last two refuse; the first
gives up (``None``) on any doubt.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import msgspec

from sonde.clock import Micros
from sonde.errors import Invalid, Problem, TooLarge, Unsupported
from sonde.ports import Telemetry
from sonde.sink import alike, arrow, columnar, objects, single, syntax
from sonde.sink.columns import Received
from sonde.sink.compression import decompress
from sonde.sink.limits import Limits

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
_UNDERSTOOD: Final = f"{JSON}, {NDJSON} and {ARROW}"

_decode: Final = msgspec.json.Decoder().decode
_decode_lines: Final = msgspec.json.Decoder().decode_lines


def read(request: Telemetry, now: Micros, limits: Limits) -> tuple[Received, bytes]:
    """The readings of a request, and its body decompressed. A reading without a time gets ``now``.

    :class:`Invalid` naming the first reading that cannot be taken, :class:`TooLarge`, :class:`Unsupported`.
    """
    body = request.body
    if len(body) > limits.body_bytes:
        raise TooLarge(
            f"the body has {len(body)} bytes; at most {limits.body_bytes} are taken", hint="Send fewer at once"
        )
    if request.content_encoding:
        body = decompress(body, request.content_encoding, limits.decompressed_bytes)
    media = request.content_type
    if media != JSON:
        media = _media(media)
    if media == ARROW:
        return arrow.read(body, now, limits), body
    received = _read_json(body, now, limits) if media == JSON else _read_lines(body, now, limits)
    return received, body


def _media(content_type: str) -> str:
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if media not in {JSON, NDJSON, ARROW} or ("charset=" in charset and "charset=utf-8" not in charset):
        raise Unsupported(f"the content type {content_type[:64]!r} is not understood", hint=f"There are {_UNDERSTOOD}")
    return media


def _read_json(body: bytes, now: Micros, limits: Limits) -> Received:
    received = alike.read(body, now, limits) if body[:1] == b"[" else None
    if received is not None:
        return received
    try:
        thing = _decode(body)
        if type(thing) is dict and (received := single.read(body, thing, now, limits)) is not None:
            return received
        whole = syntax.texts_in(body) == syntax.texts_of(thing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        whole = False
    if not whole:
        return _each(syntax.readings_in(body), now, limits)
    if isinstance(thing, list):
        return _each(thing, now, limits)
    if isinstance(thing, dict) and columnar.is_columnar(thing):
        return columnar.read(thing, now, limits)
    return objects.read((thing,), now, limits)


def _read_lines(body: bytes, now: Micros, limits: Limits) -> Received:
    received = alike.read(body, now, limits, lines=True)
    if received is not None:
        return received
    try:
        things: Iterable[Any] = _decode_lines(body)
        whole = syntax.texts_in(body) == syntax.texts_of(things)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        whole = False
    return _each(things if whole else syntax.lines_in(body), now, limits)


def _each(things: Iterable[Any], now: Micros, limits: Limits) -> Received:
    few = list(islice(things, limits.readings + 1))
    if len(few) > limits.readings:
        raise limits.too_many()
    if not few:
        raise Invalid(Problem(None, "", "there is no reading in it; send at least one"))
    return objects.read(few, now, limits)
