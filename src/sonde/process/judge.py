"""The owner of the rules over windows: judges closed windows in the store, and writes what it finds into the log.

There is one, whoever processes which partition: windows of a zone come together only in the store. What it decides depends
on what it sees, but once it stands in the log it is a fact, which a rebuild repeats. It keeps nothing: where it stands, what
is open, and what late data has changed since, it asks the store.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pyarrow as pa
import structlog

from sonde.changes import Alert, Series
from sonde.clock import Clock, Micros, SystemClock
from sonde.entry import Entry, EntryKind
from sonde.errors import Hold, Invalid, Retry
from sonde.judgement import (
    Findings,
    Found,
    Group,
    Judged,
    aligned,
    closed_until,
    correct,
    groups_of,
    is_quiet,
    judge,
    look_back,
    width_of,
)
from sonde.ports import Store
from sonde.question import AlertsOf, Corrections, Defined, Folded, Question, Reached
from sonde.reading import NAMES, TIME
from sonde.routing import CONTROL
from sonde.rule import Rule

_log = structlog.get_logger()
SOURCE: Final = "judge"
_LOOK_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 2.0
_AT_ONCE: Final = 100  # windows of each series, zone or site that are judged in one go
_MOST_AGAIN: Final = 300_000  # windows of all that are judged again in one go

Record = Callable[[Sequence[Entry], int | None], Mapping[int, int]]
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """How far the store is."""

    offsets: Mapping[int, int]
    log_time: Micros


class Judge:
    """``record`` puts entries into a partition of the log; the findings go into the first."""

    def __init__(self, store: Store, record: Record, *, clock: Clock | None = None) -> None:
        self._store, self._record = store, record
        self._clock = clock or SystemClock()
        self._awaited: Mapping[int, int] = {}  # offsets of findings that the store has to know before there are more
        self._refused: set[tuple[str, Micros]] = set()

    def run(self, stop: threading.Event, wanted: Callable[[], bool]) -> None:
        """Judge until ``stop``, as long as it is ``wanted``."""
        seconds = _LOOK_SECONDS
        while not self._clock.wait(stop, seconds):
            seconds = _LOOK_SECONDS
            try:
                if wanted():
                    self.step()
            except (Retry, Hold) as error:
                _log.warning("judging_waits", event_name="judge.waits", problem=str(error))
                seconds = _RETRY_SECONDS
            except Exception:  # a mistake of ours: nothing is lost by it, the windows are still there
                _log.exception("judging_failed", event_name="judge.failed")
                seconds = _RETRY_SECONDS

    def step(self) -> bool:
        """Judge what has closed or was changed since, in bounded portions; whether there was something to say."""
        place = self._place()
        if any(place.offsets.get(partition, 0) <= offset for partition, offset in self._awaited.items()):
            return False
        changed = _rows(self._ask(Corrections()))
        entries = []
        for rule, set_at, judged in self._rules():
            theirs = [row for row in changed if row["rule"] == rule.id]
            findings = self._findings(rule, set_at, judged, place, theirs)
            if findings is not None:
                payload = msgspec.to_builtins(findings)
                entries.append(Entry(EntryKind.FINDINGS, SOURCE, payload=payload))
        if entries:
            self._awaited = self._record(entries, CONTROL)
        return bool(entries)

    def _place(self) -> _Place:
        answer = self._store.ask(Reached())
        mine = [row for row in _rows(answer.rows) if row["log"] == answer.cursor.log]
        log_time = min((row["log_time"] for row in mine), default=0)
        return _Place({row["partition"]: row["next_offset"] for row in mine}, log_time)

    def _rules(self) -> Iterator[tuple[Rule, Micros, Judged | None]]:
        """The rules over windows, when each was set, and how far it was judged."""
        rows = _rows(self._ask(Defined(("judged", "rule"))))
        judged = {r["name"]: msgspec.json.decode(r["body"], type=Judged) for r in rows if r["kind"] == "judged"}
        for row in rows:
            if row["kind"] == "rule":
                rule = Rule.parse(msgspec.json.decode(row["body"]))
                if rule.window is not None:
                    yield rule, row["log_time"], judged.get(rule.id)

    def _findings(
        self, rule: Rule, set_at: Micros, judged: Judged | None, place: _Place, changed: list[dict[str, Any]]
    ) -> Findings | None:
        since = judged.until if judged is not None else aligned(rule, set_at)
        until = min(closed_until(rule, place.log_time), since + _AT_ONCE * width_of(rule))
        if until <= since and not changed:
            return None
        again = _Again(rule, aligned(rule, set_at), since, max(since, until), changed)
        known = self._known(rule, again)
        try:
            findings = self._judge_again(rule, again, known, place)
            if until > since:
                self._judge_new(rule, (since, until), again, known, place, findings)
        except Invalid as error:
            if (rule.id, set_at) not in self._refused:
                self._refused.add((rule.id, set_at))
                _log.error("rule_not_judged", event_name="judge.rule_refused", rule=rule.id, problem=str(error))
            return None
        findings.until, findings.set_at = max(since, until), set_at
        findings.round = (judged.round if judged is not None else 0) + 1
        findings.series = [one for one in dict.fromkeys(findings.series) if one.id >= 0]
        findings.offsets = {str(partition): offset for partition, offset in place.offsets.items()}
        return findings

    def _known(self, rule: Rule, again: "_Again") -> Mapping[Key, list[Alert]]:
        """The alerts of the rule that may matter, by series, zone or site."""
        found: dict[Key, list[Alert]] = {}
        for row in _rows(self._ask(AlertsOf(rule.id, again.oldest))):
            alert = Alert(**row)
            found.setdefault(_key(rule, alert.series, alert.metric, alert.site, alert.zone), []).append(alert)
        return found

    def _judge_new(
        self,
        rule: Rule,
        span: tuple[Micros, Micros],
        again: "_Again",
        known: Mapping[Key, list[Alert]],
        place: _Place,
        findings: Findings,
    ) -> None:
        """Drive alerts over the windows that closed."""
        for group in groups_of(rule, self._ask(Folded(rule, *span))):
            key = _key_of(rule, group.series)
            open_ = next((alert for alert in known.get(key, ()) if alert.state != "resolved"), None)
            if key in again.chosen or (open_ is None and is_quiet(rule, group.value)):
                continue
            findings.series.append(group.series)
            for id_, alert in judge(rule, group, open_, place.log_time).changed.items():
                if alert is None:
                    findings.gone.append(id_)
                else:
                    findings.found.append(Found(alert))

    def _judge_again(self, rule: Rule, again: "_Again", known: Mapping[Key, list[Alert]], place: _Place) -> Findings:
        """Correct what was found in windows that late data has changed since."""
        findings = Findings(rule.id, 0, 0, 0, {}, [], [], [], again.named())
        starts = again.choose(known)
        if not starts:
            return findings
        findings.settled = sorted(again.settled)
        table = self._ask(Folded(rule, min(starts.values()), again.until, tuple(findings.settled)))
        groups = {_key_of(rule, group.series): group for group in groups_of(rule, table)}
        for key, start in starts.items():
            group = groups.get(key)
            if group is None:
                continue
            later = group.start >= start
            outcome = judge(rule, Group(group.series, group.start[later], group.value[later]), None, place.log_time)
            right = {id_: alert for id_, alert in outcome.changed.items() if alert is not None}
            touched = [a for a in known.get(key, ()) if a.resolved_at is None or a.resolved_at >= start]
            corrected = correct(touched, right, again.until)
            findings.series.append(group.series)
            findings.found += corrected.found
            findings.gone += corrected.gone
        return findings

    def _ask(self, question: Question) -> pa.Table:
        return self._store.ask(question).rows


class _Again:
    """What of a rule's windows has to be judged again, up to ``until``: those that changed, and with them those from ``new``
    on, which never were judged. Of ``base`` on the rule was in force."""

    def __init__(self, rule: Rule, base: Micros, new: Micros, until: Micros, changed: Sequence[dict[str, Any]]) -> None:
        self._rule, self._base, self.until = rule, base, until
        self._starts: dict[Key, Micros] = {}
        self._series: dict[Key, set[int]] = {}
        self._names: dict[int, Series] = {}
        for row in changed:
            key = _key(rule, row["id"], row["metric"], row["site"], row["zone"])
            self._starts[key] = min(row["start"], self._starts.get(key, new))
            self._series.setdefault(key, set()).add(row["id"])
            self._names[row["id"]] = Series(row["id"], *(row[name] for name in NAMES))
        oldest = min(self._starts.values(), default=until)
        self.oldest = max(base, look_back(rule, oldest, ()) - width_of(rule))
        self.chosen: set[Key] = set()
        self.settled: set[int] = set()

    def named(self) -> list[Series]:
        """The series of which windows changed."""
        return list(self._names.values())

    def choose(self, known: Mapping[Key, list[Alert]]) -> Mapping[Key, Micros]:
        """From where each series, zone or site is to be judged: as many as may be in one go, at least one."""
        starts: dict[Key, Micros] = {}
        windows = 0
        for key, start in self._starts.items():
            since = max(self._base, look_back(self._rule, start, known.get(key, ())))
            windows += max(0, self.until - since) // width_of(self._rule)
            if starts and windows > _MOST_AGAIN:
                break
            starts[key] = since
            self.chosen.add(key)
            self.settled |= self._series[key]
        return starts


def _key(rule: Rule, series: int, metric: str, site: str, zone: str) -> Key:
    match rule.across:
        case "series":
            return (series,)
        case "zone":
            return (metric, site, zone)
        case "site":
            return (metric, site)


def _key_of(rule: Rule, series: Series) -> Key:
    return _key(rule, series.id, series.metric, series.site, series.zone)


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with their times in microseconds."""
    plain = {n: table[n].cast(pa.int64()) if table[n].type == TIME else table[n] for n in table.column_names}
    return list(pa.table(plain).to_pylist())
