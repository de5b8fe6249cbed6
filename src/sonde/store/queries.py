"""Questions as SQL: text and parameters, in words that DuckDB and PostgreSQL both understand.

Tables are those of the schema ``store``. Where windows or readings lie differs between engines: each gives its own
``source``, a select. Values are parameters only; numbers of series and widths come from the store itself.
"""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sonde.clock import SECOND, Micros
from sonde.errors import Invalid, Problem
from sonde.question import (
    Alerts,
    Devices,
    FoundSeries,
    Gaps,
    Heatmap,
    History,
    Kpis,
    Ledger,
    Profiles,
    ResolvedBeyond,
    Stale,
    Totals,
    Trends,
)
from sonde.store.views import ALERT_PLACE

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
WIDEST: Final = 366 * 86_400
_LAST_MOMENT: Final = 253_402_300_799 * SECOND  # year 9999


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with ``$name`` where values go."""

    text: str
    values: Mapping[str, object]


def moment(time: Micros) -> datetime:
    """A time as a parameter; what no calendar reaches becomes its end."""
    return _EPOCH + timedelta(microseconds=min(max(time, 0), _LAST_MOMENT))


def by_name(*columns: str) -> str:
    """An order of texts that is the same everywhere: by their bytes. That of a database may be that of a language."""
    return ", ".join(f'{column} collate "C"' for column in columns)


_BY_SERIES: Final = by_name("s.device", "s.metric", "s.site", "s.zone", "s.labels")


class Conditions:
    """``where`` from what is given; a value of None asks for nothing."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.values: dict[str, object] = {}

    def add(self, text: str, **values: object) -> "Conditions":
        if None not in values.values():
            self._texts.append(text)
            self.values.update(values)
        return self

    def __str__(self) -> str:
        return " where " + " and ".join(self._texts) if self._texts else ""


def matching_series(
    *,
    device: str | None = None,
    metric: str | None = None,
    site: str | None = None,
    zone: str | None = None,
) -> Query:
    """``id`` of the series that a question is about, ascending."""
    conditions = Conditions()
    conditions.add("device = $device", device=device).add("metric = $metric", metric=metric)
    conditions.add("site = $site", site=site).add("zone = $zone", zone=zone)
    return Query(f"select id from store.series{conditions} order by id", conditions.values)


def span(column: str, since: Micros | None, until: Micros | None) -> Query:
    """The condition that ``column`` lies in a span; empty text if there is none."""
    conditions = Conditions()
    conditions.add(f"{column} >= $since", since=None if since is None else moment(since))
    conditions.add(f"{column} < $until", until=None if until is None else moment(until))
    return Query(str(conditions).removeprefix(" where "), conditions.values)


def fitting_width(width: int, stored: Collection[int]) -> int:
    """The widest stored width that ``width`` is a multiple of; :class:`Invalid` if there is none. A store without
    windows has none of any width."""
    fitting = [w for w in stored or {width} if 0 < width <= WIDEST and width % w == 0]
    if not fitting:
        known = ", ".join(str(w) for w in sorted(stored)) or "1"
        raise Invalid(
            Problem(None, "window", f"{width} s is not a multiple, up to a year, of a stored width: {known} s")
        )
    return max(fitting)


def aligned(since: Micros, until: Micros, width: int) -> tuple[Micros, Micros]:
    """The windows of ``width`` seconds that start in a span: start of the first, end of the last."""
    step = width * SECOND
    return -(-max(since, 0) // step) * step, -(-max(until, 0) // step) * step


def newest_windows(question: Kpis, source: str) -> Query:
    """``site, zone, metric, start`` of the newest window of each group. ``source`` gives ``series, start``."""
    conditions = Conditions().add("s.site = $site", site=question.site)
    return Query(
        f"""select s.site, s.zone, s.metric, max(w.start) as start
        from ({source}) w join store.series s on s.id = w.series{conditions} group by s.site, s.zone, s.metric""",
        conditions.values,
    )


def kpis(question: Kpis, source: str, newest: Query) -> Query:
    """``source`` gives the windows of one width; ``newest`` says which of them count."""
    conditions = Conditions().add("s.site = $site", site=question.site)
    return Query(
        f"""select s.site as site_id, s.zone as zone_id, s.metric as sensor_type, sum(w.sum) / sum(w.count) as current_avg,
          max(w.max) as current_max, cast(sum(w.count) as bigint) as sample_count, max(w.last_time) as last_updated
        from ({source}) w join store.series s on s.id = w.series
        join ({newest.text}) n on n.site = s.site and n.zone = s.zone and n.metric = s.metric and n.start = w.start
        {conditions} group by s.site, s.zone, s.metric order by {by_name("s.site", "s.zone", "s.metric")}""",
        {**newest.values, **conditions.values},
    )


def trends(question: Trends, source: str) -> Query:
    """``source`` gives the windows of the width asked for, in the span."""
    conditions = Conditions().add("s.metric = $metric", metric=question.metric)
    conditions.add("s.site = $site", site=question.site).add("s.zone = $zone", zone=question.zone)
    conditions.add("s.device = $device", device=question.device)
    return Query(
        f"""select w.start as timestamp, s.site as site_id, s.zone as zone_id, sum(w.sum) / sum(w.count) as avg,
          min(w.min) as min, max(w.max) as max, cast(sum(w.count) as bigint) as count
        from ({source}) w join store.series s on s.id = w.series{conditions}
        group by w.start, s.site, s.zone order by w.start, {by_name("s.site", "s.zone")}""",
        conditions.values,
    )


def heatmap(question: Heatmap, source: str) -> Query:
    """``source`` gives the windows of five minutes, in the span."""
    conditions = Conditions().add("s.metric = $metric", metric="occupancy").add("s.site = $site", site=question.site)
    hours = "cast(extract(hour from w.start at time zone 'UTC') as integer) as hour, " if question.by_hour else ""
    keys, order = ("site, zone, hour", ", hour") if question.by_hour else ("site, zone", "")
    return Query(
        f"""select site as site_id, zone as zone_id, {"hour, " if question.by_hour else ""}
          avg(case when most > 0 then cast(1 as double precision) else 0 end) as occupancy_rate,
          sum(sum) / sum(count) as avg_occupancy
        from (
          select s.site, s.zone, {hours}w.start, max(w.max) as most, sum(w.sum) as sum, sum(w.count) as count
          from ({source}) w join store.series s on s.id = w.series{conditions} group by s.site, s.zone, w.start
        ) five group by {keys} order by {by_name("site", "zone")}{order}""",
        conditions.values,
    )


def alerts(question: Alerts) -> Query:
    conditions = Conditions().add("a.id not like 'late-%'").add("a.id = $alert", alert=question.alert)
    match question.state:
        case None if question.alert is None:
            conditions.add("a.state <> 'pending'")
        case None:
            pass
        case "open":
            conditions.add("a.state not in ('pending', 'resolved')")
        case state:
            conditions.add("a.state = $state", state=state)
    since = None if question.since is None else moment(question.since)
    conditions.add("a.severity = $severity", severity=question.severity).add("a.since >= $since", since=since)
    return Query(
        f"""select a.id as alert_id, a.rule, {ALERT_PLACE}, a.type, a.value, a.peak, a.threshold, a.since as time,
          a.fired_at, a.resolved_at, a.shelved_until, a.state, a.severity, a.message, a.retroactive,
          count(*) over () as total
        from store.alerts a left join store.series s on s.id = a.series{conditions}
        order by a.since desc, a.id limit $limit""",
        {**conditions.values, "limit": question.limit},
    )


def devices(question: Devices) -> Query:
    conditions = Conditions().add("device = $device", device=question.device).add("site = $site", site=question.site)
    of_site = " and s.site = $site" if question.site is not None else ""
    named = Conditions().add(f"{by_name('named.device')} > $after", after=question.after or None)
    return Query(
        f"""with named as (select distinct device from store.series{conditions}),
        page as (select device, (select count(*) from named) as total from named{named}
          order by {by_name("device")} limit $limit)
        select s.device as device_id, s.site as site_id, s.zone as zone_id, s.metric, s.labels, l.time, l.kind, l.value,
          l.text, l.quality, page.total
        from page join store.series s on s.device = page.device{of_site} join store.latest l on l.series = s.id
        order by {_BY_SERIES}""",
        {**conditions.values, **named.values, "limit": question.limit},
    )


def history(question: History, source: str) -> Query:
    """``source`` gives the readings that match."""
    order = "asc" if question.oldest_first else "desc"
    return Query(
        f"""select s.device, s.metric, s.site, s.zone, s.labels, r.time, r.kind, r.value, r.text, r.quality
        from (select * from ({source}) matching order by time {order}, series limit $limit) r
        join store.series s on s.id = r.series order by r.time {order}, r.series""",
        {"limit": question.limit},
    )


def found_series(question: FoundSeries, lower: str = "lower({})") -> Query:
    """``lower`` is the engine's word for a text in lower case."""
    names = lower.format("concat_ws(chr(10), s.device, s.metric, s.site, s.zone, s.labels)")
    conditions = Conditions()
    for number, word in enumerate(question.words):
        name = f"word{number}"
        conditions.add(
            f"position(${name} in {names}) > 0",
            **{name: word.lower()},
        )
    if question.series is not None:
        conditions.add(one_of("s.id", question.series))
    return Query(
        f"""select s.id as series, s.device, s.metric, s.site, s.zone, s.labels, l.time, l.kind, l.value, l.text, l.quality,
          count(*) over () as total
        from store.series s join store.latest l on l.series = s.id{conditions}
        order by {_BY_SERIES} limit $limit""",
        {**conditions.values, "limit": question.limit},
    )


def stale(question: Stale) -> Query:
    return Query(
        f"""select device as device_id, max({by_name("site")}) as site_id, max({by_name("zone")}) as zone_id,
          max(time) as last_seen,
          count(*) over () as total
        from (select s.device, s.site, s.zone, l.time from store.series s join store.latest l on l.series = s.id) seen
        group by device having max(time) < $before order by last_seen, {by_name("device")} limit $limit""",
        {"before": moment(question.before), "limit": question.limit},
    )


def one_of(column: str, numbers: Collection[int]) -> str:
    """The condition that ``column`` is one of ``numbers``."""
    return f"{column} in ({', '.join(str(int(number)) for number in numbers)})" if numbers else "false"


def totals(_: Totals, readings: str) -> Query:
    """``readings`` is how many there are, as an expression."""
    return Query(
        f"""select cast({readings} as bigint) as readings,
          (select count(*) from store.series) as series, (select count(distinct device) from store.series) as devices,
          (select count(*) from store.alerts where state = 'firing') as alerts_firing,
          (select count(*) from store.parts) as parts,
          cast(coalesce((select sum(bytes) from store.parts), 0) as bigint) as part_bytes""",
        {},
    )


def profiles(question: Profiles) -> Query:
    conditions = Conditions().add("kind = 'profile'").add("name = $device", device=question.device)
    return Query(
        f"""select name as device, body as profile, log_time as updated, source as node
        from store.definitions{conditions} order by {by_name("name")}""",
        conditions.values,
    )


def ledger(_: Ledger) -> Query:
    return Query(
        f"""select source, lane, declared + duplicate + conflicting as sent, stored, duplicate, refused, set_aside, lost,
          declared + conflicting - stored - refused - set_aside - lost as missing
        from store.ledger order by {by_name("source")}, lane""",
        {},
    )


def gaps(question: Gaps, missing: str) -> Query:
    """``missing`` gives the holes of all streams in the words of the engine: ``source, lane, epoch, hole, before``."""
    conditions = Conditions()
    conditions.add(
        "source in (select source from store.definitions where kind = 'profile' and name = $device)",
        device=question.device,
    )
    conditions.add(
        "(before is null or before >= $since)", since=None if question.since is None else moment(question.since)
    )
    return Query(
        f"""select *, count(*) over () as total from (
          select source, lane, epoch, 'missing' as reason, hole[1] as first_seq, hole[2] as last_seq, hole[3] as readings,
            cast(null as timestamptz) as noticed, before, '' as detail from ({missing}) m
          union all
          select source, lane, epoch, reason, first_seq, last_seq, readings, noticed, noticed as before, detail
          from store.marks) g{conditions}
        order by noticed desc nulls first, {by_name("source")}, lane, epoch, first_seq limit $limit""",
        {**conditions.values, "limit": question.limit},
    )


def purgeable(source: str) -> Query:
    """``source`` gives the readings that a purge would take."""
    return Query(
        f"""select cast(coalesce(sum(c.n), 0) as bigint) as readings, count(distinct s.device) as devices
        from (select series, count(*) as n from ({source}) r group by series) c join store.series s on s.id = c.series""",
        {},
    )


def resolved_beyond(question: ResolvedBeyond) -> Query:
    return Query(
        """select resolved_at from store.alerts where state = 'resolved' and id not like 'late-%'
        order by resolved_at desc limit 1 offset $most""",
        {"most": question.most},
    )
