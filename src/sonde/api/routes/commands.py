"""What devices are asked to do, and what became of it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
from fastapi import Depends, Path, Query, Request, Response

from sonde.api.auth import address_of
from sonde.api.body import read_json
from sonde.api.command_shapes import (
    CheckedCommand,
    CommandDetail,
    CommandItem,
    GivenCommand,
    NewCommand,
    State,
)
from sonde.api.commands.order import Order
from sonde.api.filters import Device, Limit, Since, Skip, Until, given, moment
from sonde.api.parts import DeskOf, DispatcherOf, PartsOf
from sonde.api.responses import JSON, answer, documented, failing, next_page
from sonde.api.routes.router import guarded, question_turn
from sonde.changes import Happened
from sonde.command import command_json, command_of_row
from sonde.errors import NotFound
from sonde.moment import format_time
from sonde.ports import Credential
from sonde.question import Commands, CommandSteps

router = guarded("commands", "read", question_turn)
giving_router = guarded("commands", "command")

_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": NewCommand.model_json_schema()}}}
}
_LOCATION: Final[dict[str, Any]] = {
    "Location": {"description": "Where it can be asked for", "schema": {"type": "string"}}
}
_Id = Annotated[str, Path(max_length=64, description="Its id")]


async def _order(request: Request) -> Order:
    return await read_json(request, Order)


@giving_router.post(
    "/commands",
    status_code=202,
    responses={
        202: {"model": GivenCommand, "description": "It is in the log", "headers": _LOCATION},
        200: {"model": CheckedCommand, "description": "With `dry_run`: it would be taken"},
        **failing(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra=_BODY,
)
async def give_command(request: Request, dispatcher: DispatcherOf, order: Order = Depends(_order)) -> Response:  # noqa: B008
    """Have a device do something. Its own template says which parameters fit; if several do not, `errors` names each.

    The answer comes when the command is in the log. A device that is not there has time until `expires_in`."""
    who: Credential = request.state.who
    command = await dispatcher.accept(who, order, address_of(request))
    online, node = dispatcher.is_online(command.device), dispatcher.node_of(command.device)
    if order.dry_run:
        told = {name: getattr(command, name) for name in ("device", "command", "parameters")}
        return answer(msgspec.json.encode({"valid": True, **told, "node": node, "online": online}))
    content = msgspec.json.encode({**command_json(command), "online": online})
    headers = {"Cache-Control": "no-store", "Location": f"/commands/{command.id}"}
    return Response(content, 202, headers, JSON)


@giving_router.post("/commands/{command_id}/cancel", responses=documented(CommandItem, 404, 409, cursor=False))
async def cancel_command(request: Request, dispatcher: DispatcherOf, command_id: _Id) -> Response:
    """Take a command back. Only while it is queued and on its way to nobody: 409 if it is too late."""
    command = await dispatcher.cancel(request.state.who, command_id, address_of(request))
    return answer(msgspec.json.encode(command_json(command)))


@router.get("/commands", responses=documented(list[CommandItem], link=True))
def commands(
    request: Request,
    desk: DeskOf,
    device_id: Device = "",
    command: Annotated[str, Query(max_length=256, description="Only this command")] = "",
    state: Annotated[State | None, Query(description="Only those that stand there")] = None,
    since: Since = "",
    until: Until = "",
    limit: Limit = 100,
    skip: Skip = 0,
) -> Response:
    """Commands, newest first."""
    question = Commands(
        device=given(device_id),
        command=given(command),
        state=state,
        since=moment(since, "since"),
        until=moment(until, "until"),
        limit=skip + limit + 1,
    )
    found = desk.ask(question)
    items = [command_json(command_of_row(row)) for row in _rows(found.rows.slice(skip, limit))]
    link = next_page(request, skip=skip + limit, limit=limit) if found.rows.num_rows > skip + limit else ""
    return answer(msgspec.json.encode(items), found.cursor, link=link)


@router.get("/commands/{command_id}", responses=documented(CommandDetail, 404))
def command(parts: PartsOf, desk: DeskOf, command_id: _Id) -> Response:
    """One command with its steps, as the log has it now."""
    known = parts.dispatcher.find(command_id) if parts.dispatcher is not None else None
    news = parts.dispatcher.steps_of(command_id) if parts.dispatcher is not None else ()
    stored = desk.ask(Commands(id=command_id, limit=1))
    if known is None:
        rows = _rows(stored.rows)
        if not rows:
            raise NotFound(f"there is no command {command_id!r}", hint="GET /commands lists all")
        known = command_of_row(rows[0])
    steps = [_step(row) for row in _rows(desk.ask(CommandSteps(id=command_id, oldest_first=True, limit=1000)).rows)]
    for step in map(_told, news):
        if step not in steps:
            steps.append(step)
    return answer(msgspec.json.encode({**command_json(known), "steps": steps}), stored.cursor)


def _step(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": row["step"],
        "time": format_time(row["time"]),
        "message": row["message"],
        "progress": row["progress"],
        "details": msgspec.json.decode(row["details"]),
    }


def _told(happened: Happened) -> dict[str, Any]:
    """The same of a step that the store may not have yet."""
    told = {name: getattr(happened, name) for name in ("step", "message", "progress", "details")}
    return {**told, "time": format_time(happened.time)}


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows, their times in microseconds."""
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return list(pa.table(columns, table.column_names).to_pylist())
