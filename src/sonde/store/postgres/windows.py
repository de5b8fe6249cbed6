"""What is asked of windows: KPIs, trends, the heatmap, and what rules over windows look at."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

import pyarrow as pa

from sonde.clock import SECOND
from sonde.question import Folded, Heatmap, Kpis, Trends
from sonde.store import queries
from sonde.store.alert_queries import ALL_SERIES, GROUPS, key_of, names_of, series_of
from sonde.store.postgres.snapshot import Snapshot, binned
from sonde.store.queries import Query

_FOLDED = "select r.series, {start} as start, r.count, r.sum, r.min, r.max, r.last_time from ({windows}) r"


def kpis(snapshot: Snapshot, question: Kpis) -> pa.Table:
    """The newest window of each series is one look into an index; those of a group's series then are a few more."""
    stored, step = queries.fitting_width(question.width, snapshot.widths), question.width * SECOND
    newest = snapshot.windows(stored, "r.series = s.id") + " order by r.start desc limit 1"
    of_group = snapshot.windows(stored, "r.series = s.id", "r.start >= n.start", f"r.start < n.start + {lasting(step)}")
    of_group += " offset 0"  # so that the database looks into its index for each, and does not join all windows
    site = "where s.site = $site" if question.site is not None else ""
    return snapshot.run(
        Query(
            f"""with newest as materialized (
              select s.site, s.zone, s.metric, {binned("max(w.start)", step)} as start
              from store.series s cross join lateral ({newest}) w {site} group by s.site, s.zone, s.metric
            )
            select s.site as site_id, s.zone as zone_id, s.metric as sensor_type, sum(w.sum) / sum(w.count) as current_avg,
              max(w.max) as current_max, sum(w.count)::bigint as sample_count, max(w.last_time) as last_updated
            from newest n join store.series s on s.site = n.site and s.zone = n.zone and s.metric = n.metric
            cross join lateral ({of_group}) w group by s.site, s.zone, s.metric
            order by {queries.by_name("s.site", "s.zone", "s.metric")}""",
            {} if question.site is None else {"site": question.site},
        )
    )


def trends(snapshot: Snapshot, question: Trends) -> pa.Table:
    stored = queries.fitting_width(question.width, snapshot.widths)
    since, until = queries.aligned(question.since, question.until, question.width)
    span = queries.span("r.start", since, until)
    wanted = queries.matching_series(
        device=question.device, metric=question.metric, site=question.site, zone=question.zone
    )
    windows = snapshot.windows(stored, span.text, f"r.series in ({wanted.text})")
    start = "r.start" if stored == question.width else binned("r.start", question.width * SECOND)
    source = _FOLDED.format(start=start, windows=windows)
    return snapshot.run(queries.trends(question, source), span)


def heatmap(snapshot: Snapshot, question: Heatmap) -> pa.Table:
    stored = queries.fitting_width(300, snapshot.widths)
    span = queries.span("r.start", question.since, question.until)
    wanted = "r.series in (select id from store.series where metric = 'occupancy')"
    start = "r.start" if stored == 300 else binned("r.start", 300 * SECOND)
    source = _FOLDED.format(start=start, windows=snapshot.windows(stored, span.text, wanted))
    return snapshot.run(queries.heatmap(question, source), span)


def folded(snapshot: Snapshot, question: Folded) -> pa.Table:
    """See :class:`sonde.question.Folded`."""
    rule, keys = question.rule, GROUPS[question.rule.across]
    width = rule.window or 0
    stored = queries.fitting_width(width, snapshot.widths)
    chosen = [one for one in series_of(snapshot.run(Query(ALL_SERIES, {}))) if rule.watches(one)]
    if question.series is not None:
        wanted = {key_of(series, keys) for series in chosen if series.id in question.series}
        chosen = [series for series in chosen if key_of(series, keys) in wanted]
    span = queries.span("r.start", question.since, question.until)
    windows = snapshot.windows(stored, span.text, "r.series = any($series::int[])")
    start = "w.start" if stored == width else binned("w.start", width * SECOND)
    by = ", ".join(f"s.{name}" for name in keys)
    order = ", ".join("s.id" if name == "id" else queries.by_name(f"s.{name}") for name in keys)
    return snapshot.run(
        Query(
            f"""select {names_of(keys)}, {start} as start, sum(w.count)::bigint as count, sum(w.sum) as sum, min(w.min) as min,
              max(w.max) as max, (array_agg(w.last order by w.last_time desc))[1] as last
            from ({windows}) w join store.series s on s.id = w.series group by {by}, {start}
            order by {order}, {start}""",
            {**span.values, "series": [series.id for series in chosen]},
        )
    )


def lasting(micros: int) -> str:
    """A length of time as a literal."""
    return f"interval '{micros // SECOND} seconds {micros % SECOND} microseconds'"
