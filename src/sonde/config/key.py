"""What a key of the configuration is made of: default, description, bounds, older names."""

from collections.abc import Sequence
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

from sonde.config.values import Form


class Section(BaseModel):
    """One section of the file; its docstring is the section's description."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


def key(default: Any, text: str, *, older: Sequence[str] = (), example: str = "", **bounds: Any) -> Any:
    """A key: its default, what it means, and its bounds.

    ``older`` are names that other installations use for the same: ``section.key`` or an environment variable.
    """
    more = {"older": list(older), "example": example}
    return Field(default, description=text, json_schema_extra=cast(Any, more), **bounds)


def older(info: FieldInfo) -> list[str]:
    """The names that other installations use for a key."""
    return cast(list[str], _more(info)["older"])


def example(info: FieldInfo) -> str:
    """A value to show where the default is empty."""
    return str(_more(info)["example"])


def is_secret(info: FieldInfo) -> bool:
    """Whether it may hold what nobody is to see: it may then be in a file of its own, and is masked."""
    return isinstance(info.default, SecretStr)


def value_text(info: FieldInfo, value: Any) -> str:
    """A value as it would stand in the file; a secret is masked."""
    form = _form(info)
    if form is not None:
        return form.text(value)
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    return "" if value is None else str(value)


def kind_text(info: FieldInfo) -> str:
    """What a value has to be, bounds included, in words."""
    form = _form(info)
    if form is None and is_secret(info):
        return "secret"
    choices = getattr(info.annotation, "__args__", None) if form is None else None
    if choices:
        return " \\| ".join(str(choice) for choice in choices if choice)
    name = form.name if form else {int: "whole number", float: "number"}.get(cast(type, info.annotation), "text")
    return f"{name}{_bounds_text(info)}"


def _bounds_text(info: FieldInfo) -> str:
    form = _form(info)
    write = form.text if form and form.name in {"time span", "size"} else lambda number: f"{number:,}"
    found = {name: getattr(m, name) for m in info.metadata for name in ("ge", "gt", "le") if hasattr(m, name)}
    if "le" in found:
        low = found.get("ge", found.get("gt", 0))
        return f", {write(low) if low else 0} to {write(found['le'])}"
    if "ge" in found:
        return f", {write(found['ge']) if found['ge'] else 0} or more"
    return ", more than 0" if "gt" in found else ""


def _form(info: FieldInfo) -> Form | None:
    return next((m for m in info.metadata if isinstance(m, Form)), None)


def _more(info: FieldInfo) -> dict[str, Any]:
    return cast(dict[str, Any], info.json_schema_extra)
