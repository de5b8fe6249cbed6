"""Whether parameters fit what a device declares of a command: an error for each one that does not."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from sonde.errors import Invalid, Problem
from sonde.profile import Command as Template
from sonde.profile import Parameter, Profile

MOST_BYTES: Final = 64 << 10
"""What the parameters of a command may be at most, as JSON."""

_INTEGER: Final = range(-(2**63), 2**63)
_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "int": lambda value: type(value) is int and value in _INTEGER,
    "float": lambda value: type(value) in {int, float} and math.isfinite(value),
    "string": lambda value: type(value) is str,
    "boolean": lambda value: type(value) is bool,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}
_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
_MEASURED: Final[Mapping[str, Callable[[Any], float]]] = {
    "int": lambda value: value,
    "float": lambda value: value,
    "string": len,
    "array": len,
}
"""What ``min`` and ``max`` bound: a number itself, of text and lists the length."""


def checked(template: Template, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` with the defaults of what is left out; :class:`Invalid` with a problem for each wrong parameter."""
    problems = [Problem(None, f"parameters.{name}"[:300], text) for name, text in _wrong(template, given)]
    if problems:
        raise Invalid(problems[0], more=problems[1:])
    defaults = {name: p.default for name, p in template.parameters.items() if p.default is not None}
    whole = {**defaults, **given}
    if len(msgspec.json.encode(whole)) > MOST_BYTES:
        raise Invalid(Problem(None, "parameters", f"more than {MOST_BYTES:,} bytes as JSON"))
    return whole


def faults(profile: Profile) -> Iterator[str]:
    """What no command could ever satisfy in a profile's templates, in words; nothing if they are sound."""
    for command, template in profile.commands.items():
        for name, parameter in template.parameters.items():
            for text in _faults(parameter):
                yield f"command {command!r}, parameter {name!r}: {text}"


def _wrong(template: Template, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = template.parameters
    for name, value in given.items():
        if name not in known:
            yield name, f"the command has no such parameter; {_suggestion(name, list(known))}"
        elif (text := _misfit(known[name], value)) is not None:
            yield name, text
    for name, parameter in known.items():
        if parameter.required and parameter.default is None and name not in given:
            yield name, f"is required: {_expected(parameter)}"


def _misfit(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with a value, and what would be right."""
    if not _FITS[parameter.type](value):
        return f"{_shown(value)} is not {_WORDS[parameter.type]}"
    if parameter.enum is not None and not any(_same(value, choice) for choice in parameter.enum):
        return f"{_shown(value)} is none of {', '.join(map(_shown, parameter.enum))}"
    measure = _MEASURED.get(parameter.type)
    if measure is None:
        return None
    size, what = measure(value), "" if parameter.type in {"int", "float"} else "its length "
    if parameter.min is not None and size < parameter.min:
        return f"{what or _shown(value) + ' '}is below the least, {parameter.min:g}"
    if parameter.max is not None and size > parameter.max:
        return f"{what or _shown(value) + ' '}is above the most, {parameter.max:g}"
    return None


def _same(value: Any, choice: Any) -> bool:
    """``True`` is not 1, though Python says so; 1 and 1.0 are the same number."""
    return bool(value == choice) and isinstance(value, bool) == isinstance(choice, bool)


def _faults(parameter: Parameter) -> Iterator[str]:
    low, high = parameter.min, parameter.max
    if (low is not None or high is not None) and parameter.type not in _MEASURED:
        yield f"min and max mean nothing for the type {parameter.type}"
    if low is not None and high is not None and low > high:
        yield f"min {low:g} is above max {high:g}"
    if parameter.enum is not None:
        bare = msgspec.structs.replace(parameter, enum=None)
        if not any(_misfit(bare, choice) is None for choice in parameter.enum):
            yield "no value of its enum fits"
    if parameter.default is not None and (text := _misfit(parameter, parameter.default)) is not None:
        yield f"its default: {text}"


def _expected(parameter: Parameter) -> str:
    if parameter.enum is not None:
        return f"one of {', '.join(map(_shown, parameter.enum))}"
    return _WORDS[parameter.type] + (f" ({parameter.description})" if parameter.description else "")


def _suggestion(name: str, known: list[str]) -> str:
    if not known:
        return "it takes none"
    near = difflib.get_close_matches(name[:64], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}"


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 64 else f"{text[:60]}…"
