"""What a chart needs: finding series, a span of them as it is drawn, and a span of them as a file."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from fastapi import Query, Request, Response

from sonde.api.answers import Drawn, SeriesItem
from sonde.api.desk import Desk
from sonde.api.export import CSV, PARQUET, csv_bytes, parquet_bytes
from sonde.api.filters import Limit, Plain, Since, Skip, Until, moment
from sonde.api.parts import DeskOf, Parts, PartsOf
from sonde.api.responses import answer, documented, next_page
from sonde.api.routes.router import guarded, question_turn
from sonde.api.samples import json_samples, json_series, units_of
from sonde.clock import SECOND, Micros
from sonde.errors import Invalid, NotFound, Problem
from sonde.question import Answer, FoundSeries, History, Profiles, Samples

router = guarded("series", "read", question_turn)

MOST_SERIES: Final = 24
MOST_EXPORTED: Final = 200_000
_QUARTER: Final[Micros] = 900 * SECOND
_ENCODE: Final[dict[str, tuple[str, Callable[[pa.Table], bytes]]]] = {
    "csv": (CSV, csv_bytes),
    "parquet": (PARQUET, parquet_bytes),
}
_ONE: Final = "[1-9][0-9]{0,8}|0"
_NUMBERS: Final[dict[str, Any]] = {"pattern": rf"^({_ONE})(,({_ONE})){{0,{MOST_SERIES - 1}}}$", "examples": ["0,3"]}
_series = Query(
    max_length=256,
    description=f"Their numbers, as /series gives them, at most {MOST_SERIES}",
    json_schema_extra=_NUMBERS,
)
Numbers = Annotated[str, _series]
Points = Annotated[int, Query(ge=10, le=4000, description="How many points a series at most"), Plain]


@router.get("/series", responses=documented(list[SeriesItem], link=True))
def series(
    request: Request,
    desk: DeskOf,
    search: Annotated[
        str, Query(max_length=256, description="Words; each stands in a device, metric, site, zone or labels")
    ] = "",
    series: Annotated[str, _series] = "",
    limit: Limit = 100,
    skip: Skip = 0,
) -> Response:
    """Series by device and metric, each with its number, unit and newest reading; `Sonde-Total` counts those that match."""
    numbers = _parsed(series) if "series" in request.query_params else None
    found = desk.ask(FoundSeries(tuple(search.split())[:16], numbers, skip + limit + 1))
    rows = found.rows.slice(skip, limit)
    more = found.rows.num_rows > skip + limit
    link = next_page(request, skip=skip + limit, limit=limit) if more else ""
    response = answer(json_series(rows, _units(desk, rows)), found.cursor, link=link)
    response.headers["Sonde-Total"] = str(found.total or 0)
    return response


@router.get("/samples", responses=documented(list[Drawn], 404, csv=CSV, parquet=PARQUET))
def samples(
    parts: PartsOf,
    series: Numbers,
    since: Since = "",
    until: Until = "",
    points: Points = 1000,
    format: Annotated[Literal["json", "csv", "parquet"], Query(description="The form of the answer")] = "json",
) -> Response:
    """A span of some series as a chart draws it. By default the 15 minutes before `until`, which is now. While there are
    few, the readings as they came, and `step` is 0; else buckets of `step` microseconds that keep the extremes. Where
    nothing was measured there is no bucket."""
    start, end = _span(parts, since, until)
    named = _named(parts.desk, series)
    numbers = tuple(named.rows["series"].to_pylist())
    found = parts.desk.ask(Samples(numbers, start, max(start, end), points))
    if format == "json":
        return answer(json_samples(named.rows, found.rows, _units(parts.desk, named.rows)), found.cursor)
    media, encode = _ENCODE[format]
    names = named.rows.select(["series", "device", "metric", "site", "zone", "labels"])
    plain = found.rows.drop_columns("kind")
    joined = names.join(plain, "series", join_type="inner").sort_by([("series", "ascending"), ("time", "ascending")])
    return answer(encode(joined.drop_columns("series")), found.cursor, media_type=media)


@router.get("/export", responses=documented(None, 404, csv=CSV, parquet=PARQUET))
def export(
    parts: PartsOf,
    series: Numbers,
    since: Since = "",
    until: Until = "",
    format: Annotated[Literal["csv", "parquet"], Query(description="The form of the file")] = "csv",
) -> Response:
    """Every reading of some series in a span, oldest first, as a file: at most 200,000. By default the 15 minutes before
    `until`, which is now."""
    start, end = _span(parts, since, until)
    numbers = tuple(_named(parts.desk, series).rows["series"].to_pylist())
    found = parts.desk.ask(History(series=numbers, since=start, until=end, limit=MOST_EXPORTED + 1, oldest_first=True))
    if found.rows.num_rows > MOST_EXPORTED:
        detail = f"{found.total:,} readings are more than a file may hold, {MOST_EXPORTED:,}; shorten the span, or take samples"
        raise Invalid(Problem(None, "since", detail))
    media, encode = _ENCODE[format]
    response = answer(encode(found.rows), found.cursor, media_type=media)
    response.headers["Content-Disposition"] = f'attachment; filename="sonde.{format}"'
    return response


def _span(parts: Parts, since: str, until: str) -> tuple[Micros, Micros]:
    end = moment(until, "until")
    if end is None:
        end = parts.clock.now()
    start = moment(since, "since")
    return (max(end - _QUARTER, 0) if start is None else start), end


def _parsed(text: str) -> tuple[int, ...]:
    numbers = [int(one) if one.isascii() and one.isdigit() and len(one) < 10 else -1 for one in text.split(",")]
    if min(numbers) < 0:
        raise Invalid(Problem(None, "series", "not numbers with commas between them; GET /series gives them"))
    if len(numbers) > MOST_SERIES:
        raise Invalid(Problem(None, "series", f"more than {MOST_SERIES}"))
    return tuple(dict.fromkeys(numbers))


def _named(desk: Desk, text: str) -> Answer:
    """The series that the numbers in ``text`` are of; :class:`NotFound` if there is none of one of them."""
    numbers = _parsed(text)
    found = desk.ask(FoundSeries(series=numbers, limit=MOST_SERIES))
    missing = set(numbers) - set(found.rows["series"].to_pylist())
    if missing:
        raise NotFound(f"there is no series with number {min(missing)}", hint="GET /series lists all")
    return found


def _units(desk: Desk, rows: pa.Table) -> dict[tuple[str, str], str]:
    devices = set(rows["device"].to_pylist())
    if len(devices) > MOST_SERIES:
        return units_of([desk.ask(Profiles()).rows])
    return units_of([desk.ask(Profiles(device=device)).rows for device in sorted(devices)])
