"""What can be asked of a store: one class a question, answered by every engine alike.

Each docstring names the columns of the answer. Times are microseconds UTC; a span is ``since <= time < until``. An
answer's columns of time have the type ``timestamp[us, UTC]``.
"""

from dataclasses import dataclass

import pyarrow as pa

from sonde.clock import Micros
from sonde.cursor import Cursor
from sonde.removal import PurgeOrder
from sonde.rule import Rule


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, the place in the log that they stand for, and how many rows there are in all if ``limit`` cut them. ``stored``
    comes with raw readings: how many there are of any kind."""

    rows: pa.Table
    cursor: Cursor
    total: int | None = None
    stored: int | None = None


@dataclass(frozen=True, slots=True)
class Kpis:
    """Per site, zone and metric over its newest window of ``width`` seconds that has data:
    ``site_id, zone_id, sensor_type, current_avg, current_max, sample_count, last_updated``."""

    site: str | None = None
    width: int = 300


@dataclass(frozen=True, slots=True)
class Trends:
    """Windows of ``width`` seconds of one metric, by site and zone: ``timestamp, site_id, zone_id, avg, min, max, count``;
    averages are sum over count. A width that is a multiple of a stored one is folded from it; any other is
    :class:`sonde.errors.Invalid`."""

    metric: str
    since: Micros
    until: Micros
    width: int = 300
    site: str | None = None
    zone: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Alerts:
    """Newest first: ``alert_id, rule, device, metric, site, zone, labels, type, value, peak, threshold, time, fired_at,
    resolved_at, shelved_until, state, severity, message, retroactive``. ``state`` ``open`` means anything but resolved;
    pending ones come only when asked for, by their state or as the one ``alert``."""

    alert: str | None = None
    state: str | None = None
    severity: str | None = None
    since: Micros | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class AlertEvents:
    """What became of alerts, in the order of the log: ``partition, offset, log_time, event`` (fired | unshelved |
    acknowledged | shelved | resolved), ``time, who, why, until``, then the columns of :class:`Alerts` as they are now, but
    that ``time`` of the alert is called ``since``. Of one ``alert``, or all from ``offset`` of a partition on; whole frames,
    so there may be a few more than ``limit``."""

    alert: str | None = None
    partition: int = 0
    offset: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Defined:
    """What the log last said of things, by kind and name: ``kind, name, body`` (JSON), ``log_time, source, who``. See
    :class:`sonde.changes.Definition`."""

    kinds: tuple[str, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """How far each partition has been stored, of every log that was ever followed: ``log, partition, next_offset,
    log_time``."""


@dataclass(frozen=True, slots=True)
class AlertsOf:
    """All alerts of a rule that are open or were so at ``since`` or later, in the columns of :class:`sonde.changes.Alert`."""

    rule: str
    since: Micros


@dataclass(frozen=True, slots=True)
class Corrections:
    """Closed windows that late data has changed and no owner has judged since: ``rule, id`` (of the series), ``device, metric,
    site, zone, labels, start, partition, offset``; see :class:`sonde.changes.Correction`."""


@dataclass(frozen=True, slots=True)
class Folded:
    """The windows that a rule looks at, of a series, zone or site each, in order: ``id`` (of the series; −1), ``device, metric,
    site, zone, labels, start, count, sum, min, max, last``. Only the groups of ``series``, if these are given.
    :class:`sonde.errors.Invalid` if no width is kept that the rule's is a multiple of."""

    rule: Rule
    since: Micros
    until: Micros
    series: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """The readings that a rule looks at, by series and time: ``id, device, metric, site, zone, labels, time, kind, value, text,
    quality``. :class:`sonde.errors.Invalid` if there are more series or readings than asked for."""

    rule: Rule
    since: Micros
    until: Micros
    most_series: int = 1_000
    most: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Share of 5-minute windows of the metric ``occupancy`` in which anyone was there:
    ``site_id, zone_id, occupancy_rate, avg_occupancy``, and ``hour`` (0–23, UTC) before the rate if ``by_hour``."""

    since: Micros | None = None
    until: Micros | None = None
    site: str | None = None
    by_hour: bool = False


@dataclass(frozen=True, slots=True)
class Devices:
    """The newest value of every series of the devices: ``device_id, site_id, zone_id, metric, labels, time, kind, value,
    text, quality``; ordered by device. ``after`` pages: only devices whose name is greater. ``limit`` counts devices."""

    device: str | None = None
    site: str | None = None
    after: str = ""
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class History:
    """Raw readings, newest first unless ``oldest_first``: ``device, metric, site, zone, labels, time, kind, value, text,
    quality``. ``total`` counts those that match, ``stored`` all."""

    device: str | None = None
    metric: str | None = None
    site: str | None = None
    zone: str | None = None
    since: Micros | None = None
    until: Micros | None = None
    limit: int = 1000
    oldest_first: bool = False
    series: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """Series and the newest reading of each, by device, metric, site, zone and labels: ``series`` (its number), ``device,
    metric, site, zone, labels, time, kind, value, text, quality``. Each of ``words`` stands in one of the names or in the
    labels, upper or lower case alike. ``total`` counts those that match."""

    words: tuple[str, ...] = ()
    series: tuple[int, ...] | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Samples:
    """A span of some series as a chart draws it, by series and time: ``series, step, time, count, min, max, avg, kind, text,
    quality``.

    If that is no more than ``points`` rows a series, they are the readings as they came: ``step`` is 0, ``count`` 1, and
    ``min``, ``max``, ``avg`` are its value. Else they are aligned buckets of ``step`` microseconds, those of the span's
    ends whole: extremes are kept, averages are sum over count, and where nothing was measured there is no bucket. Only
    good and out-of-range numbers count; ``quality`` is the worst in a bucket, ``kind`` is null, and ``text`` is what all
    readings of the bucket say, null if that is not one thing."""

    series: tuple[int, ...]
    since: Micros
    until: Micros
    points: int = 1000


@dataclass(frozen=True, slots=True)
class Stale:
    """Devices without a reading since ``before``, the quietest first: ``device_id, site_id, zone_id, last_seen``. ``total``
    counts them all."""

    before: Micros
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Totals:
    """One row: ``readings, series, devices, alerts_firing, parts, part_bytes``."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """The newest profile of each device: ``device, profile`` (JSON), ``updated``, ``node`` (that declared it)."""

    device: str | None = None


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands, newest first: ``id, device, command, parameters`` (JSON), ``who, state, accepted_at, expires_at, node, epoch,
    handed_at, delivered_at, started_at, finished_at, changed_at, message, progress, details`` (JSON). ``state`` ``open`` means
    those that are not over, among them unknown ones of which more may be heard; ``queued`` those too that are on their
    way. ``id`` is that of one command."""

    id: str | None = None
    device: str | None = None
    command: str | None = None
    state: str | None = None
    since: Micros | None = None
    until: Micros | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class CommandSteps:
    """What happened to commands, newest first unless ``oldest_first``: ``id, device, command, step, time, message, progress,
    details`` (JSON). ``total`` counts those that match."""

    id: str | None = None
    device: str | None = None
    since: Micros | None = None
    until: Micros | None = None
    limit: int = 1000
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """Per source and lane: ``source, lane, sent, stored, duplicate, refused, set_aside, lost, missing``.
    ``sent = stored + duplicate + refused + set_aside + lost + missing`` in every row."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is missing, lost, set aside or let go of: ``source, lane, epoch, reason`` (missing | lost | set_aside | expired |
    purged), ``first_seq, last_seq, readings, noticed`` (log time; null for what is missing), ``before`` (they were measured
    before this moment; null if that is not known), ``detail``. ``device``: only of the node that declared it; ``since``: only
    what may have been measured from then on."""

    device: str | None = None
    since: Micros | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Purgeable:
    """How much a purge would take, as one row: ``readings, devices``."""

    order: PurgeOrder


@dataclass(frozen=True, slots=True)
class ResolvedBeyond:
    """When that resolved alert ended after which ``most`` others did: ``resolved_at``; no row if there are not so many."""

    most: int


@dataclass(frozen=True, slots=True)
class Sql:
    """Anything that one SELECT over the stable views can ask, in the words of the store's engine; limits of time (seconds),
    memory and rows apply. ``parameters`` are ``$1``, ``$2`` … in the text."""

    text: str
    seconds: float = 10.0
    rows: int = 100_000
    parameters: tuple[object, ...] = ()


AlertQuestion = AlertEvents | Defined | Reached | AlertsOf | Corrections | Folded | Watched

Question = (
    Kpis
    | Trends
    | Alerts
    | AlertQuestion
    | Heatmap
    | Devices
    | History
    | FoundSeries
    | Samples
    | Stale
    | Totals
    | Profiles
    | Commands
    | CommandSteps
    | Ledger
    | Gaps
    | Purgeable
    | ResolvedBeyond
    | Sql
)
