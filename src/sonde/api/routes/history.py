"""Raw readings, as JSON, CSV or Parquet."""

from collections.abc import Callable
from typing import Annotated, Final, Literal

import pyarrow as pa
from fastapi import Query, Request, Response

from sonde.api.answers import Records
from sonde.api.columns import whole
from sonde.api.export import CSV, PARQUET, csv_bytes, parquet_bytes
from sonde.api.filters import Device, Limit, Since, Site, Skip, Until, Zone, given, moment
from sonde.api.parts import DeskOf
from sonde.api.readings import json_records
from sonde.api.responses import JSON, answer, documented, next_page
from sonde.api.results import result_records
from sonde.api.routes.router import guarded, question_turn
from sonde.moment import format_time
from sonde.question import CommandSteps, History

router = guarded("history", "read", question_turn)

Type = Literal["data", "command_result", "device_message"]
Form = Literal["json", "csv", "parquet"]
_MEDIA: Final[dict[str, Form]] = {CSV: "csv", PARQUET: "parquet", JSON: "json"}
_EXPORTS: Final[dict[str, tuple[str, Callable[[pa.Table], bytes]]]] = {
    "csv": (CSV, csv_bytes),
    "parquet": (PARQUET, parquet_bytes),
}


@router.get("/historical-data", responses=documented(Records, link=True, csv=CSV, parquet=PARQUET))
def history(
    request: Request,
    desk: DeskOf,
    type: Annotated[Type | None, Query(description="`data` unless given: readings")] = None,
    id: Annotated[str, Query(max_length=256, description="Only this metric, or this command")] = "",
    device_id: Device = "",
    site_id: Site = "",
    zone_id: Zone = "",
    since: Since = "",
    until: Until = "",
    order: Annotated[Literal["newest", "oldest"], Query(description="Which come first")] = "newest",
    limit: Limit = 1000,
    skip: Skip = 0,
    format: Annotated[Form | None, Query(description="Instead of the header `Accept`")] = None,
) -> Response:
    """Readings as they came, newest first, or with `type=command_result` what devices said of commands. `id` is the metric, or
    the id of a command, as in the live feed."""
    readings = History(
        device=given(device_id),
        metric=given(id),
        site=given(site_id),
        zone=given(zone_id),
        since=moment(since, "since"),
        until=moment(until, "until"),
        limit=skip + limit + 1,
        oldest_first=order == "oldest",
    )
    question: History | CommandSteps = readings
    if type == "command_result" and not (site_id or zone_id):  # a command belongs to a device, wherever that is
        question = CommandSteps(
            id=given(id),
            device=given(device_id),
            since=readings.since,
            until=readings.until,
            limit=readings.limit,
            oldest_first=readings.oldest_first,
        )
    elif type not in {None, "data"}:
        question = _none(readings)
    found = desk.ask(question)
    rows = found.rows.slice(skip, limit)
    link = _next(request, found.rows, order, skip, limit) if found.rows.num_rows > skip + limit else ""
    form = format or _accepted(request.headers.get("accept", ""))
    if form in _EXPORTS:
        media, encode = _EXPORTS[form]
        return answer(encode(rows), found.cursor, link=link, media_type=media)
    records = result_records(rows) if isinstance(question, CommandSteps) else json_records(rows)
    stored = desk.ask(CommandSteps(limit=1)).total if isinstance(question, CommandSteps) else found.stored
    counts = b',"total_records":%d,"filtered_records":%d}' % (stored or 0, found.total or 0)
    return answer(b'{"data":' + records + counts, found.cursor, link=link)


def _none(question: History) -> History:
    """A question of the same kind that nothing answers: an empty span."""
    return History(device=question.device, since=0, until=0, limit=1)


def _next(request: Request, rows: pa.Table, order: str, skip: int, limit: int) -> str:
    """The page after these rows begins at the moment of the last one, less those of that moment that were given."""
    times = whole(rows["time"]).cast(pa.int64()).to_numpy()[: skip + limit]
    last = int(times[-1])
    bound = {"since": format_time(last)} if order == "oldest" else {"until": format_time(last + 1)}
    return next_page(request, **bound, skip=int((times == last).sum()), limit=limit)


def _accepted(header: str) -> Form:
    """The form that a header ``Accept`` names first; JSON if it names none of ours."""
    for part in header.split(","):
        form = _MEDIA.get(part.partition(";")[0].strip().lower())
        if form is not None:
            return form
    return "json"
