"""Forgetting on purpose."""

from functools import partial
from typing import Annotated

import msgspec
from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from sonde.api.acts import note_act
from sonde.api.body import read_json
from sonde.api.desk import Desk
from sonde.api.parts import PartsOf
from sonde.api.purge_shapes import NewPurge, Purged
from sonde.api.responses import JSON, answer, documented
from sonde.api.routes.router import guarded, sql_turn
from sonde.clock import Micros
from sonde.errors import Invalid, Problem
from sonde.moment import format_time, parse_time
from sonde.question import Purgeable
from sonde.removal import PurgeOrder

router = guarded("purges", "admin", sql_turn)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class _NewPurge(msgspec.Struct, forbid_unknown_fields=True):
    device: _Text | msgspec.UnsetType = msgspec.UNSET
    metric: _Text | msgspec.UnsetType = msgspec.UNSET
    before: Annotated[str, msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""
    dry_run: bool = False


async def _new_purge(request: Request) -> _NewPurge:
    return await read_json(request, _NewPurge)


@router.post(
    "/purges",
    responses=documented(Purged, 400, 413, 415, cursor=False),
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": NewPurge.model_json_schema()}}}},
)
async def purge(request: Request, parts: PartsOf, new: _NewPurge = Depends(_new_purge)) -> Response:  # noqa: B008
    """Take readings out for good, with their windows, newest values and alerts: those of devices and metrics that match, from
    before a moment. What comes afterwards is not touched. With `dry_run` it only counts."""
    order = _order(new, request.state.who.name)
    readings, devices = await run_in_threadpool(_count, parts.desk, order)
    if not new.dry_run:
        order = msgspec.structs.replace(order, readings=readings)
        await run_in_threadpool(partial(note_act, request, "purge", order.text, **_detail(order)))
        await parts.journal.record([order.entry(order.who)])
    done = {
        "device": order.device,
        "metric": order.metric,
        "before": _moment(order.before),
        "readings": readings,
        "devices": devices,
        "done": not new.dry_run,
    }
    return answer(msgspec.json.encode(done))


def _order(new: _NewPurge, who: str) -> PurgeOrder:
    for field, text in (("device", new.device), ("metric", new.metric), ("note", new.note)):
        if text and not text.isprintable():
            raise Invalid(Problem(None, field, "should hold printable characters only"))
    before = None if new.before is msgspec.UNSET else parse_time(new.before)
    device = None if new.device is msgspec.UNSET else new.device
    metric = None if new.metric is msgspec.UNSET else new.metric
    return PurgeOrder.parse(msgspec.to_builtins(PurgeOrder(device, metric, before, who, new.note)))


def _count(desk: Desk, order: PurgeOrder) -> tuple[int, int]:
    row = desk.ask(Purgeable(order)).rows.to_pylist()[0]
    return int(row["readings"]), int(row["devices"])


def _detail(order: PurgeOrder) -> dict[str, str]:
    found = {"before": _moment(order.before) or "", "note": order.note, "readings": str(order.readings)}
    return {name: text for name, text in found.items() if text}


def _moment(time: Micros | None) -> str | None:
    return None if time is None else format_time(time)
