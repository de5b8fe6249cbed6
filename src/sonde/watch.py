"""How rules judge: values against levels, and what of readings and windows they look at. Over whole arrays, without I/O."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sonde.clock import SECOND, Micros
from sonde.rule import Bools, Floats, Of, Rule

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Watch:
    """One way to compare values with a rule's levels. ``quiet`` is the span of values, ends included, in which it never
    holds; ``excess`` grows the worse a value is; ``crossed`` is the level that a value which holds has crossed."""

    holds: Callable[[Rule, Floats], Bools]
    cleared: Callable[[Rule, Floats], Bools]
    excess: Callable[[Rule, Floats], Floats]
    quiet: Callable[[Rule], tuple[float, float]]
    crossed: Callable[[Rule, float], float | None]


def _or(level: float | None, otherwise: float) -> float:
    return otherwise if level is None else level


def _upper(rule: Rule) -> float:
    return _or(rule.upper, math.inf)


def _inside(rule: Rule, value: Floats) -> Bools:
    margin = _or(rule.clear, 0.0)
    return (value >= rule.level + margin) & (value <= _upper(rule) - margin)


WATCHES: Final[Mapping[str, Watch]] = {
    "above": Watch(
        holds=lambda rule, value: value > rule.level,
        cleared=lambda rule, value: value <= _or(rule.clear, rule.level),
        excess=lambda rule, value: value,
        quiet=lambda rule: (-math.inf, rule.level),
        crossed=lambda rule, value: rule.level,
    ),
    "below": Watch(
        holds=lambda rule, value: value < rule.level,
        cleared=lambda rule, value: value >= _or(rule.clear, rule.level),
        excess=lambda rule, value: -value,
        quiet=lambda rule: (rule.level, math.inf),
        crossed=lambda rule, value: rule.level,
    ),
    "outside": Watch(
        holds=lambda rule, value: (value < rule.level) | (value > _upper(rule)),
        cleared=_inside,
        excess=lambda rule, value: np.maximum(rule.level - value, value - _upper(rule)),
        quiet=lambda rule: (rule.level, _upper(rule)),
        crossed=lambda rule, value: rule.level if value < rule.level else _upper(rule),
    ),
    "equals": Watch(  # 1 for a text that is the rule's, 0 for any other
        holds=lambda rule, value: value > 0,
        cleared=lambda rule, value: value <= 0,
        excess=lambda rule, value: value,
        quiet=lambda rule: (-math.inf, 0.0),
        crossed=lambda rule, value: None,
    ),
}


def watch_of(rule: Rule) -> Watch:
    """How ``rule`` compares what it looks at."""
    return WATCHES[rule.levels]


def rates(rule: Rule, time: Times, value: Floats) -> tuple[Bools, Floats]:
    """Which readings of a series, in their order, have a rate, and those rates: the change since the reading before, in
    ``rule.per`` seconds. The first has none; nor has one that follows on another, or on itself, with no number (NaN) or at
    the same time."""
    step = np.diff(time)
    has = np.zeros(len(time), np.bool_)
    with np.errstate(all="ignore"):
        change = np.diff(value) / step * (_or(rule.per, 1.0) * SECOND)
    has[1:] = (step > 0) & np.isfinite(change)
    found: Floats = change[has[1:]]
    return has, found


def of_windows(of: Of, windows: Mapping[str, npt.NDArray[Any]]) -> Floats:
    """What a rule looks at of each window; ``windows`` has the columns ``count, sum, min, max, last``."""
    if of == "avg":
        average: Floats = windows["sum"] / windows["count"]
        return average
    return windows[of].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing came from ``since`` on; that was so for long enough at ``fired``, and was over at ``ended`` if it was."""

    since: Micros
    fired: Micros
    ended: Micros | None


def silences(arrivals: Times, until: Micros, duration: Micros) -> list[Silent]:
    """The times of at least ``duration`` in which nothing came, as was known at ``until``; ``arrivals`` ascend."""
    ends = np.append(arrivals[1:], until)
    found = np.flatnonzero(ends - arrivals >= duration).tolist()
    last = len(arrivals) - 1
    return [Silent(int(arrivals[i]), int(arrivals[i]) + duration, int(ends[i]) if i < last else None) for i in found]
