"""The kinds of values that settings have: how each is read from text, and how it is written back."""

import base64
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr

from sonde.keyring import KEY_BYTES

_SPANS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_FLAGS: Final = {
    "yes": True,
    "true": True,
    "on": True,
    "1": True,
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}
_STANDARD: Final = str.maketrans("-_", "+/")
_BEGIN: Final = "-----BEGIN "
_LINE_END: Final = "\\n"
_NUMBER: Final = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is described to a person, and how it is written."""

    name: str
    text: Callable[[Any], str]


def parse_span(given: object) -> float:
    """``90``, ``250ms``, ``5m``, ``24h``, ``7d`` in seconds."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    number, unit = _split(given, "a span of time such as 30s, 5m or 7d")
    if (unit or "s") not in _SPANS:
        raise ValueError(f"{unit!r} is no unit of time; use us, ms, s, m, h, d or w")
    return number * _SPANS[unit or "s"]


def span_text(seconds: float) -> str:
    """Seconds in the largest unit that stays a whole number."""
    for unit, size in sorted(_SPANS.items(), key=lambda item: -item[1]):
        count = seconds / size
        if seconds and unit != "w" and abs(count - round(count)) < 1e-9 and round(count) > 0:
            return f"{round(count)}{unit}"
    return f"{seconds:.15g}s"


def parse_size(given: object) -> int:
    """``512``, ``64MiB``, ``1GB`` in bytes."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    number, unit = _split(given, "a number of bytes such as 512, 64MiB or 1GB")
    if unit.lower() not in _SIZES:
        raise ValueError(f"{unit!r} is no unit of size; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
    return round(number * _SIZES[unit.lower()])


def size_text(size: int) -> str:
    """Bytes in the largest unit that stays a whole number."""
    for unit in ("TB", "GB", "MB", "TiB", "GiB", "MiB", "KiB", "kB"):
        if size and size % _SIZES[unit.lower()] == 0:
            return f"{size // _SIZES[unit.lower()]}{unit}"
    return str(size)


def parse_flag(given: object) -> bool:
    """``yes`` or ``no``, also ``true``, ``on``, ``1`` and their opposites."""
    if isinstance(given, bool):
        return given
    flag = _FLAGS.get(str(given).strip().lower())
    if flag is None:
        raise ValueError("should be yes or no")
    return flag


def parse_words(given: object) -> tuple[str, ...]:
    """Words separated by commas or spaces."""
    if isinstance(given, tuple | list):
        return tuple(str(word) for word in given)
    return tuple(re.split(r"[\s,]+", str(given).strip(" ,\t\n"))) if str(given).strip(" ,\t\n") else ()


def parse_items(given: object) -> tuple[str, ...]:
    """Items separated by commas alone; they may have spaces inside."""
    if isinstance(given, tuple | list):
        return tuple(str(item) for item in given)
    return tuple(item.strip() for item in str(given).split(",") if item.strip())


def parse_speed(given: object) -> float:
    """How many times faster: a number above 0, or ``max``."""
    if str(given).strip().lower() == "max":
        return math.inf
    try:
        speed = float(str(given))
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ValueError("should be a number above 0, or max")
    return speed


def master_keys(secret: SecretStr) -> tuple[bytes, ...]:
    """The keys that a secret holds: each 32 bytes in base64, of either alphabet; separated by commas or spaces."""
    found = []
    for word in parse_words(secret.get_secret_value()):
        try:
            found.append(base64.b64decode(word.translate(_STANDARD), validate=True))
        except ValueError:
            raise ValueError("should be in base64, 44 characters a key; `sonde init` writes a fresh one") from None
        if len(found[-1]) != KEY_BYTES:
            raise ValueError(
                f"should be {KEY_BYTES} bytes in base64, and has {len(found[-1])}; `sonde init` writes one"
            )
    return tuple(found)


def parse_pem(given: object) -> str:
    """PEM as text, also with its line ends written as ``\\n``; or the name of a file, as it is."""
    text = str(given).strip()
    return f"{text.replace(_LINE_END, chr(10))}\n" if _BEGIN in text else text


def _secret_pem(secret: SecretStr) -> SecretStr:
    return SecretStr(parse_pem(secret.get_secret_value()))


def _pem_text(text: str) -> str:
    return "(PEM)" if _BEGIN in text else text


def key_command(secret: SecretStr) -> str:
    """The command whose output is the keys, if the secret names one: ``command:…``; else empty."""
    text = secret.get_secret_value().strip()
    return text.removeprefix("command:").strip() if text.startswith("command:") else ""


def _checked_keys(secret: SecretStr) -> SecretStr:
    if secret.get_secret_value().strip().startswith("command:"):
        if not key_command(secret):
            raise ValueError("names no command after command:")
    else:
        master_keys(secret)
    return secret


def _split(given: object, expected: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(str(given).strip())
    if match is None:
        raise ValueError(f"should be {expected}")
    return float(match[1].replace("_", "")), match[2]


def parse_ages(given: object) -> dict[int, float]:
    """``5m: 90d, 1h: 730d``: for windows of a width, how long they are kept; in seconds."""
    if isinstance(given, dict):
        return given
    ages: dict[int, float] = {}
    for item in parse_items(given):
        width, colon, age = item.partition(":")
        seconds = parse_span(width)
        if not colon or seconds < 1 or seconds != int(seconds):
            raise ValueError("should be widths of windows, each with its age, such as 5m: 90d, 1h: 730d")
        ages[int(seconds)] = parse_span(age)
    return ages


def _ages_text(ages: dict[int, float]) -> str:
    return ", ".join(f"{span_text(width)}: {span_text(age)}" for width, age in sorted(ages.items()))


def _optional(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda given: None if given is None or str(given).strip() == "" else parse(given)


def _count(given: object) -> int:
    try:
        return int(str(given).strip().replace("_", "").replace(",", ""))
    except ValueError:
        raise ValueError("should be a whole number") from None


def _number(given: object) -> float:
    try:
        return float(str(given))
    except ValueError:
        raise ValueError("should be a number") from None


def _spans(given: object) -> tuple[float, ...]:
    return tuple(parse_span(word) for word in parse_words(given))


def _maybe(text: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None else text(value)


def _number_text(value: float) -> str:
    return f"{value:.15g}"


_SPAN: Final = Form("time span", _maybe(span_text))
_SIZE: Final = Form("size", _maybe(size_text))
_NUMBER_FORM: Final = Form("number", _maybe(_number_text))

Span = Annotated[float, BeforeValidator(parse_span), _SPAN]
MaybeSpan = Annotated[float | None, BeforeValidator(_optional(parse_span)), _SPAN]
Size = Annotated[int, BeforeValidator(parse_size), _SIZE]
MaybeSize = Annotated[int | None, BeforeValidator(_optional(parse_size)), _SIZE]
MaybeCount = Annotated[int | None, BeforeValidator(_optional(_count)), Form("whole number", _maybe(str))]
Ages = Annotated[dict[int, float], BeforeValidator(parse_ages), Form("list of width: time span", _ages_text)]
Flag = Annotated[bool, BeforeValidator(parse_flag), Form("yes or no", lambda value: "yes" if value else "no")]
Words = Annotated[tuple[str, ...], BeforeValidator(parse_words), Form("list", ", ".join)]
Items = Annotated[tuple[str, ...], BeforeValidator(parse_items), Form("list, by commas", ", ".join)]
Speed = Annotated[
    float, BeforeValidator(parse_speed), Form("number, or max", lambda v: "max" if v == math.inf else f"{v:g}")
]
Spans = Annotated[
    tuple[float, ...], BeforeValidator(_spans), Form("list of time spans", lambda v: ", ".join(map(span_text, v)))
]
MaybeNumber = Annotated[float | None, BeforeValidator(_optional(_number)), _NUMBER_FORM]
Pem = Annotated[str, BeforeValidator(parse_pem), Form("PEM, or a file", _pem_text)]
SecretPem = Annotated[SecretStr, AfterValidator(_secret_pem)]
Keys = Annotated[SecretStr, AfterValidator(_checked_keys)]
