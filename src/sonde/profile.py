"""What a device says about itself: its metrics and the commands it understands."""

import inspect
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, get_type_hints

import msgspec

DataType = Literal["number", "integer", "boolean", "text", "json"]
ParameterType = Literal["int", "float", "string", "boolean", "array", "object"]


class Metric(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device declares of one of its metrics."""

    unit: str = ""
    data_type: DataType = "number"
    min: float | None = None
    max: float | None = None
    description: str = ""
    enum: list[str] | None = None


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter of a command."""

    type: ParameterType
    required: bool = False
    enum: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    description: str = ""
    default: Any = None


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command that a device understands."""

    parameters: dict[str, Parameter] = {}
    description: str = ""


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device's metrics and commands, by name."""

    device: str
    metrics: dict[str, Metric] = {}
    commands: dict[str, Command] = {}
    site: str = ""
    zone: str = ""


TELL: Final = "tell"
"""A parameter of this name is no part of a command: it takes a :data:`sonde.ports.Tell`."""
_TYPES: Final[dict[Any, ParameterType]] = {
    int: "int",
    float: "float",
    str: "string",
    bool: "boolean",
    list: "array",
    dict: "object",
}
_DECLARED: Final = "__sonde_command__"
F = TypeVar("F", bound=Callable[..., Any])


def command(**parameters: Parameter) -> Callable[[F], F]:
    """Declares that a function is a command of the device beside whose sensor function it stands.

    Its parameters are those of the function, with the types of their annotations (int, float, str, bool, list, dict) and
    their defaults; ``parameters`` replaces what is declared of some. Its first line of documentation is the description.
    """

    def declare(function: F) -> F:
        setattr(function, _DECLARED, _template(function, parameters))
        return function

    return declare


def declared_command(thing: object) -> Command | None:
    """What :func:`command` declared of a function, if it did."""
    found = getattr(thing, _DECLARED, None)
    return found if isinstance(found, Command) else None


def _template(function: Callable[..., Any], given: dict[str, Parameter]) -> Command:
    hints = get_type_hints(function)
    found: dict[str, Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == TELL:
            continue
        if name not in given and hints.get(name) not in _TYPES:
            raise TypeError(
                f"the command {function.__name__} has a parameter {name!r} of no type that commands have; annotate it with "
                "int, float, str, bool, list or dict, or give @command a sonde.profile.Parameter for it"
            )
        has_default = parameter.default is not inspect.Parameter.empty
        found[name] = given.get(name) or Parameter(
            _TYPES[hints[name]], required=not has_default, default=parameter.default if has_default else None
        )
    unknown = sorted(given.keys() - found.keys())
    if unknown:
        raise TypeError(f"the command {function.__name__} has no parameter {unknown[0]!r}")
    return Command(found, (inspect.getdoc(function) or "").partition("\n")[0])
