"""Drives the alerts of all rules and series over one step's readings.

The readings of a series are looked at in the order of the log: frame by frame, by time within a frame. One that is older
than the newest of its series before it is *late*, and does not drive an alert forward. How frames are gathered into steps
changes nothing, so a rebuild gives the same alerts. Series whose values stay quiet cost one comparison a step.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sonde.alert import (
    RETROACTIVE_AFTER,
    TRANSITIONS,
    Outcome,
    advance,
    follow,
    follow_late,
    from_trace,
    quiet_span,
    trace_of,
)
from sonde.changes import Alert, Purge, Series
from sonde.clock import Micros
from sonde.entry import Entry, Lane
from sonde.process.rows import Rows
from sonde.rule import Rule

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Track = tuple[str, int]  # rule, series


class Alerting:
    """All alerts that are not resolved, and the late stretches that may still go on."""

    def __init__(self, series: Sequence[Series], rules: Mapping[str, Rule], alerts: Iterable[Alert]) -> None:
        self._rules = dict(rules)
        self._series = list(series)
        self._rules_of: list[tuple[Rule, ...]] = []
        self._low = np.zeros(0)
        self._high = np.zeros(0)
        self._open: dict[Track, Alert] = {}
        self._stretches: dict[Track, Alert] = {}
        self._changed: dict[str, Alert | None] = {}
        for alert in alerts:
            stretch = from_trace(alert)
            if stretch is not None:
                self._stretches[alert.rule, alert.series] = stretch
            else:
                self._open[alert.rule, alert.series] = alert
        self._match()

    def learn(self, series: Sequence[Series]) -> None:
        """Take in new series."""
        if series:
            self._series.extend(series)
            self._match()

    def set_rule(self, id_: str, rule: Rule | None, log_time: Micros) -> None:
        """Put a rule in force, or take it away. What is pending under it starts anew; what fires for a series that it
        does not watch any more is resolved."""
        self._rules.pop(id_, None)
        if rule is not None:
            self._rules[id_] = rule
        for track, stretch in [*self._stretches.items()]:
            if track[0] == id_:
                self._changed[trace_of(stretch).id] = None
                del self._stretches[track]
        for track, alert in [*self._open.items()]:
            watched = rule is not None and rule.watches(self._series[alert.series])
            if track[0] == id_ and not (watched and alert.state != "pending"):
                self._changed[alert.id] = advance(alert, "rule removed", log_time)
                del self._open[track]
        self._rules_of.clear()
        self._match()

    def purge(self, purge: Purge) -> None:
        """Forget the alerts, open or in the making, whose opening reading is purged."""
        for kept in (self._open, self._stretches):
            for track, alert in [*kept.items()]:
                if _takes(purge, alert):
                    self._changed[alert.id if kept is self._open else trace_of(alert).id] = None
                    del kept[track]
        for id_, changed in [*self._changed.items()]:
            if changed is not None and _takes(purge, changed):
                self._changed[id_] = None

    def acknowledge(self, entry: Entry) -> None:
        """Acknowledge or shelve an alert that is open; one that is over stays as it is."""
        payload = entry.payload if isinstance(entry.payload, dict) else {}
        for track, alert in self._open.items():
            if alert.id == payload.get("alert") and (alert.state, payload.get("action")) in TRANSITIONS:
                if payload["action"] not in {"acknowledge", "shelve"}:
                    return
                after = advance(alert, payload["action"], alert.since)
                if after is not None:
                    self._open[track] = self._changed[alert.id] = after
                return

    def run(self, rows: Rows, late: Bools) -> None:
        """Look at a step's readings; ``late`` is in the order of the log."""
        if not self._rules:
            return
        least, greatest = rows.span
        ids = rows.ids
        loud = (least < self._low[ids]) | (greatest > self._high[ids])
        busy = {series for _, series in self._open} | {series for _, series in self._stretches}
        if busy:
            loud |= np.isin(ids, np.fromiter(busy, np.int32, len(busy)))
        sources = _Sources(rows) if loud.any() else None
        for run in np.flatnonzero(loud).tolist():
            assert sources is not None
            self._run_series(rows, late, slice(int(rows.at[run]), int(rows.ends[run])), sources)

    def take_changed(self) -> tuple[list[Alert], list[str]]:
        """The rows that changed since this was last asked: those to set, and the ids of those that came to nothing."""
        changed, self._changed = self._changed, {}
        return [a for a in changed.values() if a is not None], [id_ for id_, a in changed.items() if a is None]

    def count(self) -> Mapping[str, int]:
        """Open alerts, those pending left out, by severity."""
        found = dict.fromkeys(("info", "warning", "critical"), 0)
        for alert in self._open.values():
            if alert.state != "pending":
                found[alert.severity] += 1
        return found

    def _match(self) -> None:
        """Find the rules of the series that are not matched yet."""
        start = len(self._rules_of)
        for series in self._series[start:]:
            self._rules_of.append(tuple(rule for rule in self._rules.values() if rule.watches(series)))
        spans = np.array([quiet_span(rules) for rules in self._rules_of[start:]]).reshape(-1, 2)
        self._low = np.append(self._low[:start], spans[:, 0])
        self._high = np.append(self._high[:start], spans[:, 1])

    def _run_series(self, rows: Rows, late: Bools, run: slice, sources: "_Sources") -> None:
        series = self._series[int(rows.series[run.start])]
        places = rows.order[run]
        time, value = rows.time[run], rows.value[run]
        if rows.counts is not None:
            counts = rows.counts[run]
            places, time, value = places[counts], time[counts], value[counts]
        in_log = np.argsort(sources.frames(places), kind="stable")  # within a frame they stay sorted by time
        places, time, value = places[in_log], time[in_log], value[in_log]
        behind = late[places]
        forward = ~behind
        old = sources.old(places, time)
        for rule in self._rules_of[series.id]:
            track = (rule.id, series.id)
            if forward.any():
                outcome = follow(rule, series, self._open.get(track), time[forward], value[forward], old[forward])
                self._take(self._open, track, outcome)
            if behind.any():
                outcome = follow_late(rule, series, self._stretches.get(track), time[behind], value[behind])
                self._take(self._stretches, track, outcome)

    def _take(self, kept: dict[Track, Alert], track: Track, outcome: Outcome) -> None:
        self._changed.update(outcome.changed)
        if outcome.open is not None:
            kept[track] = outcome.open
        else:
            kept.pop(track, None)


def _takes(purge: Purge, alert: Alert) -> bool:
    of_it = purge.series is None or alert.series in purge.series
    return of_it and (purge.before is None or alert.since < purge.before)


class _Sources:
    """Where the rows of a step came from, found only for the few that matter."""

    def __init__(self, rows: Rows) -> None:
        pieces = rows.arrived.pieces
        self._ends = np.cumsum([piece.rows for piece in pieces])
        self._offsets = np.array([piece.offset for piece in pieces], np.int64)
        self._log_times = np.array([piece.log_time for piece in pieces], np.int64)
        self._backlog = np.array([piece.lane == Lane.BACKLOG for piece in pieces])

    def frames(self, places: Ints) -> Ints:
        return self._offsets[np.searchsorted(self._ends, places, side="right")]

    def old(self, places: Ints, time: Ints) -> Bools:
        """Which rows would open an alert that is history, not news."""
        piece = np.searchsorted(self._ends, places, side="right")
        old: Bools = self._backlog[piece] | (time < self._log_times[piece] - RETROACTIVE_AFTER)
        return old
