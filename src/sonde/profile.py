"""What a device says about itself: its metrics and the commands it understands."""

from typing import Any, Literal

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
