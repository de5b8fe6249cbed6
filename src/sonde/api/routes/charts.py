"""Windows as charts want them: the newest, over time, and how rooms are used."""

from typing import Annotated, Final, Literal

from fastapi import Query, Request, Response

from sonde.api.answers import HeatmapCell, Kpi, TrendPoint
from sonde.api.filters import MOST, Device, Limit, Since, Site, Skip, Until, Window, Zone, given, moment, width
from sonde.api.parts import DeskOf, PartsOf
from sonde.api.responses import documented, rows_answer
from sonde.api.routes.router import guarded, question_turn
from sonde.clock import DAY
from sonde.question import Heatmap, Kpis, Trends

router = guarded("charts", "read", question_turn)

KPI: Final = ("site_id", "zone_id", "sensor_type", "current_avg", "current_max", "sample_count", "last_updated")
TREND: Final = ("timestamp", "site_id", "zone_id", "avg", "min", "max", "count")
CELL: Final = ("site_id", "zone_id", "occupancy_rate", "avg_occupancy")
CELL_BY_HOUR: Final = ("site_id", "zone_id", "hour", "occupancy_rate", "avg_occupancy")


@router.get("/kpis/live", responses=documented(list[Kpi], link=True))
def kpis(request: Request, desk: DeskOf, site_id: Site = "", limit: Limit = MOST, skip: Skip = 0) -> Response:
    """Per site, zone and metric over its newest 5-minute window that has data."""
    return rows_answer(request, desk.ask(Kpis(site=given(site_id))), KPI, skip, limit)


@router.get("/trends", responses=documented(list[TrendPoint], link=True))
def trends(
    request: Request,
    parts: PartsOf,
    sensor_type: Annotated[str, Query(min_length=1, max_length=256, description="The metric", examples=["co2"])],
    site_id: Site = "",
    zone_id: Zone = "",
    device_id: Device = "",
    window: Window = "5m",
    since: Since = "",
    until: Until = "",
    limit: Limit = MOST,
    skip: Skip = 0,
) -> Response:
    """Windows of one metric, oldest first, by site and zone, which are never mixed. By default the 24 hours before
    `until`, which is now."""
    end = moment(until, "until")
    if end is None:
        end = parts.clock.now()
    start = moment(since, "since")
    question = Trends(
        metric=sensor_type,
        since=end - DAY if start is None else start,
        until=end,
        width=width(window),
        site=given(site_id),
        zone=given(zone_id),
        device=given(device_id),
    )
    return rows_answer(request, parts.desk.ask(question), TREND, skip, limit)


@router.get("/utilization/heatmap", responses=documented(list[HeatmapCell], link=True))
def heatmap(
    request: Request,
    desk: DeskOf,
    site_id: Site = "",
    since: Since = "",
    until: Until = "",
    by: Annotated[Literal["hour"] | None, Query(description="`hour`: a grid of zone × hour of the day, UTC")] = None,
    limit: Limit = MOST,
    skip: Skip = 0,
) -> Response:
    """How much of the time anyone was in a zone: the share of 5-minute windows of `occupancy` above zero."""
    question = Heatmap(
        since=moment(since, "since"), until=moment(until, "until"), site=given(site_id), by_hour=by == "hour"
    )
    return rows_answer(request, desk.ask(question), CELL_BY_HOUR if by else CELL, skip, limit)
