"""Drives the alerts of all rules over one step's readings.

The readings of a series are looked at in the order of the log: frame by frame, by time within a frame. One that is older
than the newest of its series before it is *late*, and does not drive an alert forward. How frames are gathered into steps
changes nothing, so a rebuild gives the same alerts. Series whose values stay quiet cost one comparison a step.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from sonde.alert import RETROACTIVE_AFTER, follow, follow_late, quiet_span
from sonde.changes import Series
from sonde.clock import SECOND
from sonde.entry import Lane
from sonde.process.book import Book, Track
from sonde.process.heard import Heard
from sonde.process.latest import Latest
from sonde.process.rows import Rows
from sonde.reading import Kind, Quality
from sonde.rule import Rule
from sonde.watch import rates, watch_of

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_WIDE: Final = 1e-9  # of a limit: rates of several units are compared a second, where rounding is another one


class Alerting:
    """The rules that look at readings, and the alerts in ``book`` that they drive."""

    def __init__(self, series: Sequence[Series], rules: Mapping[str, Rule], book: Book) -> None:
        self._rules = {id_: rule for id_, rule in rules.items() if _looks_at_readings(rule)}
        self._series = list(series)
        self._book = book
        self._forget_matches()
        self._match()

    def learn(self, series: Sequence[Series]) -> None:
        """Take in new series."""
        if series:
            self._series.extend(series)
            self._match()

    def set_rule(self, id_: str, rule: Rule | None) -> None:
        """Put a rule in force, or take it away."""
        self._rules.pop(id_, None)
        if rule is not None and _looks_at_readings(rule):
            self._rules[id_] = rule
        self._forget_matches()
        self._match()

    def run(self, rows: Rows, late: Bools, heard: Heard, latest: Latest) -> None:
        """Look at a step's readings; ``late`` is in the order of the log, ``latest`` what was newest before them."""
        if not self._rules:
            return
        step = _Step(rows, late, heard, latest, self._texts)
        least, greatest = rows.span
        ids = rows.ids
        loud: Bools = (least < self._low[ids]) | (greatest > self._high[ids])
        if self._texts:
            loud |= step.says_any() & self._reads[ids]
        if self._steep.any():
            loud |= self._is_steep(step)
        busy = {series for _, series in self._book.open} | {series for _, series in self._book.stretches}
        if busy:
            loud |= np.isin(ids, np.fromiter(busy, np.int32, len(busy)))
        for run in np.flatnonzero(loud).tolist():
            self._run_series(step, run)

    def _forget_matches(self) -> None:
        self._rules_of: list[tuple[Rule, ...]] = []
        self._low, self._high = np.zeros(0), np.zeros(0)  # values within are quiet
        self._flat, self._steep = np.zeros((0, 2)), np.zeros(0, np.bool_)  # rates a second within are quiet; has any
        self._reads = np.zeros(0, np.bool_)  # looks for texts
        self._texts = sorted({rule.text for rule in self._rules.values() if rule.text is not None})

    def _match(self) -> None:
        """Find the rules of the series that are not matched yet."""
        start = len(self._rules_of)
        for series in self._series[start:]:
            self._rules_of.append(tuple(rule for rule in self._rules.values() if rule.watches(series)))
        new = self._rules_of[start:]
        spans = np.array([quiet_span(r for r in rules if r.type not in ("rate", "equals")) for rules in new])
        spans = spans.reshape(-1, 2)
        self._low = np.append(self._low[:start], spans[:, 0])
        self._high = np.append(self._high[:start], spans[:, 1])
        self._flat = np.concatenate((self._flat[:start], np.array([_flat(rules) for rules in new]).reshape(-1, 2)))
        self._steep = np.append(self._steep[:start], [any(r.type == "rate" for r in rules) for rules in new]).astype(
            bool
        )
        self._reads = np.append(self._reads[:start], [any(r.type == "equals" for r in rules) for rules in new]).astype(
            bool
        )

    def _is_steep(self, step: "_Step") -> Bools:
        """Which series may have a rate that is not quiet."""
        ids = step.rows.ids
        least, greatest, sure = step.steepness()
        steep: Bools = self._steep[ids] & (~sure | (least < self._flat[ids, 0]) | (greatest > self._flat[ids, 1]))
        return steep

    def _run_series(self, step: "_Step", run: int) -> None:
        rows = step.run(run)
        series = self._series[rows.series]
        for rule in self._rules_of[series.id]:
            keep, value = rows.looked_at(rule, series.id)
            track = (rule.id, series.id)
            forward, behind = keep & ~rows.behind, keep & rows.behind
            if forward.any():
                self._follow(rule, series, track, rows, np.flatnonzero(forward), value)
            if behind.any():
                stretch = self._book.stretches.get(track)
                outcome = follow_late(rule, series, stretch, rows.time[behind], value[behind])
                self._book.take_late(track, outcome, rows.frame[behind])

    def _follow(self, rule: Rule, series: Series, track: Track, rows: "_Run", at: Ints, value: Floats) -> None:
        """Drive an alert forward; if it is shelved and its shelf ends meanwhile, up to there and on from there."""
        end = self._book.shelf_end(self._book.open.get(track))
        cut = len(at) if end is None else int(np.searchsorted(rows.frame[at], end))
        for some in (at[:cut], at[cut:]):
            if len(some):
                open_ = self._book.open.get(track)
                outcome = follow(rule, series, open_, rows.time[some], value[some], rows.old[some])
                self._book.take(track, outcome, rows.frame[some])
            if end is not None:
                self._book.end_shelf(self._book.open.get(track), end)


def _looks_at_readings(rule: Rule) -> bool:
    return rule.window is None and rule.type != "no_data"


def _flat(rules: Iterable[Rule]) -> tuple[float, float]:
    """The span of rates a second in which none of ``rules`` holds."""
    low, high = -np.inf, np.inf
    for rule in rules:
        if rule.type == "rate" and rule.per is not None:
            least, greatest = (level / rule.per for level in watch_of(rule).quiet(rule))
            low, high = max(low, least + abs(least) * _WIDE), min(high, greatest - abs(greatest) * _WIDE)
    return low, high


class _Step:
    """The readings of a step, and where they came from."""

    def __init__(self, rows: Rows, late: Bools, heard: Heard, latest: Latest, texts: Sequence[str]) -> None:
        self.rows, self.late, self.heard, self.latest, self._wanted = rows, late, heard, latest, texts
        pieces = rows.arrived.pieces
        self._ends = np.cumsum([piece.rows for piece in pieces])
        self._frames = np.searchsorted(heard.offsets, np.array([piece.offset for piece in pieces], np.int64))
        self._backlog = np.array([piece.lane == Lane.BACKLOG for piece in pieces])

    @cached_property
    def texts(self) -> Mapping[str, Bools]:
        """For each text that a rule looks for, which rows are it, in the order of the log."""
        column = self.rows.arrived.batch.columns.column("text")
        found = {text: pc.fill_null(pc.equal(column, text), False) for text in self._wanted}
        return {text: mask.to_numpy(zero_copy_only=False) for text, mask in found.items()}

    def says_any(self) -> Bools:
        """Which series have a text that a rule looks for."""
        any_ = np.logical_or.reduce([*self.texts.values()])[self.rows.order]
        said: Bools = np.logical_or.reduceat(any_ & (self.rows.kind == Kind.TEXT), self.rows.at)
        return said

    def steepness(self) -> tuple[Floats, Floats, Bools]:
        """The least and the greatest rate a second of each series, and whether they are sure: not where readings are late."""
        rows, latest = self.rows, self.latest
        value = rows.value if rows.counts is None else np.where(rows.counts, rows.value, np.nan)
        time, before = rows.time, rows.at
        with np.errstate(all="ignore"):
            rate = np.append(np.nan, np.diff(value) / np.diff(time))
            rate[before] = (value[before] - latest.value[rows.ids]) / (time[before] - latest.time[rows.ids])
            rate = np.where(np.isfinite(rate), rate, np.nan) * SECOND
        odd = self.late[rows.order] | (rows.quality == Quality.CLOCK)
        sure = ~np.logical_or.reduceat(odd, rows.at)
        return np.fmin.reduceat(rate, rows.at), np.fmax.reduceat(rate, rows.at), sure

    def run(self, number: int) -> "_Run":
        """The readings of one series, in the order of the log."""
        rows = self.rows
        span = slice(int(rows.at[number]), int(rows.ends[number]))
        places = rows.order[span]
        piece = np.searchsorted(self._ends, places, side="right")
        in_log = np.argsort(self._frames[piece], kind="stable")  # within a frame they stay sorted by time
        piece, places = piece[in_log], places[in_log]
        time, frame = rows.time[span][in_log], self._frames[piece]
        return _Run(
            step=self,
            series=int(rows.series[span.start]),
            places=places,
            time=time,
            value=rows.value[span][in_log],
            counts=np.ones(len(time), np.bool_) if rows.counts is None else rows.counts[span][in_log],
            text=(rows.kind[span][in_log] == Kind.TEXT),
            quality=rows.quality[span][in_log],
            frame=frame,
            behind=self.late[places],
            old=self._backlog[piece] | (time < self.heard.log_times[frame] - RETROACTIVE_AFTER),
        )


@dataclass(slots=True)
class _Run:
    """The readings of one series in a step, in the order of the log. ``old``: what opens an alert there is history, not
    news."""

    step: _Step
    series: int
    places: Ints
    time: Ints
    value: Floats
    counts: Bools
    text: Bools
    quality: npt.NDArray[np.int8]
    frame: Ints
    behind: Bools
    old: Bools

    def looked_at(self, rule: Rule, series: int) -> tuple[Bools, Floats]:
        """Which readings ``rule`` looks at, and what it sees there."""
        if rule.type == "equals":
            good = (self.quality == Quality.GOOD) | (self.quality == Quality.RANGE)
            return self.text & good, self.step.texts[rule.text or ""][self.places].astype(np.float64)
        if rule.type == "rate":
            return self._rates(rule, series)
        return self.counts, self.value

    def _rates(self, rule: Rule, series: int) -> tuple[Bools, Floats]:
        """Forward from reading to reading; of late ones only between neighbours that came in one frame."""
        keep, found = np.zeros(len(self.time), np.bool_), np.zeros(len(self.time))
        value = np.where(self.counts, self.value, np.nan)
        known = self.quality != Quality.CLOCK
        at = np.flatnonzero(known & ~self.behind)
        latest = self.step.latest
        has, rate = rates(
            rule,
            np.concatenate((latest.time[series : series + 1], self.time[at])),
            np.concatenate((latest.value[series : series + 1], value[at])),
        )
        keep[at[has[1:]]], found[at[has[1:]]] = True, rate
        at = np.flatnonzero(known & self.behind)
        if len(at):
            has, rate = rates(rule, self.time[at], value[at])
            together = np.append(False, self.frame[at][1:] == self.frame[at][:-1])
            keep[at[has & together]], found[at[has & together]] = True, rate[together[has]]
        return keep, found
