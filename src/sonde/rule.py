"""Alert rules: which series they watch, and when they hold.

What kinds there are is the table :data:`WATCHES`; a rule is an entry in the log, so its form is part of the format.
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

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Severity = Literal["info", "warning", "critical"]

MAX_ID: Final = 64
MAX_DURATION: Final = 30 * 86_400.0
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_FIELDS: Final = frozenset(
    {"rule", "device", "metric", "site", "zone", "labels", "type", "value", "threshold", "severity"}
)
_MESSAGE: Final = "{metric} of {device} is {value}, {type} {threshold}"


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What to watch and what for.

    ``device``, ``metric``, ``site`` and ``zone`` are shell-style patterns. ``outside`` watches the band from ``threshold``
    to ``upper``. The alert fires once the rule has held for ``duration`` seconds, and resolves when it does not hold any
    more; with ``clear``, only at that level (``outside``: that far inside the band). ``message`` may name
    ``{device} {metric} {site} {zone} {labels} {value} {threshold} {type} {severity} {rule}``.
    """

    id: str
    type: str
    threshold: float
    metric: str = "*"
    device: str = "*"
    site: str = "*"
    zone: str = "*"
    upper: float | None = None
    duration: float = 0.0
    clear: float | None = None
    severity: Severity = "warning"
    message: str = _MESSAGE

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
        for name, wrong, right in self._faults():
            if wrong:
                raise Invalid(Problem(None, f"rule.{name}", right))
        WATCHES[self.type].check(self)

    def _faults(self) -> list[tuple[str, bool, str]]:
        levels = [n for n in (self.threshold, self.upper, self.clear) if n is not None]
        unknown = sorted(set(_FIELD.findall(self.message)) - _FIELDS)
        return [
            ("id", not 0 < len(self.id) <= MAX_ID or not self.id.isprintable(), f"1 to {MAX_ID} printable characters"),
            ("type", self.type not in WATCHES, f"{self.type!r} is not one of {', '.join(sorted(WATCHES))}"),
            ("threshold", not all(map(math.isfinite, levels)), "levels must be finite numbers"),
            ("duration", not 0 <= self.duration <= MAX_DURATION, f"seconds from 0 to {MAX_DURATION:.0f}"),
            ("message", bool(unknown), f"{{{', '.join(unknown)}}} is not one of {', '.join(sorted(_FIELDS))}"),
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

    def text(self, series: Series, value: float, threshold: float) -> str:
        """The message about a reading that opened an alert."""
        known: Mapping[str, str] = {
            "rule": self.id,
            "device": series.device,
            "metric": series.metric,
            "site": series.site,
            "zone": series.zone,
            "labels": series.labels,
            "type": self.type,
            "value": f"{value:g}",
            "threshold": f"{threshold:g}",
            "severity": self.severity,
        }
        return _FIELD.sub(lambda found: known[found[1]], self.message)


@dataclass(frozen=True, slots=True)
class Watch:
    """One type of rule, over values in an array. ``quiet`` is the span of values, ends included, in which it never holds;
    ``excess`` grows the worse a value is; ``crossed`` is the level that a value which holds has crossed."""

    check: Callable[[Rule], None]
    holds: Callable[[Rule, Floats], Bools]
    cleared: Callable[[Rule, Floats], Bools]
    excess: Callable[[Rule, Floats], Floats]
    quiet: Callable[[Rule], tuple[float, float]]
    crossed: Callable[[Rule, float], float]


def _or(level: float | None, otherwise: float) -> float:
    return otherwise if level is None else level


def _no_upper(rule: Rule) -> None:
    if rule.upper is not None:
        raise Invalid(Problem(None, "rule.upper", "only a rule of type outside has one"))


def _check_above(rule: Rule) -> None:
    _no_upper(rule)
    if _or(rule.clear, rule.threshold) > rule.threshold:
        raise Invalid(Problem(None, "rule.clear", f"at most the threshold, {rule.threshold:g}"))


def _check_below(rule: Rule) -> None:
    _no_upper(rule)
    if _or(rule.clear, rule.threshold) < rule.threshold:
        raise Invalid(Problem(None, "rule.clear", f"at least the threshold, {rule.threshold:g}"))


def _check_outside(rule: Rule) -> None:
    if rule.upper is None or rule.upper < rule.threshold:
        raise Invalid(Problem(None, "rule.upper", f"a level that is not below the threshold, {rule.threshold:g}"))
    if not 0 <= _or(rule.clear, 0.0) <= (rule.upper - rule.threshold) / 2:
        raise Invalid(Problem(None, "rule.clear", "how far inside the band: from 0 to half its width"))


def _upper(rule: Rule) -> float:
    return _or(rule.upper, math.inf)


def _inside(rule: Rule, value: Floats) -> Bools:
    margin = _or(rule.clear, 0.0)
    return (value >= rule.threshold + margin) & (value <= _upper(rule) - margin)


WATCHES: Final[Mapping[str, Watch]] = {
    "above": Watch(
        check=_check_above,
        holds=lambda rule, value: value > rule.threshold,
        cleared=lambda rule, value: value <= _or(rule.clear, rule.threshold),
        excess=lambda rule, value: value,
        quiet=lambda rule: (-math.inf, rule.threshold),
        crossed=lambda rule, value: rule.threshold,
    ),
    "below": Watch(
        check=_check_below,
        holds=lambda rule, value: value < rule.threshold,
        cleared=lambda rule, value: value >= _or(rule.clear, rule.threshold),
        excess=lambda rule, value: -value,
        quiet=lambda rule: (rule.threshold, math.inf),
        crossed=lambda rule, value: rule.threshold,
    ),
    "outside": Watch(
        check=_check_outside,
        holds=lambda rule, value: (value < rule.threshold) | (value > _upper(rule)),
        cleared=_inside,
        excess=lambda rule, value: np.maximum(rule.threshold - value, value - _upper(rule)),
        quiet=lambda rule: (rule.threshold, _upper(rule)),
        crossed=lambda rule, value: rule.threshold if value < rule.threshold else _upper(rule),
    ),
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
