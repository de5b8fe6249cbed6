"""What devices say about themselves: their metrics, and the commands they understand."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from fastapi import Path, Response

from sonde.api.answers import CommandTemplates, TelemetryTypes
from sonde.api.filters import Device, given
from sonde.api.parts import DeskOf
from sonde.api.responses import answer, documented
from sonde.api.routes.router import guarded, question_turn
from sonde.clock import Micros
from sonde.errors import NotFound
from sonde.moment import format_time
from sonde.profile import Command, Metric, Parameter, Profile
from sonde.question import Answer, Profiles

router = guarded("profiles", "read", question_turn)

_decode = msgspec.json.Decoder(Profile).decode


@router.get("/telemetry-types", responses=documented(TelemetryTypes))
def telemetry_types(desk: DeskOf, device_id: Device = "") -> Response:
    """The metrics that devices declare. If two declare the same one, the newest profile counts."""
    found = desk.ask(Profiles(device=given(device_id)))
    types = {name: _type(metric) for profile in _oldest_first(found) for name, metric in profile.metrics.items()}
    return _answer("telemetry_types", types, found)


@router.get("/command-templates", responses=documented(CommandTemplates))
def command_templates(desk: DeskOf, device_id: Device = "") -> Response:
    """The commands that devices understand. If two declare the same one, the newest profile counts."""
    found = desk.ask(Profiles(device=given(device_id)))
    return _answer("command_templates", _templates(found), found)


@router.get("/command-validation/{command}", responses=documented(CommandTemplates, 404))
def command_validation(
    desk: DeskOf, command: Annotated[str, Path(description="Its name", examples=["get_status"])], device_id: Device = ""
) -> Response:
    """What one command takes, in the form of `/command-templates`."""
    found = desk.ask(Profiles(device=given(device_id)))
    template = _templates(found).get(command)
    if template is None:
        raise NotFound(f"no device declares a command {command[:256]!r}", hint="GET /command-templates lists all")
    return _answer("command_templates", {command: template}, found)


def _oldest_first(found: Answer) -> Iterator[Profile]:
    rows = found.rows.sort_by("updated")
    for text in rows["profile"].to_pylist():
        yield _decode(text)


def _templates(found: Answer) -> dict[str, Any]:
    return {
        name: _template(name, command) for profile in _oldest_first(found) for name, command in profile.commands.items()
    }


def _answer(name: str, items: dict[str, Any], found: Answer) -> Response:
    return answer(msgspec.json.encode({name: items, "last_updated": _updated(found)}), found.cursor)


def _updated(found: Answer) -> str | None:
    if found.rows.num_rows == 0:
        return None
    newest: Micros = max(found.rows["updated"].cast("int64").to_pylist())
    return format_time(newest)


def _type(metric: Metric) -> dict[str, Any]:
    return {
        "unit": metric.unit,
        "data_type": metric.data_type,
        "range": {"min": metric.min, "max": metric.max},
        "description": metric.description,
        "enum": metric.enum,
    }


def _template(name: str, command: Command) -> dict[str, Any]:
    parameters = {p: _parameter(declared) for p, declared in command.parameters.items()}
    return {"command": name, "parameters": parameters, "description": command.description}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {name: getattr(parameter, name) for name in Parameter.__struct_fields__}
