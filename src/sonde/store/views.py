"""The stable views of an embedded store: ``readings``, ``windows``, ``alerts``, ``devices`` and ``gaps`` are a promise, and
their columns stay."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Mapping
from typing import Final


def create_views() -> list[str]:
    """The statements that make the views that do not depend on where things lie, and say what their columns hold."""
    return [
        _ALERTS_VIEW,
        _DEVICES_VIEW,
        _GAPS_VIEW,
        *comments("alerts", _ALERTS_COLUMNS),
        *comments("devices", _DEVICES_COLUMNS),
        *comments("gaps", _GAPS_COLUMNS),
    ]


def comments(view: str, columns: Mapping[str, str]) -> list[str]:
    """The statements that say of each column what it holds."""
    return [f"comment on column {view}.\"{column}\" is '{text}'" for column, text in columns.items()]


_SERIES_COLUMNS: Final = {
    "device": "what was measured",
    "metric": "which of its values",
    "site": "empty if there is none",
    "zone": "empty if there is none",
    "labels": "JSON, keys sorted",
}
READINGS_COLUMNS: Final = {
    "time": "when it was measured, UTC",
    **_SERIES_COLUMNS,
    "kind": "0 number, 1 integer, 2 boolean, 3 text, 4 JSON, 5 none",
    "value": "numbers, integers and booleans (0, 1)",
    "text": "text, JSON, and integers beyond 2^53",
    "quality": "0 good, 1 failed, 2 out of range, 3 wrong type, 4 clock",
}
WINDOWS_COLUMNS: Final = {
    **_SERIES_COLUMNS,
    "width": "such as 5m, 1h, 90s",
    "start": "UTC; the window ends a width later",
    "count": "readings with a number",
    "sum": "of their values",
    "min": "the least",
    "max": "the greatest",
    "avg": "sum over count",
    "last": "the value of the latest",
}
_ALERTS_COLUMNS: Final = {
    "alert_id": "the same after a rebuild",
    "rule": "the rule that holds, or held",
    **_SERIES_COLUMNS,
    "type": "what the rule watches for",
    "severity": "as the rule says",
    "state": "pending, firing, acknowledged, shelved or resolved",
    "threshold": "of the rule",
    "value": "of the reading that opened it",
    "peak": "the worst value so far",
    "time": "of the reading that opened it",
    "fired_at": "when it began to fire",
    "resolved_at": "when it was over",
    "retroactive": "raised by a backlog",
    "message": "in words",
    "shelved_until": "when a shelf ends, if it does",
}
_DEVICES_COLUMNS: Final = {
    "device": "its name",
    "site": "of its newest reading",
    "zone": "of its newest reading",
    "series": "how many it has",
    "last_seen": "time of its newest reading",
    "profile": "what it says about itself, JSON; null if nothing",
}
_GAPS_COLUMNS: Final = {
    "source": "the node, or empty",
    "lane": "0 direct, 1 control, 2 live, 3 backlog",
    "epoch": "of the node",
    "reason": "missing, lost, set_aside, expired or purged",
    "first_seq": "the first entry of the stream that is concerned",
    "last_seq": "the last one",
    "readings": "how many",
    "noticed": "log time; null for what is missing",
    "detail": "in words",
}

ALERT_PLACE: Final = """coalesce(s.device, '') as device, coalesce(s.metric, a.metric) as metric,
  coalesce(s.site, a.site) as site, coalesce(s.zone, a.zone) as zone, coalesce(s.labels, '{}') as labels"""
_ALERTS_VIEW: Final = f"""create view alerts as
select a.id as alert_id, a.rule, {ALERT_PLACE}, a.type, a.severity, a.state, a.threshold,
  a.value, a.peak, a.since as time, a.fired_at, a.resolved_at, a.retroactive, a.message, a.shelved_until
from store.alerts a left join store.series s on s.id = a.series where a.id not like 'late-%'"""

_DEVICES_VIEW: Final = """create view devices as
select d.device, d.site, d.zone, d.series, d.last_seen, p.body as profile
from (
  select s.device, arg_max(s.site, l.time) as site, arg_max(s.zone, l.time) as zone, count(*) as series,
    max(l.time) as last_seen
  from store.series s join store.latest l on l.series = s.id group by s.device
) d left join store.definitions p on p.kind = 'profile' and p.name = d.device"""

_GAPS_VIEW: Final = """create view gaps as
select source, lane, epoch, 'missing' as reason, h[1] as first_seq, h[2] as last_seq, h[3] as readings,
  null::timestamptz as noticed, '' as detail
from (select source, lane, epoch, unnest(from_json(holes, '[["bigint"]]')) as h from store.streams where holes <> '[]')
union all
select source, lane, epoch, reason, first_seq, last_seq, readings, noticed, detail from store.marks"""

WIDTH_TEXT: Final = """case when w.width % 86400 = 0 then (w.width // 86400) || 'd' when w.width % 3600 = 0
  then (w.width // 3600) || 'h' when w.width % 60 = 0 then (w.width // 60) || 'm' else w.width || 's' end"""

LAST_OF: Final = "arg_max(last, epoch_us(last_time)::hugeint * 4294967296 + gen)"
"""The value of the latest reading; of two equal times, that of the newer generation."""


def readings_view(source: str) -> str:
    """``select`` for the view ``readings`` over the union of its places."""
    return f"""select r.time, s.device, s.metric, s.site, s.zone, s.labels, r.kind, r.value, r.text, r.quality
from ({source}) r join store.series s on s.id = r.series"""


def windows_view(source: str) -> str:
    """``select`` for the view ``windows`` over the union of its places."""
    return f"""select s.device, s.metric, s.site, s.zone, s.labels, {WIDTH_TEXT} as width, w.start, w.count, w.sum, w.min,
  w.max, w.sum / w.count as avg, w.last
from (
  select series, width, start, sum(count)::bigint as count, sum(sum) as sum, min(min) as min, max(max) as max,
    {LAST_OF} as last
  from ({source}) group by series, width, start
) w join store.series s on s.id = w.series"""
