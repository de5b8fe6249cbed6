"""Alert rules: what they watch, and what makes sense. How they judge values is in :mod:`sonde.watch`.

A rule is an entry in the log, so its form is part of the format.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, Self

import msgspec
import numpy as np
import numpy.typing as npt

from sonde.changes import Series
from sonde.errors import Invalid, Problem
from sonde.moment import format_span

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Severity = Literal["info", "warning", "critical"]
Of = Literal["avg", "min", "max", "sum", "count", "last"]
Across = Literal["series", "zone", "site"]

MAX_ID: Final = 64
MAX_TEXT: Final = 500
MAX_DURATION: Final = 30 * 86_400.0
MAX_WINDOW: Final = 86_400
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_FIELDS: Final = (
    *("rule", "device", "metric", "site", "zone", "labels", "place", "type", "value", "threshold", "severity"),
    *("duration", "per", "of", "window"),
)
_SAID: Final[Mapping[str, str]] = {
    "equals": "{metric} of {place} is {value}",
    "rate": "{metric} of {place} changes by {value} in {per}, the limit is {threshold}",
    "no_data": "{metric} of {place}: no data for {duration}",
}
_SAID_OF_READINGS: Final = "{metric} of {place} is {value}, {type} {threshold}"
_SAID_OF_WINDOWS: Final = "{of} of {metric} of {place} over {window} is {value}, {type} {threshold}"


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What to watch and what for.

    ``device``, ``metric``, ``site`` and ``zone`` are shell-style patterns. The types:

    - ``above``, ``below``: the value is beyond ``threshold``; ``outside``: not in the band ``threshold`` to ``upper``;
    - ``equals``: a text is ``text``;
    - ``rate``: the value changes in ``per`` seconds by more than ``threshold`` (one below 0: it falls faster), or with
      ``upper`` by what is outside the band;
    - ``no_data``: nothing newer has come for ``duration`` seconds of log time.

    The first three may look at windows of ``window`` seconds instead of readings: at ``of`` each window of a series, or of
    all series of a metric in a zone or site (``across``).

    The alert fires once the rule has held for ``duration`` seconds, and resolves when it does not hold any more; with
    ``clear``, only at that level (for a band: that far inside it). ``message`` may name
    ``{device} {metric} {site} {zone} {labels} {place} {value} {threshold} {type} {severity} {rule} {duration} {per} {of}
    {window}``; empty: one that fits the type.
    """

    id: str
    type: str
    threshold: float | None = None
    metric: str = "*"
    device: str = "*"
    site: str = "*"
    zone: str = "*"
    upper: float | None = None
    text: str | None = None
    per: float | None = None
    window: int | None = None
    of: Of | None = None
    across: Across = "series"
    duration: float = 0.0
    clear: float | None = None
    severity: Severity = "warning"
    message: str = ""

    @classmethod
    def parse(cls, body: Any) -> Self:
        """The rule that ``body``, as it stands in JSON, describes; :class:`Invalid` says what is wrong with it."""
        try:
            rule = msgspec.convert(body, cls)
        except msgspec.ValidationError as error:
            raise Invalid(Problem(None, "rule", str(error))) from None
        rule.check()
        return rule

    def check(self) -> None:
        """:class:`Invalid` unless this rule makes sense."""
        _refuse(self._faults())
        kind = TYPES[self.type]
        _refuse(self._misplaced(kind))
        kind.check(self)

    def _faults(self) -> list[tuple[str, bool, str]]:
        levels = [n for n in (self.threshold, self.upper, self.clear, self.per) if n is not None]
        unknown = sorted(set(_FIELD.findall(self.message)) - set(_FIELDS))
        texts = [self.metric, self.device, self.site, self.zone, self.message, self.text or ""]
        return [
            ("id", not 0 < len(self.id) <= MAX_ID or not self.id.isprintable(), f"1 to {MAX_ID} printable characters"),
            ("type", self.type not in TYPES, f"{self.type[:MAX_ID]!r} is not one of {', '.join(TYPES)}"),
            ("threshold", not all(map(math.isfinite, levels)), "levels must be finite numbers"),
            ("duration", not 0 <= self.duration <= MAX_DURATION, f"seconds from 0 to {MAX_DURATION:.0f}"),
            ("message", bool(unknown), f"{{{', '.join(unknown)[:MAX_ID]}}} is not one of {', '.join(_FIELDS)}"),
            (
                "message",
                any(len(text) > MAX_TEXT for text in texts),
                f"texts and patterns have at most {MAX_TEXT} letters",
            ),
        ]

    def _misplaced(self, kind: "Type") -> list[tuple[str, bool, str]]:
        """What this type needs and has not, or has and does not know."""
        windows = self.window is not None
        most = f"whole seconds from 1 to {MAX_WINDOW}"
        given = {"threshold": self.threshold, "text": self.text, "per": self.per}
        lacking = [name for name in kind.needs if given[name] is None]
        strange = [name for name, value in given.items() if value is not None and name not in kind.needs]
        return [
            *((name, True, f"is missing; a rule of type {self.type} needs one") for name in lacking),
            *((name, True, f"a rule of type {self.type} has none") for name in strange),
            ("upper", self.upper is not None and "upper" not in kind.may, f"a rule of type {self.type} has none"),
            ("clear", self.clear is not None and "clear" not in kind.may, f"a rule of type {self.type} has none"),
            (
                "window",
                windows and "window" not in kind.may,
                f"a rule of type {self.type} looks at readings, not windows",
            ),
            ("window", windows and not 1 <= (self.window or 0) <= MAX_WINDOW, most),
            ("of", windows and self.of is None, "what of a window: avg, min, max, sum, count or last"),
            ("of", not windows and self.of is not None, "only a rule with a window has one"),
            ("across", not windows and self.across != "series", "only a rule with a window has one"),
        ]

    def body(self) -> dict[str, Any]:
        """This rule as it stands in JSON."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        return body

    def watches(self, series: Series) -> bool:
        """Whether this rule is for ``series``."""
        return (
            fnmatchcase(series.metric, self.metric)
            and fnmatchcase(series.device, self.device)
            and fnmatchcase(series.site, self.site)
            and fnmatchcase(series.zone, self.zone)
        )

    @property
    def level(self) -> float:
        """The threshold, for the types that have one."""
        assert self.threshold is not None
        return self.threshold

    @property
    def levels(self) -> Literal["above", "below", "outside", "equals"]:
        """How it compares a value, or a rate, with its levels."""
        if self.type == "rate":
            return "outside" if self.upper is not None else "above" if self.level > 0 else "below"
        if self.type in ("above", "below", "outside"):
            return self.type  # type: ignore[return-value]
        return "equals"

    def said(self, series: Series, value: float | None, threshold: float | None) -> str:
        """The message about what opened an alert."""
        place = series.device or " ".join(name for name in (series.site, series.zone) if name)
        known: Mapping[str, str] = {
            "rule": self.id,
            "device": series.device,
            "metric": series.metric,
            "site": series.site,
            "zone": series.zone,
            "labels": series.labels,
            "place": place,
            "type": self.type,
            "value": f"{value:g}" if value is not None else self.text or "",
            "threshold": f"{threshold:g}" if threshold is not None else self.text or "",
            "severity": self.severity,
            "duration": _span(self.duration),
            "per": _span(self.per),
            "of": self.of or "",
            "window": _span(self.window),
        }
        usual = _SAID_OF_WINDOWS if self.window is not None else _SAID.get(self.type, _SAID_OF_READINGS)
        return _FIELD.sub(lambda found: known[found[1]], self.message or usual)


@dataclass(frozen=True, slots=True)
class Type:
    """One type of rule: the levels that it must have, what else it may have, and what else must be right."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    check: Callable[[Rule], None]


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return format_span(int(seconds)) if seconds == int(seconds) else f"{seconds:g}s"


def _refuse(faults: list[tuple[str, bool, str]]) -> None:
    for name, wrong, right in faults:
        if wrong:
            raise Invalid(Problem(None, f"rule.{name}", right))


def _check_above(rule: Rule) -> None:
    _refuse([("clear", rule.clear is not None and rule.clear > rule.level, f"at most the threshold, {rule.level:g}")])


def _check_below(rule: Rule) -> None:
    _refuse([("clear", rule.clear is not None and rule.clear < rule.level, f"at least the threshold, {rule.level:g}")])


def _check_outside(rule: Rule) -> None:
    if rule.upper is None or rule.upper < rule.level:
        raise Invalid(Problem(None, "rule.upper", f"a level that is not below the threshold, {rule.level:g}"))
    inside = rule.clear is None or 0 <= rule.clear <= (rule.upper - rule.level) / 2
    _refuse([("clear", not inside, "how far inside the band: from 0 to half its width")])


def _check_rate(rule: Rule) -> None:
    _refuse(
        [
            ("per", not 0 < (rule.per or 0) <= MAX_DURATION, "the seconds in which it changes so much, as 1, 60, 3600"),
            ("threshold", rule.upper is None and rule.level == 0, "above 0 for a rise, below 0 for a fall"),
        ]
    )
    {"above": _check_above, "below": _check_below, "outside": _check_outside}[rule.levels](rule)


def _check_no_data(rule: Rule) -> None:
    _refuse([("duration", rule.duration < 1, "how long nothing came: a second or more")])


TYPES: Final[Mapping[str, Type]] = {
    "above": Type(("threshold",), ("clear", "window"), _check_above),
    "below": Type(("threshold",), ("clear", "window"), _check_below),
    "outside": Type(("threshold",), ("upper", "clear", "window"), _check_outside),
    "equals": Type(("text",), (), lambda rule: None),
    "rate": Type(("threshold", "per"), ("upper", "clear"), _check_rate),
    "no_data": Type((), (), _check_no_data),
}

BUILDING_RULES: Final = (
    Rule(id="co2-high", metric="co2", type="above", threshold=1000.0, message="CO2 at {device} is {value} ppm"),
    Rule(
        id="temperature-high", metric="temperature", type="above", threshold=30.0, message="{device} is at {value} °C"
    ),
    Rule(
        id="humidity-high", metric="humidity", type="above", threshold=80.0, message="Humidity at {device} is {value} %"
    ),
)
"""The rules of the simulated building, in force unless the configuration says otherwise."""
