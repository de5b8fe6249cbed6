"""What results depend on, as the log last said it: rules, profiles, settings, floors.

Of a rule the newest statement counts, whoever made it. What the configuration last said of it is remembered beside that, so
that a restart with the same configuration does not undo what was changed through the api.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sonde.changes import Definition
from sonde.clock import DAY, SECOND, Micros
from sonde.entry import CONFIG, Entry, EntryKind
from sonde.errors import Invalid, Problem
from sonde.judgement import Judged
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
    """``windows``: widths in seconds; ``future_limit``: seconds that a reading's time may be ahead of its frame's;
    ``partitions``: how many the log had when it came into use, if that could ever change."""

    windows: tuple[int, ...] = DEFAULT_WIDTHS
    future_limit: float = DAY / SECOND
    partitions: int | None = None


class Definitions:
    """The rules, profiles, settings and floors in force. A floor only rises."""

    def __init__(self, known: Iterable[Definition] = ()) -> None:
        self.rules: dict[str, Rule] = {}
        self.profiles: dict[str, Profile] = {}
        self.settings = Settings()
        self.set_at: dict[str, Micros] = {}  # log time, of each rule
        self.judged: dict[str, Judged] = {}  # how far each rule over windows was judged, at the start
        self.floors: dict[str, Micros] = {}
        self._bodies: dict[tuple[str, str], tuple[Any, str]] = {}
        for definition in known:
            self._set(definition)

    def changes(self, entry: Entry) -> bool:
        """Whether ``entry`` says something new of what results depend on."""
        try:
            definitions = _parse(entry, 0)
        except Invalid:
            return False
        return any(not self._knows(definition) for definition in definitions)

    def apply(self, entry: Entry, log_time: Micros) -> list[Definition]:
        """Put ``entry`` in force; what it changed. :class:`Invalid` if it makes no sense."""
        changed = [definition for definition in _parse(entry, log_time) if not self._knows(definition)]
        for definition in changed:
            self._set(definition)
        return changed

    def _knows(self, definition: Definition) -> bool:
        known = self._bodies.get((definition.kind, definition.name), (None, ""))
        if definition.kind == "floor" and known[0] is not None:
            return bool(known[0]["before"] >= definition.body["before"])
        return bool(known == (definition.body, _owner(definition)))

    def _set(self, definition: Definition) -> None:
        self._bodies[definition.kind, definition.name] = definition.body, _owner(definition)
        match definition.kind:
            case "rule":
                self.rules.pop(definition.name, None)
                if definition.body is not None:
                    self.rules[definition.name] = Rule.parse(definition.body)
                    self.set_at[definition.name] = definition.log_time
            case "profile":
                self.profiles[definition.name] = msgspec.convert(definition.body, Profile)
            case "floor":
                self.floors[definition.name] = int(definition.body["before"])
            case "settings":
                self.settings = msgspec.convert(definition.body, Settings)
            case "judged":
                self.judged[definition.name] = msgspec.convert(definition.body, Judged)


def _owner(definition: Definition) -> str:
    """Whom a profile is of; who said a rule makes no difference to what it means."""
    return definition.source if definition.kind == "profile" else ""


def _parse(entry: Entry, log_time: Micros) -> list[Definition]:
    """What ``entry`` defines, nothing if it is of another kind; :class:`Invalid` if it makes no sense."""
    kind = _KINDS.get(EntryKind(entry.kind))
    if kind is None:
        return []
    try:
        name, body = _PARSERS[kind](entry.payload)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, kind, str(error))) from None
    if kind != "rule":
        return [Definition(kind, name, body, log_time, entry.source if kind == "profile" else "")]
    rule = Definition(kind, name, body, log_time, entry.source, entry.payload.get("who", ""))
    asserted = [Definition("asserted", name, body, log_time)] if entry.source == CONFIG else []
    return [rule, *asserted]


class _RuleEntry(msgspec.Struct):
    id: str
    rule: dict[str, Any] | None
    who: str = ""


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
    if settings.partitions is not None and settings.partitions < 1:
        raise Invalid(Problem(None, "partitions", "a log has at least one"))
    if not 0 <= settings.future_limit <= _MAX_WIDTH:
        raise Invalid(Problem(None, "future_limit", f"0 to {_MAX_WIDTH} seconds"))
    return "settings", payload


def _floor(payload: Any) -> tuple[str, Any]:
    floor = Floor.parse(payload)
    return floor.name, {"before": floor.before}


_PARSERS: Final = {"rule": _rule, "profile": _profile, "settings": _settings, "floor": _floor}
