"""What must become of alerts, worked out one reading at a time: slow, and obvious."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sonde.alert import alert_id
from sonde.changes import Series
from sonde.clock import SECOND
from sonde.process.silence import PAUSE
from sonde.rule import Rule
from sonde.watch import watch_of
from tests.scenario import Name

Value = float | str
_DONE = {"acknowledge": "acknowledged", "shelve": "shelved"}
_RANK = ("fired", "unshelved", "acknowledged", "shelved", "resolved")


@dataclass
class Seen:
    """A reading as rules see it."""

    name: Name
    time: int
    value: Value
    late: bool
    old: bool


class SlowAlerts:
    """``alerts`` by id; ``events`` as (offset, time, alert, event)."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.alerts: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[int, int, str, str]] = []
        self._set_at: dict[str, int] = {}
        self._tracks: dict[tuple[str, Name, bool], dict[str, Any]] = {}
        self._before: dict[Name, tuple[int, Value]] = {}
        self._arrived: dict[Name, int] = {}
        self._heard = self._now = self._offset = 0

    def begin(self, offset: int, log_time: int) -> None:
        """A frame comes."""
        if log_time - self._now > PAUSE:
            self._heard = log_time
        self._now, self._offset = log_time, offset
        for alert in self.alerts.values():
            until = alert.get("until")
            if alert["state"] == "shelved" and until is not None and until <= log_time:
                alert.update(state="firing", until=None)
                self._tell(alert, "unshelved", until)

    def set_rule(self, id_: str, body: Any) -> None:
        rule = Rule.parse(body) if body is not None else None
        before = self.rules.get(id_)
        if rule == before:
            return
        self.rules.pop(id_, None)
        if rule is not None:
            self.rules[id_], self._set_at[id_] = rule, self._now
        goes_on = rule is not None and before is not None and rule.type == before.type
        for key in [k for k in self._tracks if k[0] == id_]:
            track = self._tracks[key]
            if key[2] or track["state"] == "pending" or not goes_on:
                del self._tracks[key]
                if not key[2] and track["state"] == "pending":
                    del self.alerts[track["id"]]
                elif not key[2]:
                    self._resolve(track, self._now)

    def acknowledge(self, payload: Any) -> None:
        alert = self.alerts.get(payload["alert"])
        if alert is not None and alert["state"] not in {"pending", "resolved"}:
            until = payload.get("until") if payload["action"] == "shelve" else None
            if until is not None and until <= self._now:
                return
            alert.update(state=_DONE[payload["action"]], until=until)
            self._tell(alert, alert["state"], self._now)

    def take(self, seen: list[Seen]) -> None:
        """The readings of the frame, by time."""
        neighbours: dict[Name, tuple[int, Value]] = {}  # late ones of this frame
        for one in seen:
            before = neighbours.get(one.name) if one.late else self._before.get(one.name)
            (neighbours if one.late else self._before)[one.name] = one.time, one.value
            for rule in self.rules.values():
                if rule.metric == one.name[1]:
                    value = _looked_at(rule, one, before)
                    if value is not None:
                        self._drive(rule, one, np.array([value]))
        for name in dict.fromkeys(one.name for one in seen if not one.late):
            self._arrive(name)

    def end(self) -> None:
        """The frame has been taken in."""
        for rule in self._waiting():
            for name in self._arrived:
                if rule.metric == name[1] and (rule.id, name, False) not in self._tracks:
                    self._be_silent(rule, name)

    def _waiting(self) -> list[Rule]:
        return [rule for rule in self.rules.values() if rule.type == "no_data"]

    def _arrive(self, name: Name) -> None:
        for rule in self._waiting():
            if rule.metric == name[1]:
                if name in self._arrived and (rule.id, name, False) not in self._tracks:
                    self._be_silent(rule, name)
                track = self._tracks.pop((rule.id, name, False), None)
                if track is not None:
                    self._resolve(track, self._now)
        self._arrived[name] = self._now

    def _be_silent(self, rule: Rule, name: Name) -> None:
        begun = max(self._arrived[name], self._heard, self._set_at[rule.id])
        fired = begun + round(rule.duration * SECOND)
        if fired <= self._now:
            track = self._open(rule, name, begun, None, late=False, old=False)
            self.alerts[track["id"]] = track
            track.update(state="firing", fired=fired)
            self._tell(track, "fired", fired)

    def _drive(self, rule: Rule, one: Seen, value: Any) -> None:
        watch, key = watch_of(rule), (rule.id, one.name, one.late)
        track = self._tracks.get(key)
        if one.late and track is not None and one.time < track["last"]:
            track = self._tracks.pop(key) and None
        holds, number = bool(watch.holds(rule, value)[0]), None if rule.type == "equals" else float(value[0])
        if track is None and holds:
            track = self._open(rule, one.name, one.time, number, one.late, one.old)
        if track is None:
            return
        pending, cleared = track["fired"] is None, bool(watch.cleared(rule, value)[0])
        if (pending and not holds) or (not pending and cleared):
            del self._tracks[key]
            if pending and not one.late:
                self.alerts.pop(track["id"], None)
            elif not pending and one.late:
                track.update(state="resolved", resolved=track["last"])
            elif not pending:
                self._resolve(track, one.time)
            return
        track["last"] = one.time
        if number is not None and watch.excess(rule, value)[0] > watch.excess(rule, np.array([track["peak"]]))[0]:
            track["peak"] = number
        if pending and one.time >= track["since"] + rule.duration * SECOND:
            track.update(state="firing", fired=one.time)
            self._tell(track, "fired", one.time)
        if one.late and track["fired"] is not None:
            track.update(state="resolved", resolved=one.time)
        if not one.late or track["fired"] is not None:
            self.alerts[track["id"]] = track

    def _open(self, rule: Rule, name: Name, since: int, value: float | None, late: bool, old: bool) -> dict[str, Any]:
        id_ = alert_id(rule.id, Series(0, *name, "", "", "{}"), since, late)
        track = {"id": id_, "state": "pending", "since": since, "value": value, "peak": value, "until": None}
        track.update(fired=None, resolved=None, old=old or late)
        self._tracks[rule.id, name, late] = track
        return track

    def _resolve(self, track: dict[str, Any], at: int) -> None:
        track.update(state="resolved", resolved=at, until=None)
        self._tell(track, "resolved", at)

    def _tell(self, alert: dict[str, Any], event: str, time: int) -> None:
        self.events.append((self._offset, time, alert["id"], event))

    def in_order(self) -> list[tuple[int, int, str, str]]:
        return sorted(self.events, key=lambda e: (*e[:3], _RANK.index(e[3])))


def _looked_at(rule: Rule, one: Seen, before: tuple[int, Value] | None) -> float | None:
    """What a rule sees of a reading, if it looks at it."""
    if rule.type == "no_data":
        return None
    if rule.type == "equals":
        return float(one.value == rule.text) if isinstance(one.value, str) else None
    if isinstance(one.value, str):
        return None
    if rule.type != "rate":
        return one.value
    if before is None or isinstance(before[1], str) or before[0] == one.time:
        return None
    return (one.value - before[1]) / (one.time - before[0]) * ((rule.per or 0) * SECOND)
