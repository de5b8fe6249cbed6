"""Rules over windows, as the processor sees them.

It does not judge them: windows of a zone or a site come together only in the store. Their owner judges them there
(:mod:`sonde.process.judge`) and what it finds comes as entries of the log. The processor notes which closed windows late
data has changed, and enters what was found into the book.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from sonde.alert import advance
from sonde.changes import Alert, Correction, Definition, Series
from sonde.clock import Micros
from sonde.entry import Entry
from sonde.errors import Invalid, Problem
from sonde.judgement import GRACE, Found, Judged, aligned, parse, width_of
from sonde.process.book import Book
from sonde.process.heard import Heard
from sonde.process.rows import Rows
from sonde.rule import Rule

Bools = npt.NDArray[np.bool_]


class Windowed:
    """``judged`` says how far each rule has been judged, ``set_at`` when it was set."""

    def __init__(self, book: Book, series: Sequence[Series], judged: Mapping[str, Judged]) -> None:
        self._book, self._series = book, list(series)
        self._judged = dict(judged)
        self._rules: dict[str, tuple[Rule, Micros]] = {}
        self._watched: dict[str, Bools] = {}
        self.settled: list[Correction] = []

    @property
    def waits(self) -> bool:
        """Whether a rule needs to know that time goes on."""
        return bool(self._rules)

    def learn(self, series: Sequence[Series]) -> None:
        """Take in new series."""
        self._series.extend(series)
        for id_, (rule, _) in self._rules.items():
            self._watched[id_] = np.append(self._watched[id_], [rule.watches(s) for s in series]).astype(np.bool_)

    def set_rule(self, id_: str, rule: Rule | None, set_at: Micros) -> None:
        """Put a rule in force, or take it away."""
        self._rules.pop(id_, None)
        self._watched.pop(id_, None)
        if rule is not None and rule.window is not None:
            self._rules[id_] = rule, set_at
            self._watched[id_] = np.array([rule.watches(series) for series in self._series], np.bool_)

    def forget(self, id_: str) -> Definition | None:
        """A rule has changed: it is judged anew, if it looks at windows, and what late data had changed is no matter."""
        known = self._judged.pop(id_, None) is not None or id_ in self._rules
        return Definition("judged", id_, None, 0) if known else None

    def corrections(self, rows: Rows, heard: Heard) -> list[Correction]:
        """The closed windows that these readings change, for each rule and series the oldest."""
        found: list[Correction] = []
        oldest = int(rows.time.min()) if self._rules else 0
        for id_, (rule, set_at) in self._rules.items():
            if aligned(rule, oldest) + width_of(rule) + GRACE <= int(heard.log_times[-1]):
                found += self._corrections_of(id_, rule, aligned(rule, set_at), rows, heard)
        return found

    def _corrections_of(self, id_: str, rule: Rule, since: Micros, rows: Rows, heard: Heard) -> list[Correction]:
        pieces = rows.arrived.pieces
        frames = np.searchsorted(heard.offsets, [piece.offset for piece in pieces])
        frame = np.repeat(frames, [piece.rows for piece in pieces])[rows.order]
        start = rows.time // width_of(rule) * width_of(rule)
        changed = self._watched[id_][rows.series] & (start >= since)
        changed &= start + (width_of(rule) + GRACE) <= heard.log_times[frame]
        if rows.counts is not None:
            changed &= rows.counts
        first = np.minimum.reduceat(np.where(changed, start, np.iinfo(np.int64).max), rows.at)
        last = np.maximum.reduceat(np.where(changed, frame, -1), rows.at)
        return [
            Correction(id_, int(rows.ids[run]), int(first[run]), heard.partition, int(heard.offsets[last[run]]))
            for run in np.flatnonzero(last >= 0).tolist()
        ]

    def enter(self, entry: Entry, frame: int, heard: Heard) -> Definition | None:
        """What an owner found goes into the book; how far its rule has been judged then. None, and nothing, if the rule is
        another one now or this was entered before. :class:`Invalid` if it makes no sense."""
        findings = parse(entry.payload)
        rule, set_at = self._rules.get(findings.rule, (None, 0))
        judged = self._judged.get(findings.rule, Judged(0, 0))
        if rule is None or set_at != findings.set_at or findings.round != judged.round + 1:
            return None
        for found in findings.found:
            if found.alert.rule != findings.rule or not -1 <= found.alert.series < len(self._series):
                raise Invalid(Problem(None, "findings", "an alert of another rule, or of a series that is not known"))
        self._book.end_shelves_of_windows(frame)
        for id_ in findings.gone:
            self._book.retract(id_)
        for found in findings.found:
            self._enter(found, frame)
        self.settled += [
            Correction(findings.rule, series, 0, int(partition), offset)
            for series in findings.settled
            for partition, offset in findings.offsets.items()
        ]
        now = self._judged[findings.rule] = Judged(findings.round, findings.until)
        return Definition("judged", findings.rule, msgspec.to_builtins(now), int(heard.log_times[frame]))

    def take_settled(self) -> list[Correction]:
        """The corrections that were judged, since this was last asked."""
        settled, self.settled = self.settled, []
        return settled

    def _enter(self, found: Found, frame: int) -> None:
        alert, known = found.alert, self._book.of_windows.get(found.alert.id)
        if known is None and found.told:
            self._book.put_of_windows(alert)
            return
        if known is None:
            known = msgspec.structs.replace(alert, state="pending", fired_at=None, resolved_at=None)
        known = msgspec.structs.replace(known, peak=alert.peak)
        if alert.fired_at is not None and known.state == "pending":
            known = self._turn(known, "lasted", alert.fired_at, frame, "")
        if alert.resolved_at is not None:
            known = self._turn(known, "cleared", alert.resolved_at, frame, found.why)
        self._book.put_of_windows(known)

    def _turn(self, alert: Alert, event: str, at: Micros, frame: int, why: str) -> Alert:
        after = advance(alert, event, at)
        assert after is not None
        self._book.tell(after, frame, why)
        return after
