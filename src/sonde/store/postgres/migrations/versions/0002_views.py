"""The views that are a promise, with what each column holds, in the schema ``sonde``; a role that may read them and nothing
else, where this user may make one.

Each view is over those of the schema ``store``, so that it shows what a question shows. The windows of a series are added up
one series after another: so whoever asks for one device makes the database look at no other.
"""

from typing import Final

from sonde.store.postgres.migrations import run

revision = "0002"
down_revision = "0001"

READINGS: Final = """
create view sonde.readings as
select r.time, s.device, s.metric, s.site, s.zone, s.labels, r.kind, r.value, r.text, r.quality
from store.readings r join store.series s on s.id = r.series;
comment on view sonde.readings is 'every reading';
comment on column sonde.readings.time is 'when it was measured, UTC';
comment on column sonde.readings.device is 'what was measured';
comment on column sonde.readings.metric is 'which of its values';
comment on column sonde.readings.site is 'empty if there is none';
comment on column sonde.readings.zone is 'empty if there is none';
comment on column sonde.readings.labels is 'JSON, keys sorted';
comment on column sonde.readings.kind is '0 number, 1 integer, 2 boolean, 3 text, 4 JSON, 5 none';
comment on column sonde.readings.value is 'numbers, integers and booleans (0, 1)';
comment on column sonde.readings.text is 'text, JSON, and integers beyond 2^53';
comment on column sonde.readings.quality is '0 good, 1 failed, 2 out of range, 3 wrong type, 4 clock';
"""

WINDOWS: Final = """
create view sonde.windows as
select s.device, s.metric, s.site, s.zone, s.labels,
  case when w.width % 86400 = 0 then w.width / 86400 || 'd' when w.width % 3600 = 0 then w.width / 3600 || 'h'
    when w.width % 60 = 0 then w.width / 60 || 'm' else w.width || 's' end as width,
  w.start, w.count, w.sum, w.min, w.max, w.sum / w.count as avg, w.last
from store.series s cross join lateral (
  select o.width, o.start, sum(o.count)::bigint as count, sum(o.sum) as sum, min(o.min) as min, max(o.max) as max,
    (array_agg(o.last order by o.last_time desc, o.tag >> 16 & 65535 desc, o.tag >> 6 & 1023))[1] as last
  from store.windows o where o.series = s.id group by o.width, o.start
) w;
comment on view sonde.windows is 'readings with a number, by series and aligned span of time';
comment on column sonde.windows.device is 'what was measured';
comment on column sonde.windows.metric is 'which of its values';
comment on column sonde.windows.site is 'empty if there is none';
comment on column sonde.windows.zone is 'empty if there is none';
comment on column sonde.windows.labels is 'JSON, keys sorted';
comment on column sonde.windows.width is 'such as 5m, 1h, 90s';
comment on column sonde.windows.start is 'UTC; the window ends a width later';
comment on column sonde.windows.count is 'readings with a number';
comment on column sonde.windows.sum is 'of their values';
comment on column sonde.windows.min is 'the least';
comment on column sonde.windows.max is 'the greatest';
comment on column sonde.windows.avg is 'sum over count';
comment on column sonde.windows.last is 'the value of the latest';
"""

ALERTS: Final = """
create view sonde.alerts as
select a.id as alert_id, a.rule, coalesce(s.device, '') as device, coalesce(s.metric, a.metric) as metric,
  coalesce(s.site, a.site) as site, coalesce(s.zone, a.zone) as zone, coalesce(s.labels, '{}') as labels,
  a.type, a.severity, a.state, a.threshold, a.value, a.peak, a.since as time, a.fired_at, a.resolved_at, a.retroactive,
  a.message, a.shelved_until
from store.alerts a left join store.series s on s.id = a.series where a.id not like 'late-%';
comment on view sonde.alerts is 'rules that hold, or held';
comment on column sonde.alerts.alert_id is 'the same after a rebuild';
comment on column sonde.alerts.rule is 'the rule that holds, or held';
comment on column sonde.alerts.device is 'what was measured';
comment on column sonde.alerts.metric is 'which of its values';
comment on column sonde.alerts.site is 'empty if there is none';
comment on column sonde.alerts.zone is 'empty if there is none';
comment on column sonde.alerts.labels is 'JSON, keys sorted';
comment on column sonde.alerts.type is 'what the rule watches for';
comment on column sonde.alerts.severity is 'as the rule says';
comment on column sonde.alerts.state is 'pending, firing, acknowledged, shelved or resolved';
comment on column sonde.alerts.threshold is 'of the rule';
comment on column sonde.alerts.value is 'of the reading that opened it';
comment on column sonde.alerts.peak is 'the worst value so far';
comment on column sonde.alerts.time is 'of the reading that opened it';
comment on column sonde.alerts.fired_at is 'when it began to fire';
comment on column sonde.alerts.resolved_at is 'when it was over';
comment on column sonde.alerts.retroactive is 'raised by a backlog';
comment on column sonde.alerts.message is 'in words';
comment on column sonde.alerts.shelved_until is 'when a shelf ends, if it does';
"""

DEVICES: Final = """
create view sonde.devices as
select d.device, d.site, d.zone, d.series, d.last_seen, p.body as profile
from (
  select s.device, (array_agg(s.site order by l.time desc))[1] as site, (array_agg(s.zone order by l.time desc))[1] as zone,
    count(*) as series, max(l.time) as last_seen
  from store.series s join store.latest l on l.series = s.id group by s.device
) d left join store.definitions p on p.kind = 'profile' and p.name = d.device;
comment on view sonde.devices is 'every device that has readings';
comment on column sonde.devices.device is 'its name';
comment on column sonde.devices.site is 'of its newest reading';
comment on column sonde.devices.zone is 'of its newest reading';
comment on column sonde.devices.series is 'how many it has';
comment on column sonde.devices.last_seen is 'time of its newest reading';
comment on column sonde.devices.profile is 'what it says about itself, JSON; null if nothing';
"""

GAPS: Final = """
create view sonde.gaps as
select s.source, s.lane, s.epoch, 'missing' as reason, (h.hole ->> 0)::bigint as first_seq, (h.hole ->> 1)::bigint as last_seq,
  (h.hole ->> 2)::bigint as readings, null::timestamptz as noticed, '' as detail
from store.streams s cross join lateral json_array_elements(s.holes::json) h(hole) where s.holes <> '[]'
union all
select source, lane, epoch, reason, first_seq, last_seq, readings, noticed, detail from store.marks;
comment on view sonde.gaps is 'what is missing, was lost, set aside or let go of';
comment on column sonde.gaps.source is 'the node, or empty';
comment on column sonde.gaps.lane is '0 direct, 1 control, 2 live, 3 backlog';
comment on column sonde.gaps.epoch is 'of the node';
comment on column sonde.gaps.reason is 'missing, lost, set_aside, expired or purged';
comment on column sonde.gaps.first_seq is 'the first entry of the stream that is concerned';
comment on column sonde.gaps.last_seq is 'the last one';
comment on column sonde.gaps.readings is 'how many';
comment on column sonde.gaps.noticed is 'log time; null for what is missing';
comment on column sonde.gaps.detail is 'in words';
"""

TIMES: Final = """
create index readings_by_day_time on store.readings_by_day using brin (time) with (pages_per_range = 32, autosummarize = on);
"""
"""For the newest readings of all: they lie at the end. A fraction of the cost, and of the size, of an ordinary index."""

ROLE: Final = """
do $$ begin
  if not exists (select from pg_roles where rolname = 'sonde_read') then create role sonde_read nologin; end if;
exception when insufficient_privilege or duplicate_object or unique_violation then null;
end $$;
do $$ begin
  if exists (select from pg_roles where rolname = 'sonde_read') then
    grant usage on schema sonde to sonde_read;
    grant select on all tables in schema sonde to sonde_read;
  end if;
end $$;
do $$ begin
  if exists (select from pg_roles where rolname = 'sonde_read') then
    if not pg_has_role('sonde_read', 'member') then execute format('grant sonde_read to %I', current_user); end if;
  end if;
exception when insufficient_privilege or internal_error then null;
end $$;
"""
"""Where it fails, ``sonde sql`` says what to ask the administrator for. Another database of the same server may do the same
at the same moment."""

PATH: Final = """
do $$ begin
  if not exists (
    select from pg_db_role_setting d, unnest(d.setconfig) c where d.setdatabase = (
      select oid from pg_database where datname = current_database()) and d.setrole = 0 and c like 'search\\_path=%'
  ) then
    execute format('alter database %I set search_path = "$user", public, sonde', current_database());
  end if;
exception when insufficient_privilege or internal_error then null;
end $$;
"""
"""So that ``select * from readings`` works in psql; where this user owns the database, and nobody said otherwise."""


def upgrade() -> None:
    for script in (READINGS, WINDOWS, ALERTS, DEVICES, GAPS, TIMES, ROLE, PATH):
        run(script)
