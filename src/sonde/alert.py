"""The life of an alert, without I/O.

Readings that come in order of time drive an alert forward. Late ones do not: what a stretch of them would have raised is
history, a *retroactive* alert that is stored as resolved. A late stretch and a forward alert that would touch stay two
alerts. A stretch that may still go on is remembered in a pending row, its *trace*, named by :func:`trace_of`.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sonde.changes import Alert, Series
from sonde.clock import SECOND, Micros
from sonde.errors import Conflict
from sonde.rule import BUILDING_RULES, Bools, Floats, Rule
from sonde.watch import Silent, Times, watch_of

__all__ = ["BUILDING_RULES", "RETROACTIVE_AFTER", "TRANSITIONS", "Outcome", "Rule", "advance", "follow", "follow_late"]

RETROACTIVE_AFTER: Final[Micros] = 60 * SECOND
"""An alert that a reading this much older than its frame opens is history, not news."""

RETRACTED: Final = "retracted"  # not a state: the row goes
TRACE: Final = "late-"

TRANSITIONS: Final[Mapping[tuple[str, str], str]] = {
    ("pending", "lasted"): "firing",
    ("pending", "contradicted"): RETRACTED,
    ("pending", "rule removed"): RETRACTED,
    ("firing", "cleared"): "resolved",
    ("firing", "acknowledge"): "acknowledged",
    ("firing", "shelve"): "shelved",
    ("firing", "rule removed"): "resolved",
    ("acknowledged", "cleared"): "resolved",
    ("acknowledged", "acknowledge"): "acknowledged",
    ("acknowledged", "shelve"): "shelved",
    ("acknowledged", "rule removed"): "resolved",
    ("shelved", "cleared"): "resolved",
    ("shelved", "acknowledge"): "acknowledged",
    ("shelved", "shelve"): "shelved",
    ("shelved", "shelf ended"): "firing",
    ("shelved", "rule removed"): "resolved",
}
"""State and event → state. What is not here does not happen: :class:`Conflict`."""


def advance(alert: Alert, event: str, at: Micros | None) -> Alert | None:
    """``alert`` after ``event`` at a moment; none if it came to nothing. For ``shelve`` the moment is the end of
    the shelf, none if it has none.
    :class:`Conflict` if that cannot happen to it."""
    state = TRANSITIONS.get((alert.state, event))
    if state is None:
        raise Conflict(f"alert {alert.id} is {alert.state}; it cannot be {event}")
    if state == RETRACTED:
        return None
    more: dict[str, Any] = {"shelved_until": None}
    if event == "lasted":
        more["fired_at"] = at
    elif state == "resolved":
        more["resolved_at"] = at
    elif state == "shelved":
        more["shelved_until"] = at
    return msgspec.structs.replace(alert, state=state, **more)


def group_of(series: Series) -> dict[str, Any]:
    """What an alert says of where it is, if that is no series but a zone or a site."""
    return {} if series.id >= 0 else {"metric": series.metric, "site": series.site, "zone": series.zone}


def place_of(alert: Alert) -> Series:
    """Where an alert over a zone or a site is, as a series would say it."""
    return Series(-1, "", alert.metric, alert.site, alert.zone, "{}")


def alert_id(rule: str, series: Series, since: Micros, late: bool) -> str:
    """The id that an alert has in every copy of a log: of its rule, its series and the reading that opened it."""
    identity = [rule, *series[1:], since, late]
    return hashlib.sha256(b"alert\0" + msgspec.json.encode(identity)).digest()[:16].hex()


def silent_alert(rule: Rule, series: Series, silent: Silent) -> Alert:
    """The alert of a rule that waited for data of ``series`` in vain; resolved if they came in the end."""
    return Alert(
        id=alert_id(rule.id, series, silent.since, late=False),
        rule=rule.id,
        series=series.id,
        type=rule.type,
        severity=rule.severity,
        state="firing" if silent.ended is None else "resolved",
        threshold=rule.duration,
        since=silent.since,
        value=None,
        peak=None,
        fired_at=silent.fired,
        resolved_at=silent.ended,
        message=rule.said(series, None, rule.duration),
    )


def trace_of(alert: Alert) -> Alert:
    """The row that remembers a late stretch: pending; ``resolved_at`` is its last reading, ``fired_at`` set if it fired."""
    return msgspec.structs.replace(alert, id=TRACE + alert.id, state="pending")


def from_trace(row: Alert) -> Alert | None:
    """The late stretch that a row remembers; none if it is an alert like any other."""
    if not row.id.startswith(TRACE):
        return None
    state = "pending" if row.fired_at is None else "firing"
    return msgspec.structs.replace(row, id=row.id.removeprefix(TRACE), state=state)


@dataclass(slots=True)
class Outcome:
    """What became of a rule on a series: the alert that is open now, and every row that changed (none: retracted).

    ``turns`` are the alerts that began to fire or were resolved, as they were then, each with the number of the reading
    that did it."""

    open: Alert | None
    changed: dict[str, Alert | None] = field(default_factory=dict)
    turns: list[tuple[int, Alert]] = field(default_factory=list)

    def set(self, alert: Alert, new: Alert | None, at: int | None = None) -> None:
        self.changed[alert.id] = new
        self.open = None if new is None or new.state == "resolved" else new
        if new is not None and at is not None:
            self.turns.append((at, new))


def follow(
    rule: Rule, series: Series, open_: Alert | None, time: Times, value: Floats, old: Bools, span: Micros = 0
) -> Outcome:
    """Drive an alert forward over what a rule looks at of readings, sorted by time; ``old`` says which would open it
    retroactively. Of windows, ``time`` is where each begins, and ``span`` their width."""
    outcome = Outcome(open_)
    _walk(_Track(rule, series, time, value, old, late=False, span=span), outcome)
    return outcome


def follow_late(rule: Rule, series: Series, stretch: Alert | None, time: Times, value: Floats) -> Outcome:
    """Follow late readings in the order in which they came.

    ``stretch`` is what :func:`follow_late` left open. Wherever time goes back, a new stretch begins. The changed rows are
    alerts that are over, as far as is known, and traces.
    """
    rows: dict[str, Alert | None] = {}
    turns: list[tuple[int, Alert]] = []
    everything = np.ones(len(time), np.bool_)
    before = stretch
    for start, end in _ascending(time):
        if stretch is not None and stretch.resolved_at is not None and time[start] < stretch.resolved_at:
            stretch = None  # what it raised, if anything, is already a row
        span = slice(start, end)
        outcome = Outcome(stretch)
        _walk(_Track(rule, series, time[span], value[span], everything[span], late=True), outcome)
        fired = [a for a in outcome.changed.values() if a is not None and a.fired_at is not None]
        rows.update((a.id, msgspec.structs.replace(a, state="resolved")) for a in fired)
        turns += [(start + at, a) for at, a in outcome.turns if a.state == "firing"]
        stretch = outcome.open
    if before is not None and before != stretch:
        rows[TRACE + before.id] = None
    if stretch is not None and stretch != before:
        trace = trace_of(stretch)
        rows[trace.id] = trace
    return Outcome(stretch, rows, turns)


def _ascending(time: Times) -> Iterator[tuple[int, int]]:
    breaks = [0, *(np.flatnonzero(np.diff(time) < 0) + 1).tolist(), len(time)]
    return itertools.pairwise(breaks if len(time) else ())


@dataclass(slots=True)
class _Track:
    """Readings of one series under one rule, and where in them things happen."""

    rule: Rule
    series: Series
    time: Times
    value: Floats
    old: Bools
    late: bool
    span: Micros = 0
    rises: npt.NDArray[np.intp] = field(init=False)
    falls: npt.NDArray[np.intp] = field(init=False)
    clears: npt.NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        watch = watch_of(self.rule)
        holds = watch.holds(self.rule, self.value)
        self.rises, self.falls = np.flatnonzero(holds), np.flatnonzero(~holds)
        self.clears = np.flatnonzero(watch.cleared(self.rule, self.value))

    def next(self, places: npt.NDArray[np.intp], at: int) -> int:
        """The first of ``places`` from ``at`` on; the number of readings if there is none."""
        i = int(np.searchsorted(places, at))
        return int(places[i]) if i < len(places) else len(self.time)

    def opened(self, at: int) -> Alert:
        found = float(self.value[at])
        threshold = watch_of(self.rule).crossed(self.rule, found)
        value = None if threshold is None else found
        since = int(self.time[at])
        return Alert(
            id=alert_id(self.rule.id, self.series, since, self.late),
            rule=self.rule.id,
            series=self.series.id,
            type=self.rule.type,
            severity=self.rule.severity,
            state="pending",
            threshold=threshold,
            since=since,
            value=value,
            peak=value,
            retroactive=bool(self.old[at]),
            message=self.rule.said(self.series, value, threshold),
            **group_of(self.series),
        )

    def worst(self, alert: Alert, start: int, end: int) -> Alert:
        """``alert`` with the worst of its values so far and those from ``start`` to ``end``."""
        if start >= end:
            return alert
        peak = alert.peak
        if peak is not None:
            values = np.concatenate(([peak], self.value[start:end]))
            peak = float(values[np.argmax(watch_of(self.rule).excess(self.rule, values))])
        last: dict[str, Any] = {"resolved_at": int(self.time[end - 1])} if self.late else {}
        return msgspec.structs.replace(alert, peak=peak, **last)


def _walk(track: _Track, outcome: Outcome) -> None:
    """One turn of the loop is one transition, so the cost is per transition, not per reading."""
    at, end = 0, len(track.time)
    while at < end:
        alert = outcome.open
        if alert is None:
            at = track.next(track.rises, at)
            if at == end:
                return
            alert = track.opened(at)
        at = _pending(track, alert, at, outcome) if alert.state == "pending" else _firing(track, alert, at, outcome)


def _pending(track: _Track, alert: Alert, at: int, outcome: Outcome) -> int:
    due = alert.since + round(track.rule.duration * SECOND)
    fires = max(at, int(np.searchsorted(track.time, due - track.span)))
    falls = track.next(track.falls, at)
    stop = min(fires, falls)
    alert = track.worst(alert, at, stop)
    if stop == len(track.time):
        outcome.set(alert, alert)
    elif falls <= fires:
        outcome.set(alert, advance(alert, "contradicted", int(track.time[falls])))
        return falls + 1
    else:
        outcome.set(alert, advance(alert, "lasted", int(track.time[fires]) + track.span), fires)
    return stop


def _firing(track: _Track, alert: Alert, at: int, outcome: Outcome) -> int:
    clears = track.next(track.clears, at)
    worse = track.worst(alert, at, clears)
    if clears == len(track.time):
        if worse != alert:
            outcome.set(alert, worse)
        return clears
    over = worse.resolved_at if track.late and worse.resolved_at is not None else int(track.time[clears]) + track.span
    outcome.set(worse, advance(worse, "cleared", over), clears)
    return clears + 1


def quiet_span(rules: Iterable[Rule]) -> tuple[float, float]:
    """The span of values, ends included, in which none of ``rules`` holds."""
    spans = [watch_of(rule).quiet(rule) for rule in rules]
    return max((s[0] for s in spans), default=-np.inf), min((s[1] for s in spans), default=np.inf)
