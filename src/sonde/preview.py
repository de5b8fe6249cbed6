"""What a rule would have done over a span of the past, worked out as it is for what is new.

Readings count as if each had come when it was measured, in order: nothing is late, and silence is that of their own times.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sonde.alert import Outcome, follow, silent_alert
from sonde.changes import Alert, Series
from sonde.clock import SECOND, Micros
from sonde.judgement import groups_of, judge
from sonde.kind import Kind, Quality
from sonde.rule import Bools, Floats, Rule
from sonde.watch import Times, rates, silences
from sonde.window import run_starts


@dataclass(frozen=True, slots=True)
class Previewed:
    """An alert that would have fired, and where."""

    alert: Alert
    series: Series

    def seconds(self, until: Micros) -> float:
        """How long it would have fired before ``until``."""
        end = until if self.alert.resolved_at is None else self.alert.resolved_at
        return max(0, end - (self.alert.fired_at or end)) / SECOND


def of_windows_before(rule: Rule, windows: pa.Table, until: Micros) -> list[Previewed]:
    """The alerts of a rule over windows; ``windows`` are rows of :class:`sonde.question.Folded`."""
    found: list[Previewed] = []
    for group in groups_of(rule, windows):
        found += _fired(group.series, judge(rule, group, None, until))
    return sorted(found, key=lambda one: (one.alert.since, one.alert.id))


def of_readings_before(rule: Rule, readings: pa.Table, until: Micros) -> list[Previewed]:
    """The alerts of a rule over readings, or for want of them; ``readings`` are rows of :class:`sonde.question.Watched`."""
    found: list[Previewed] = []
    for series, rows in _by_series(readings):
        if rule.type == "no_data":
            known = rows.time[rows.quality != Quality.CLOCK]
            silent = silences(np.unique(known), until, round(rule.duration * SECOND)) if len(known) else []
            found += [Previewed(silent_alert(rule, series, one), series) for one in silent]
            continue
        keep, value = _looked_at(rule, rows)
        if keep.any():
            old = np.zeros(int(keep.sum()), np.bool_)
            found += _fired(series, follow(rule, series, None, rows.time[keep], value[keep], old))
    return sorted(found, key=lambda one: (one.alert.since, one.alert.id))


def _fired(series: Series, outcome: Outcome) -> list[Previewed]:
    rows = (alert for alert in outcome.changed.values() if alert is not None and alert.fired_at is not None)
    return [Previewed(alert, series) for alert in rows]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The readings of one series, by time."""

    time: Times
    value: Floats
    kind: npt.NDArray[np.int8]
    quality: npt.NDArray[np.int8]
    text: pa.Array


def _by_series(table: pa.Table) -> Iterator[tuple[Series, _Rows]]:
    if not len(table):
        return
    table = table.combine_chunks()
    starts = run_starts(table["id"].to_numpy())
    time = table["time"].cast(pa.int64()).to_numpy()
    value = table["value"].to_numpy()  # none is NaN
    kind, quality, text = table["kind"].to_numpy(), table["quality"].to_numpy(), table["text"].combine_chunks()
    heads = table.select(Series._fields).take(pa.array(starts)).to_pylist()
    for head, start, end in zip(heads, starts.tolist(), [*starts[1:].tolist(), len(table)], strict=True):
        of = slice(start, end)
        yield Series(**head), _Rows(time[of], value[of], kind[of], quality[of], text.slice(start, end - start))


def _looked_at(rule: Rule, rows: _Rows) -> tuple[Bools, Floats]:
    good = (rows.quality == Quality.GOOD) | (rows.quality == Quality.RANGE)
    if rule.type == "equals":
        same = pc.fill_null(pc.equal(rows.text, rule.text), False).to_numpy(zero_copy_only=False)
        return good & (rows.kind == Kind.TEXT), same.astype(np.float64)
    counts = good & (rows.kind <= Kind.BOOLEAN) & np.isfinite(rows.value)
    if rule.type != "rate":
        return counts, rows.value
    known = np.flatnonzero(rows.quality != Quality.CLOCK)
    has, rate = rates(rule, rows.time[known], np.where(counts, rows.value, np.nan)[known])
    keep, found = np.zeros(len(rows.time), np.bool_), np.zeros(len(rows.time))
    keep[known[has]], found[known[has]] = True, rate
    return keep, found
