"""All rules of a processor: those over readings, those that wait for data, those over windows, and their alerts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sonde.changes import Correction, Definition, Progress, Purge, Series, State
from sonde.clock import Micros
from sonde.entry import Entry, EntryKind
from sonde.process.alerting import Alerting
from sonde.process.book import Book
from sonde.process.definitions import Definitions
from sonde.process.heard import Heard
from sonde.process.latest import Latest
from sonde.process.ledger import Place
from sonde.process.rows import Rows
from sonde.process.silence import Silence
from sonde.process.windowed import Windowed
from sonde.rule import Rule


class Alarms:
    """One step goes: ``begin``, its entries one by one, its readings (``run``), ``end``."""

    def __init__(self, state: State, definitions: Definitions, latest: Latest, progress: Progress) -> None:
        rules, series = definitions.rules, sorted(state.series)
        self.book = Book(state.alerts, {id_ for id_, rule in rules.items() if rule.window is not None})
        self.windowed = Windowed(self.book, series, definitions.judged)
        self._latest = latest
        self._series = list(series)
        self._rules = dict(rules)
        self._heard = Heard(progress.partition, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._alerting = Alerting(series, rules, self.book)
        self._silence = Silence(self.book, series, latest, progress.heard_since, progress.log_time)
        for id_, rule in rules.items():
            self._silence.set_rule(id_, rule, definitions.set_at[id_])
            self.windowed.set_rule(id_, rule, definitions.set_at[id_])

    @property
    def heard_since(self) -> Micros:
        """Frames have come without a pause since this log time."""
        return self._silence.heard_since

    @property
    def waits(self) -> bool:
        """Whether a rule, or a shelf, needs to know that time goes on."""
        return self._silence.waits or self.windowed.waits or self.book.has_shelves()

    def learn(self, series: Sequence[Series]) -> None:
        """Take in new series."""
        self._series += series
        self._alerting.learn(series)
        self._silence.learn(series)
        self.windowed.learn(series)

    def begin(self, heard: Heard) -> None:
        """A new step, of these frames."""
        self._heard = heard
        self.book.begin(heard)
        self._silence.begin(heard)

    def apply(self, entry: Entry, place: Place) -> list[Definition]:
        """Take in an acknowledgement, or what the owner of a rule over windows found; what that defines."""
        frame = self._heard.at(place.offset)
        if entry.kind == EntryKind.ACKNOWLEDGEMENT:
            self._come_to(frame)
            self.book.acknowledge(entry, frame)
        elif entry.kind == EntryKind.FINDINGS:
            judged = self.windowed.enter(entry, frame, self._heard)
            return [judged] if judged is not None else []
        return []

    def set_rule(self, id_: str, rule: Rule | None, place: Place) -> list[Definition]:
        """Put a rule in force, or take it away; what that defines besides. What is pending under it starts anew; what fires
        for a series that it does not watch any more, or in another way, is resolved."""
        frame = self._heard.at(place.offset)
        self._come_to(frame)
        before = self._rules.pop(id_, None)
        if rule is not None:
            self._rules[id_] = rule
        alike = before is not None and rule is not None and _way(before) == _way(rule)
        keeps = {
            track
            for track in self.book.open
            if track[0] == id_ and alike and rule is not None and rule.watches(self._series[track[1]])
        }
        same = alike and before is not None and rule is not None and _patterns(before) == _patterns(rule)
        self.book.drop_rule(id_, keeps, same, frame)
        self._alerting.set_rule(id_, rule)
        self._silence.set_rule(id_, rule, place.log_time)
        forgotten = self.windowed.forget(id_)
        self.windowed.set_rule(id_, rule, place.log_time)
        return [forgotten] if forgotten is not None else []

    def purge(self, purge: Purge) -> None:
        """Forget the alerts, open or in the making, whose opening reading is purged, and what is newest of the series."""
        self.book.purge(purge)
        self._silence.purge(purge)

    def run(self, rows: Rows, late: npt.NDArray[np.bool_], heard: Heard) -> list[Correction]:
        """Look at a step's readings; which closed windows they change."""
        self._alerting.run(rows, late, heard, self._latest)
        self._silence.arrive(rows, late)
        return self.windowed.corrections(rows, heard)

    def end(self) -> None:
        """All frames of the step have been taken in."""
        self._silence.wait(len(self._heard))
        self.book.end_shelves(len(self._heard) - 1)

    def _come_to(self, frame: int) -> None:
        """The frames before this one came, with no readings in them: so it is where entries change what holds."""
        self._silence.wait(frame)
        self.book.end_shelves(frame)


def _way(rule: Rule) -> tuple[object, ...]:
    """What must be the same for an open alert to go on under a changed rule."""
    return rule.type, rule.window, rule.of, rule.across


def _patterns(rule: Rule) -> tuple[str, ...]:
    return rule.metric, rule.device, rule.site, rule.zone
