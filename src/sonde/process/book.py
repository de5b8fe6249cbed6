"""The book of alerts: those that are open, and what becomes of them in a step."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sonde.alert import TRANSITIONS, Outcome, advance, from_trace, trace_of
from sonde.changes import Alert, AlertEvent, Purge
from sonde.clock import Micros
from sonde.entry import Entry
from sonde.process.heard import Heard

Ints = npt.NDArray[np.int64]
Track = tuple[str, int]  # rule, series
_ACTIONS: Final = {"acknowledge": "acknowledged", "shelve": "shelved"}
_REMOVED: Final = "the rule was changed or removed"


class Book:
    """All alerts that are not resolved: of readings by rule and series, of windows by id; and the late stretches that may
    still go on. ``windowed`` are the rules that look at windows."""

    def __init__(self, alerts: Iterable[Alert], windowed: Collection[str]) -> None:
        self.open: dict[Track, Alert] = {}
        self.stretches: dict[Track, Alert] = {}
        self.of_windows: dict[str, Alert] = {}
        self._heard = Heard(0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._changed: dict[str, Alert | None] = {}
        self._events: list[AlertEvent] = []
        for alert in alerts:
            stretch = from_trace(alert)
            if stretch is not None:
                self.stretches[alert.rule, alert.series] = stretch
            elif alert.rule in windowed:
                self.of_windows[alert.id] = alert
            else:
                self.open[alert.rule, alert.series] = alert

    def begin(self, heard: Heard) -> None:
        """A new step, of these frames."""
        self._heard = heard

    def take(self, track: Track, outcome: Outcome, frames: Ints) -> None:
        """What became of an alert that is driven forward; ``frames`` are the numbers of the frames of what drove it."""
        self._changed.update(outcome.changed)
        _keep(self.open, track, outcome.open)
        for at, alert in outcome.turns:
            self.tell(alert, int(frames[at]))

    def take_late(self, track: Track, outcome: Outcome, frames: Ints) -> None:
        """What became of a stretch of late readings."""
        self._changed.update(outcome.changed)
        _keep(self.stretches, track, outcome.open)
        for at, alert in outcome.turns:
            self.tell(alert, int(frames[at]))

    def put(self, track: Track, alert: Alert) -> None:
        """An alert that has changed; it is no longer open if it is resolved."""
        self._changed[alert.id] = alert
        _keep(self.open, track, None if alert.state == "resolved" else alert)

    def put_of_windows(self, alert: Alert) -> None:
        """The same for an alert of a rule over windows."""
        self._changed[alert.id] = alert
        if alert.state == "resolved":
            self.of_windows.pop(alert.id, None)
        else:
            self.of_windows[alert.id] = alert

    def retract(self, id_: str) -> None:
        """An alert of a rule over windows came to nothing."""
        self._changed[id_] = None
        self.of_windows.pop(id_, None)

    def tell(self, alert: Alert, frame: int, why: str = "") -> None:
        """An alert began to fire or was resolved, by a frame of this step."""
        fired = alert.state == "firing"
        time = alert.fired_at if fired else alert.resolved_at
        self._write(alert.id, "fired" if fired else "resolved", frame, time or 0, why=why)

    def acknowledge(self, entry: Entry, frame: int) -> None:
        """Acknowledge or shelve an alert that is open; one that is over stays as it is."""
        payload: dict[str, Any] = entry.payload if isinstance(entry.payload, dict) else {}
        action, alert = payload.get("action"), self._find(payload.get("alert"))
        if alert is None or action not in _ACTIONS or (alert.state, action) not in TRANSITIONS:
            return
        given = payload.get("until")
        until = given if action == "shelve" and isinstance(given, int) else None
        log_time = int(self._heard.log_times[frame])
        if until is not None and until <= log_time:
            return  # a shelf that is over already
        after = advance(alert, action, until)
        assert after is not None
        self._replace(alert, after)
        said = {name: text if isinstance(text := payload.get(name), str) else "" for name in ("who", "why")}
        self._write(alert.id, _ACTIONS[action], frame, log_time, until=until, **said)

    def drop_rule(self, rule: str, keeps: Collection[Track], keeps_of_windows: bool, frame: int) -> None:
        """A rule was changed or removed: what is pending under it starts anew, what fires is resolved, but for the tracks
        that it still watches as before."""
        log_time = int(self._heard.log_times[frame])
        for track in [t for t in self.stretches if t[0] == rule]:
            self._changed[trace_of(self.stretches.pop(track)).id] = None
        for track, alert in [(t, a) for t, a in self.open.items() if t[0] == rule]:
            if alert.state == "pending" or track not in keeps:
                del self.open[track]
                self._end(alert, log_time, frame)
        for alert in [a for a in self.of_windows.values() if a.rule == rule]:
            if alert.state == "pending" or not keeps_of_windows:
                del self.of_windows[alert.id]
                self._end(alert, log_time, frame)

    def purge(self, purge: Purge) -> None:
        """Forget the alerts, open or in the making, whose opening reading is purged."""
        for track, stretch in [*self.stretches.items()]:
            if _takes(purge, stretch):
                self._changed[trace_of(self.stretches.pop(track)).id] = None
        for track, alert in [*self.open.items()]:
            if _takes(purge, alert):
                self._changed[self.open.pop(track).id] = None
        for alert in [*self.of_windows.values()]:
            if _takes(purge, alert):
                self.retract(alert.id)
        for id_, changed in [*self._changed.items()]:
            if changed is not None and _takes(purge, changed):
                self._changed[id_] = None
        self._events = [event for event in self._events if self._changed.get(event.alert, event) is not None]

    def shelf_end(self, alert: Alert | None) -> int | None:
        """The number of the frame of this step at which the shelf of ``alert`` ends, if it does."""
        if alert is None or alert.state != "shelved" or alert.shelved_until is None:
            return None
        frame = self._heard.first_after(alert.shelved_until)
        return frame if frame < len(self._heard) else None

    def end_shelf(self, alert: Alert | None, frame: int) -> None:
        """End the shelf of ``alert``, if it is shelved until then."""
        end = self.shelf_end(alert)
        if alert is None or end is None or end > frame:
            return
        after = advance(alert, "shelf ended", alert.since)
        assert after is not None
        self._replace(alert, after)
        self._write(alert.id, "unshelved", end, alert.shelved_until or 0)

    def end_shelves(self, frame: int) -> None:
        """End all shelves that end up to a frame."""
        for alert in [alert for alert in self.alerts() if alert.state == "shelved"]:
            self.end_shelf(alert, frame)

    def end_shelves_of_windows(self, frame: int) -> None:
        """The same, of the rules over windows alone."""
        for alert in [*self.of_windows.values()]:
            self.end_shelf(alert, frame)

    def alerts(self) -> Iterator[Alert]:
        """All that are open."""
        yield from self.open.values()
        yield from self.of_windows.values()

    def take_changed(self) -> tuple[list[Alert], list[str], list[AlertEvent]]:
        """What changed since this was last asked: rows to set, ids of what came to nothing, and what happened."""
        changed, self._changed = self._changed, {}
        events, self._events = self._events, []
        gone = [id_ for id_, alert in changed.items() if alert is None]
        return [a for a in changed.values() if a is not None], gone, sorted(events, key=lambda event: event.order)

    def count(self) -> Mapping[tuple[str, str], int]:
        """Open alerts, those pending left out, by severity and state."""
        found: dict[tuple[str, str], int] = {}
        for alert in self.alerts():
            if alert.state != "pending":
                found[alert.severity, alert.state] = found.get((alert.severity, alert.state), 0) + 1
        return found

    def has_shelves(self) -> bool:
        return any(alert.shelved_until is not None for alert in self.alerts())

    def _find(self, id_: object) -> Alert | None:
        return next((alert for alert in self.alerts() if alert.id == id_), None)

    def _replace(self, before: Alert, after: Alert) -> None:
        if before.id in self.of_windows:
            self.put_of_windows(after)
        else:
            self.put((before.rule, before.series), after)

    def _end(self, alert: Alert, log_time: Micros, frame: int) -> None:
        after = self._changed[alert.id] = advance(alert, "rule removed", log_time)
        if after is not None:
            self.tell(after, frame, _REMOVED)

    def _write(self, alert: str, event: str, frame: int, time: Micros, **more: Any) -> None:
        heard = self._heard
        place = heard.partition, int(heard.offsets[frame]), int(heard.log_times[frame])
        self._events.append(AlertEvent(*place, alert, event, time, **more))


def _takes(purge: Purge, alert: Alert) -> bool:
    of_it = purge.series is None or alert.series in purge.series
    return of_it and (purge.before is None or alert.since < purge.before)


def _keep(kept: dict[Track, Alert], track: Track, alert: Alert | None) -> None:
    if alert is not None:
        kept[track] = alert
    else:
        kept.pop(track, None)
