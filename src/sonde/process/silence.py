"""Rules of type ``no_data``: a series of which nothing newer has come for some time.

That is a matter of log time, and of the log alone: silence begins when the newest reading of a series came, and what it
lasts is known when a frame comes, be it an empty tick. Where frames stop coming for longer than :data:`PAUSE` nobody
listened (the sink was away), and all silence begins anew after that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from sonde.alert import advance, silent_alert
from sonde.changes import Purge, Series
from sonde.clock import SECOND, Micros
from sonde.process.book import Book
from sonde.process.heard import Heard
from sonde.process.latest import NEVER, Latest
from sonde.process.rows import Rows
from sonde.reading import Quality
from sonde.rule import Rule
from sonde.watch import Silent, silences

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
PAUSE: Final[Micros] = 10 * SECOND
_NO_LIMIT: Final = np.iinfo(np.int64).max >> 2


@dataclass(slots=True)
class Arrivals:
    """The readings of a step that are not late: ``frame`` is the number of the frame of each row, −1 for the others."""

    rows: Rows
    frame: Ints

    @classmethod
    def of(cls, rows: Rows, late: Bools, heard: Heard) -> "Arrivals":
        pieces = rows.arrived.pieces
        frames = np.searchsorted(heard.offsets, [piece.offset for piece in pieces])
        in_log = np.repeat(frames, [piece.rows for piece in pieces])
        in_log[late] = -1
        frame = in_log[rows.order]
        frame[rows.quality == Quality.CLOCK] = -1
        return cls(rows, frame)

    def last(self, start: int, end: int) -> Ints:
        """For each series of the step, the last frame from ``start`` to ``end`` that has a reading of it; −1 for none."""
        within = np.where((self.frame >= start) & (self.frame < end), self.frame, -1)
        last: Ints = np.maximum.reduceat(within, self.rows.at)
        return last

    def frames(self, run: int, start: int, end: int) -> Ints:
        """All such frames of one series."""
        frame = self.frame[self.rows.at[run] : self.rows.ends[run]]
        return np.unique(frame[(frame >= start) & (frame < end)])


class Silence:
    """The rules that wait for data. ``heard_since`` and ``last`` are log times: frames came without a pause from the first
    to the second. ``set_at`` says when each rule was set: it counts from then on."""

    def __init__(self, book: Book, series: Sequence[Series], latest: Latest, heard_since: Micros, last: Micros) -> None:
        self.heard_since = heard_since
        self._last = last
        self._book, self._series, self._latest = book, list(series), latest
        self._rules: dict[str, tuple[Rule, Micros]] = {}
        self._rules_of: list[tuple[tuple[Rule, Micros], ...]] = []
        self._arrived = latest.arrived[: len(self._series)].copy()
        self._limit = np.zeros(0, np.int64)  # the shortest duration of the rules of each series
        self._due = np.zeros(0, np.int64)  # before then nothing can fire
        self._heard = Heard(0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._next = 0  # frame

    @property
    def waits(self) -> bool:
        """Whether a rule needs to know that time goes on."""
        return bool(self._rules)

    def learn(self, series: Sequence[Series]) -> None:
        """Take in new series."""
        self._series.extend(series)
        self._arrived = np.append(self._arrived, np.full(len(series), NEVER))
        self._match()

    def set_rule(self, id_: str, rule: Rule | None, set_at: Micros) -> None:
        """Put a rule in force, or take it away."""
        self._rules.pop(id_, None)
        if rule is not None and rule.type == "no_data":
            self._rules[id_] = rule, set_at
            self._arrived = self._latest.arrived[: len(self._series)].copy()  # without a rule nobody looked
        self._rules_of.clear()
        self._match()

    def purge(self, purge: Purge) -> None:
        """What was purged has never come."""
        known = slice(0, len(self._series)) if purge.series is None else np.array(purge.series, np.int64)
        gone = (
            np.full(len(self._arrived[known]), True)
            if purge.before is None
            else self._latest.time[known] < purge.before
        )
        self._arrived[known] = np.where(gone, NEVER, self._arrived[known])

    def begin(self, heard: Heard) -> None:
        """A new step, of these frames."""
        self._heard, self._next = heard, 0

    def wait(self, end: int) -> None:
        """Frames up to ``end`` of this step came, with no reading in them that counts here."""
        self._go_on(end, None)

    def arrive(self, rows: Rows, late: Bools) -> None:
        """The other frames of this step came, with these readings."""
        self._go_on(len(self._heard), Arrivals.of(rows, late, self._heard) if self._rules else None)

    def _go_on(self, end: int, arrivals: Arrivals | None) -> None:
        times = self._heard.log_times
        before = np.append(self._last, times)[self._next : end]
        pauses = self._next + np.flatnonzero(times[self._next : end] - before > PAUSE)
        starts = [self._next, *(int(p) for p in pauses if p > self._next)]
        for start, stop in zip(starts, [*starts[1:], end], strict=True):
            if start in pauses:
                self.heard_since = int(times[start])
            if arrivals is not None:
                self._take(arrivals, start, stop)
            if stop > start:
                self._look(int(times[stop - 1]))
        if end > self._next:
            self._next, self._last = end, int(times[end - 1])

    def _match(self) -> None:
        start = len(self._rules_of)
        rules = self._rules.values()
        self._rules_of += [tuple(r for r in rules if r[0].watches(series)) for series in self._series[start:]]
        limits = [min((_micros(r[0]) for r in found), default=_NO_LIMIT) for found in self._rules_of[start:]]
        self._limit = np.append(self._limit[:start], np.array(limits, np.int64))
        self._due = np.append(self._due[:start], np.where(self._limit[start:] < _NO_LIMIT, 0, _NO_LIMIT))

    def _take(self, arrivals: Arrivals, start: int, end: int) -> None:
        """Readings came in frames from ``start`` to ``end``."""
        last, ids = arrivals.last(start, end), arrivals.rows.ids
        here = (last >= 0) & (self._limit[ids] < _NO_LIMIT)
        times = self._heard.log_times[last]
        begun = np.maximum(self._arrived[ids], self.heard_since)
        open_ = np.isin(ids, [series for _, series in self._book.open])
        for run in np.flatnonzero(here & (open_ | (times - begun >= self._limit[ids]))).tolist():
            self._take_series(int(ids[run]), arrivals.frames(run, start, end))
        came = ids[last >= 0]
        self._arrived[came] = times[last >= 0]
        self._due[ids[here]] = times[here] + self._limit[ids[here]]

    def _take_series(self, number: int, frames: Ints) -> None:
        for rule, set_at in self._rules_of[number]:
            times = self._heard.log_times[frames]
            if self._end(rule, number, int(frames[0])) or self._arrived[number] == NEVER:
                begun = int(times[0])
            else:
                begun = max(int(self._arrived[number]), self.heard_since, set_at)
            marks = np.append(begun, times[times > begun])
            for silent in silences(marks, int(marks[-1]), _micros(rule)):
                if silent.ended is not None:
                    self._fire(rule, number, silent)
                    self._end(rule, number, self._heard.first_after(silent.ended))

    def _look(self, now: Micros) -> None:
        """Fire what is silent for long enough at ``now``, a log time."""
        for number in np.flatnonzero(self._due <= now).tolist():
            due = _NO_LIMIT
            for rule, set_at in self._rules_of[number]:
                if self._arrived[number] == NEVER or (rule.id, number) in self._book.open:
                    continue
                begun = max(int(self._arrived[number]), self.heard_since, set_at)
                fires = begun + _micros(rule)
                if fires <= now:
                    self._fire(rule, number, Silent(begun, fires, None))
                else:
                    due = min(due, fires)
            self._due[number] = due

    def _fire(self, rule: Rule, number: int, silent: Silent) -> None:
        alert = silent_alert(rule, self._series[number], replace(silent, ended=None))
        self._book.put((rule.id, number), alert)
        self._book.tell(alert, self._heard.first_after(silent.fired))

    def _end(self, rule: Rule, number: int, frame: int) -> bool:
        """Data came in a frame: what is open is over; whether there was something."""
        track = (rule.id, number)
        self._book.end_shelf(self._book.open.get(track), frame)
        alert = self._book.open.get(track)
        if alert is None:
            return False
        over = advance(alert, "cleared", int(self._heard.log_times[frame]))
        assert over is not None
        self._book.put(track, over)
        self._book.tell(over, frame)
        return True


def _micros(rule: Rule) -> Micros:
    return round(rule.duration * SECOND)
