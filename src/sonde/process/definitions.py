"""What results depend on, as the log last said it: rules, profiles, settings, floors."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sonde.changes import Definition
from sonde.clock import DAY, SECOND, Micros
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid, Problem
from sonde.profile import Profile
from sonde.removal import Floor
from sonde.rule import Rule
from sonde.window import DEFAULT_WIDTHS

_MAX_WIDTH: Final = 31 * 86_400
_KINDS: Final = {
    EntryKind.PROFILE: "profile",
    EntryKind.RULE: "rule",
    EntryKind.SETTINGS: "settings",
    EntryKind.EXPIRY: "floor",
}


class Settings(msgspec.Struct, frozen=True):
    """``windows``: widths in seconds; ``future_limit``: seconds that a reading's time may be ahead of its frame's."""

    windows: tuple[int, ...] = DEFAULT_WIDTHS
    future_limit: float = DAY / SECOND


class Definitions:
    """The rules, profiles, settings and floors in force. A floor only rises."""

    def __init__(self, known: Iterable[Definition] = ()) -> None:
        self.rules: dict[str, Rule] = {}
        self.profiles: dict[str, Profile] = {}
        self.settings = Settings()
        self._bodies: dict[tuple[str, str], tuple[Any, str]] = {}
        for definition in known:
            self._set(definition)

    def changes(self, entry: Entry) -> bool:
        """Whether ``entry`` says something new of what results depend on."""
        try:
            definition = _parse(entry, 0)
        except Invalid:
            return False
        return definition is not None and not self._knows(definition)

    def apply(self, entry: Entry, log_time: Micros) -> Definition | None:
        """Put ``entry`` in force; what it changed, if anything. :class:`Invalid` if it makes no sense."""
        definition = _parse(entry, log_time)
        if definition is None or self._knows(definition):
            return None
        self._set(definition)
        return definition

    def _knows(self, definition: Definition) -> bool:
        known = self._bodies.get((definition.kind, definition.name), (None, ""))
        if definition.kind == "floor" and known[0] is not None:
            return bool(known[0]["before"] >= definition.body["before"])
        return bool(known == (definition.body, definition.source))

    def _set(self, definition: Definition) -> None:
        self._bodies[definition.kind, definition.name] = definition.body, definition.source
        match definition.kind:
            case "rule":
                self.rules.pop(definition.name, None)
                if definition.body is not None:
                    self.rules[definition.name] = Rule.parse(definition.body)
            case "profile":
                self.profiles[definition.name] = msgspec.convert(definition.body, Profile)
            case "settings":
                self.settings = msgspec.convert(definition.body, Settings)


def _parse(entry: Entry, log_time: Micros) -> Definition | None:
    """The definition in ``entry``, none if it is of another kind; :class:`Invalid` if it makes no sense."""
    kind = _KINDS.get(EntryKind(entry.kind))
    if kind is None:
        return None
    try:
        name, body = _PARSERS[kind](entry.payload)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, kind, str(error))) from None
    return Definition(kind, name, body, log_time, entry.source if kind == "profile" else "")


class _RuleEntry(msgspec.Struct):
    id: str
    rule: dict[str, Any] | None


def _rule(payload: Any) -> tuple[str, Any]:
    entry = msgspec.convert(payload, _RuleEntry)
    if entry.rule is not None and Rule.parse(entry.rule).id != entry.id:
        raise Invalid(Problem(None, "rule.id", f"{entry.id!r} is set to a rule with another id"))
    return entry.id, entry.rule


def _profile(payload: Any) -> tuple[str, Any]:
    return msgspec.convert(payload, Profile).device, payload


def _settings(payload: Any) -> tuple[str, Any]:
    settings = msgspec.convert(payload, Settings)
    if not all(0 < width <= _MAX_WIDTH for width in settings.windows) or len(settings.windows) > 16:
        raise Invalid(Problem(None, "windows", f"at most 16 widths of 1 to {_MAX_WIDTH} seconds"))
    if not 0 <= settings.future_limit <= _MAX_WIDTH:
        raise Invalid(Problem(None, "future_limit", f"0 to {_MAX_WIDTH} seconds"))
    return "settings", payload


def _floor(payload: Any) -> tuple[str, Any]:
    floor = Floor.parse(payload)
    return floor.name, {"before": floor.before}


_PARSERS: Final = {"rule": _rule, "profile": _profile, "settings": _settings, "floor": _floor}
