"""Alerts, newest first; one with its history; and what people do about them."""

from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from sonde.api.acts import note_act
from sonde.api.alert_shapes import Acknowledgement, AlertDetail, AlertItem, Shelf
from sonde.api.body import read_json
from sonde.api.columns import json_rows, json_texts, objects
from sonde.api.desk import Desk
from sonde.api.filters import Limit, Since, Skip, given, moment
from sonde.api.parts import DeskOf, PartsOf
from sonde.api.responses import JSON, answer, documented, rows_answer
from sonde.api.routes.router import guarded, question_turn
from sonde.api.settled import until_stored
from sonde.clock import DAY, Micros
from sonde.entry import Entry, EntryKind
from sonde.errors import Conflict, Invalid, NotFound, Problem
from sonde.moment import parse_time
from sonde.question import AlertEvents, Alerts
from sonde.rule import MAX_TEXT

router = guarded("alerts", "read", question_turn)
act_router = guarded("alerts", "command")

State = Literal["open", "pending", "firing", "acknowledged", "shelved", "resolved"]
ALERT: Final = (
    "alert_id",
    "rule",
    "site",
    "zone",
    "device",
    "metric",
    "type",
    "value",
    "peak",
    "threshold",
    "time",
    "fired_at",
    "resolved_at",
    "shelved_until",
    "state",
    "severity",
    "message",
    "retroactive",
)
EVENT: Final = ("event", "time", "who", "why", "until")
LONGEST_SHELF: Final[Micros] = 366 * DAY
_HISTORY: Final = 1_000
_Id = Annotated[str, Path(max_length=64, description="Its `alert_id`")]


def _body(shape: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {JSON: {"schema": shape.model_json_schema()}}}}


class _Acknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    why: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""


class _Shelf(msgspec.Struct, forbid_unknown_fields=True):
    until: Annotated[str, msgspec.Meta(max_length=64)]
    why: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""


async def _acknowledgement(request: Request) -> _Acknowledgement:
    return await read_json(request, _Acknowledgement)


async def _shelf(request: Request) -> _Shelf:
    return await read_json(request, _Shelf)


@router.get("/alerts/recent", responses=documented(list[AlertItem], link=True))
def recent(request: Request, desk: DeskOf, limit: Limit = 20, skip: Skip = 0) -> Response:
    """The newest alerts, whatever has become of them."""
    return rows_answer(request, desk.ask(Alerts(limit=skip + limit + 1)), ALERT, skip, limit)


@router.get("/alerts", responses=documented(list[AlertItem], link=True))
def alerts(
    request: Request,
    desk: DeskOf,
    state: Annotated[
        State | None,
        Query(description="`open`: anything but pending and resolved. Pending ones come only if asked for"),
    ] = None,
    severity: Annotated[str, Query(max_length=64, description="Only this severity", examples=["critical"])] = "",
    since: Since = "",
    limit: Limit = 100,
    skip: Skip = 0,
) -> Response:
    """Alerts by state and severity."""
    question = Alerts(state=state, severity=given(severity), since=moment(since, "since"), limit=skip + limit + 1)
    return rows_answer(request, desk.ask(question), ALERT, skip, limit)


@router.get("/alerts/{alert_id}", responses=documented(AlertDetail, 404))
def alert(desk: DeskOf, alert_id: _Id) -> Response:
    """One alert, with what became of it: when it fired, who acknowledged or shelved it and why, when it was over."""
    return _answer_alert(desk, alert_id)


@act_router.post(
    "/alerts/{alert_id}/acknowledge",
    responses=documented(AlertDetail, 400, 404, 409, 413, 415),
    openapi_extra=_body(Acknowledgement),
)
async def acknowledge_alert(
    request: Request,
    parts: PartsOf,
    alert_id: _Id,
    given_: _Acknowledgement = Depends(_acknowledgement),  # noqa: B008
) -> Response:
    """Somebody has seen it, and takes care of it. 409 if it is over, or has not fired yet."""
    return await _act(request, parts.desk, alert_id, {"action": "acknowledge", "why": given_.why})


@act_router.post(
    "/alerts/{alert_id}/shelve",
    responses=documented(AlertDetail, 400, 404, 409, 413, 415),
    openapi_extra=_body(Shelf),
)
async def shelve_alert(
    request: Request,
    parts: PartsOf,
    alert_id: _Id,
    shelf: _Shelf = Depends(_shelf),  # noqa: B008
) -> Response:
    """Be quiet about it until a moment; if it still holds then, it fires again. 409 if it is over, or has not fired yet."""
    until, now = parse_time(shelf.until, "until"), parts.clock.now()
    if not now < until <= now + LONGEST_SHELF:
        raise Invalid(Problem(None, "until", "should be a moment to come, within a year"))
    return await _act(request, parts.desk, alert_id, {"action": "shelve", "why": shelf.why, "until": until})


async def _act(request: Request, desk: Desk, alert_id: str, payload: dict[str, Any]) -> Response:
    """Write down what somebody does about an alert, and answer when it is so."""
    await run_in_threadpool(_check_open, desk, alert_id)
    detail = {name: str(value) for name, value in payload.items() if name != "action" and value}
    await run_in_threadpool(note_act, request, f"alert.{payload['action']}", alert_id, **detail)
    entry = Entry(
        EntryKind.ACKNOWLEDGEMENT, "api", payload={**payload, "alert": alert_id, "who": request.state.who.name}
    )
    offsets = await request.app.state.parts.journal.record([entry])
    await until_stored(desk, offsets)
    return await run_in_threadpool(_answer_done, desk, alert_id, set(offsets.items()))


def _check_open(desk: Desk, alert_id: str) -> None:
    rows = desk.ask(Alerts(alert=alert_id, limit=1)).rows
    if not len(rows):
        raise NotFound(f"there is no alert {alert_id!r}", hint="GET /alerts lists all")
    state = rows["state"][0].as_py()
    if state == "resolved":
        raise Conflict("the alert is over already", hint="GET /alerts?state=open lists those that are not")
    if state == "pending":
        raise Conflict("the alert has not fired yet", hint="Wait until it does, or change its rule")


def _answer_done(desk: Desk, alert_id: str, places: set[tuple[int, int]]) -> Response:
    """The alert as it is now; :class:`Conflict` if what was written at these places of the log did nothing to it."""
    events = desk.ask(AlertEvents(alert=alert_id, limit=_HISTORY)).rows
    found = set(zip(events["partition"].to_pylist(), events["offset"].to_pylist(), strict=True))
    if not found & places:
        raise Conflict("the alert was over before this could be done", hint="Nothing is left to do")
    return _answer_alert(desk, alert_id)


def _answer_alert(desk: Desk, alert_id: str) -> Response:
    found = desk.ask(Alerts(alert=alert_id, limit=1))
    if not len(found.rows):
        raise NotFound(f"there is no alert {alert_id!r}", hint="GET /alerts lists all")
    events = desk.ask(AlertEvents(alert=alert_id, limit=_HISTORY)).rows
    history = json_rows({name: json_texts(events[name]) for name in EVENT})
    item = objects({name: json_texts(found.rows[name]) for name in ALERT})[0].as_py()
    return answer(b"".join((item[:-1].encode(), b',"history":', history, b"}")), found.cursor)
