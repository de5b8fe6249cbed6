"""Alert rules: read, set, removed, and tried on the past."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
from fastapi import Depends, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from sonde.api.acts import note_act
from sonde.api.alert_shapes import Preview, Previewed, RuleBody, RuleItem
from sonde.api.body import read_json
from sonde.api.desk import Desk
from sonde.api.filters import Limit, Skip
from sonde.api.parts import DeskOf, PartsOf
from sonde.api.responses import JSON, answer, documented, failing, next_page
from sonde.api.routes.router import guarded, question_turn
from sonde.api.settled import until_stored
from sonde.clock import DAY, Micros
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid, NotFound, Problem
from sonde.judgement import aligned
from sonde.moment import format_span, format_time, parse_time
from sonde.preview import Previewed as Found
from sonde.preview import of_readings_before, of_windows_before
from sonde.question import Defined, Folded, Watched
from sonde.rule import MAX_ID, Rule
from sonde.window import DEFAULT_WIDTHS

router = guarded("alerts", "read", question_turn)
edit_router = guarded("alerts", "admin")

SHOWN: Final = 1_000  # alerts of a preview
LONGEST: Final = 366 * DAY  # of a preview
_Id = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="What the rule is called")]


def _body(shape: Any) -> dict[str, Any]:
    schema = shape.model_json_schema()
    if schema.pop("$defs", None):  # what they define is in the document nowhere else
        schema["properties"]["rule"] = RuleBody.model_json_schema()
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


class _Preview(msgspec.Struct, forbid_unknown_fields=True):
    rule: dict[str, Any]
    since: str
    until: str


async def _rule(request: Request) -> dict[str, Any]:
    return await read_json(request, dict[str, Any])


async def _preview(request: Request) -> _Preview:
    return await read_json(request, _Preview)


@router.get("/alert-rules", responses=documented(list[RuleItem], link=True))
def alert_rules(request: Request, desk: DeskOf, limit: Limit = 1_000, skip: Skip = 0) -> Response:
    """The rules in force, by name: what each one says, and who said so last."""
    found = desk.ask(Defined(("rule",)))
    items = [_item(row) for row in _rows(found.rows)]
    link = next_page(request, skip=skip + limit, limit=limit) if len(items) > skip + limit else ""
    return answer(msgspec.json.encode(items[skip : skip + limit]), found.cursor, link=link)


@router.get("/alert-rules/{rule_id}", responses=documented(RuleItem, 404))
def alert_rule(desk: DeskOf, rule_id: _Id) -> Response:
    """One rule."""
    return _answer_rule(desk, rule_id)


@edit_router.put(
    "/alert-rules/{rule_id}",
    responses=documented(RuleItem, 400, 413, 415),
    openapi_extra=_body(RuleBody),
)
async def set_alert_rule(
    request: Request,
    parts: PartsOf,
    rule_id: _Id,
    body: dict[str, Any] = Depends(_rule),  # noqa: B008
) -> Response:
    """Set a rule, new or in place of the one with this name. It is in force for all that comes from then on; an alert that is
    open goes on if the rule still watches in the same way. A restart does not undo it, unless the configuration says
    something else of this rule than before."""
    rule = _parsed(rule_id, body)
    await run_in_threadpool(_check_width, parts.desk, rule)
    text = msgspec.json.encode(rule).decode()
    await run_in_threadpool(note_act, request, "rule.set", rule_id, rule=text)
    await _record(request, rule_id, rule.body())
    return await run_in_threadpool(_answer_rule, parts.desk, rule_id)


@edit_router.delete(
    "/alert-rules/{rule_id}",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is not there any more"}, **failing(401, 403, 404, 422, 429, 503)},
)
async def remove_alert_rule(request: Request, parts: PartsOf, rule_id: _Id) -> Response:
    """Remove a rule. Its open alerts are resolved."""
    await run_in_threadpool(_answer_rule, parts.desk, rule_id)
    await run_in_threadpool(note_act, request, "rule.remove", rule_id)
    await _record(request, rule_id, None)
    return Response(status_code=204)


@router.post(
    "/alert-rules/preview",
    responses=documented(Previewed, 400, 413, 415),
    openapi_extra=_body(Preview),
)
def preview_alert_rule(desk: DeskOf, asked: _Preview = Depends(_preview)) -> Response:  # noqa: B008
    """What a rule would have done over a span of the past, up to a year. Readings count as if each had come when it was
    measured. At most 1,000 series and a million readings are looked at."""
    rule = _parsed(str(asked.rule.get("id") or "preview"), asked.rule)
    since, until = parse_time(asked.since, "since"), parse_time(asked.until, "until")
    if not 0 < until - since <= LONGEST:
        raise Invalid(Problem(None, "until", "should be after since, by a year at most"))
    found, cursor = _previewed(desk, rule, since, until)
    shown = [_alert(one) for one in found[:SHOWN]]
    content = {
        "alerts": shown,
        "count": len(found),
        "firing_seconds": sum(one.seconds(until) for one in found),
        "series": len({one.series for one in found}),
    }
    return answer(msgspec.json.encode(content), cursor)


def _previewed(desk: Desk, rule: Rule, since: Micros, until: Micros) -> tuple[list[Found], Any]:
    if rule.window is not None:
        windows = desk.ask(Folded(rule, aligned(rule, since), aligned(rule, until)))
        return of_windows_before(rule, windows.rows, until), windows.cursor
    readings = desk.ask(Watched(rule, since, until))
    return of_readings_before(rule, readings.rows, until), readings.cursor


def _parsed(rule_id: str, body: Mapping[str, Any]) -> Rule:
    given = {name: value for name, value in body.items() if value is not None}
    if given.setdefault("id", rule_id) != rule_id:
        raise Invalid(Problem(None, "rule.id", f"should be {rule_id!r}, as in the path, or absent"))
    return Rule.parse(given)


def _check_width(desk: Desk, rule: Rule) -> None:
    """:class:`Invalid` if no windows are kept that the rule's are made of."""
    if rule.window is None:
        return
    said = _rows(desk.ask(Defined(("settings",))).rows)
    kept = msgspec.json.decode(said[0]["body"])["windows"] if said else DEFAULT_WIDTHS
    if all(rule.window % width for width in kept):
        widths = ", ".join(format_span(width) for width in kept)
        raise Invalid(Problem(None, "rule.window", f"should be a multiple of a width that is kept: {widths}"))


async def _record(request: Request, rule_id: str, body: dict[str, Any] | None) -> None:
    """Write an edit down, and wait until it is in force."""
    payload = {"id": rule_id, "rule": body, "who": request.state.who.name}
    entry = Entry(EntryKind.RULE, "api", payload=payload)
    offsets = await request.app.state.parts.journal.record([entry])
    await until_stored(request.app.state.parts.desk, offsets)


def _answer_rule(desk: Desk, rule_id: str) -> Response:
    found = desk.ask(Defined(("rule",), rule_id))
    rows = _rows(found.rows)
    if not rows:
        raise NotFound(f"there is no alert rule {rule_id!r}", hint="GET /alert-rules lists all")
    return answer(msgspec.json.encode(_item(rows[0])), found.cursor)


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    rule = Rule.parse(msgspec.json.decode(row["body"]))
    told = {name: getattr(rule, name) for name in rule.__struct_fields__}
    source = "config" if row["source"] == "config" else "api"
    return {
        "id": row["name"],
        "rule": told,
        "source": source,
        "who": row["who"],
        "changed": format_time(row["log_time"]),
    }


def _alert(one: Found) -> dict[str, Any]:
    alert, series = one.alert, one.series
    resolved = None if alert.resolved_at is None else format_time(alert.resolved_at)
    place = {name: getattr(series, name) for name in ("device", "metric", "site", "zone")}
    values = {name: getattr(alert, name) for name in ("value", "peak", "threshold", "message")}
    times = {"time": format_time(alert.since), "fired_at": format_time(alert.fired_at or 0), "resolved_at": resolved}
    return {**place, **values, **times}


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows, their times in microseconds."""
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return list(pa.table(columns, table.column_names).to_pylist())
