"""How wide the buckets of a chart are. They are aligned to a step from a fixed list, so that a client can go on folding live
readings into them, and two spans beside each other fit together."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa

from sonde.clock import SECOND, Micros
from sonde.question import Samples
from sonde.reading import Kind, Quality

_FINE: Final = tuple(digit * 10**power for power in range(6) for digit in (1, 2, 5))
_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_DAYS: Final = tuple(days * 86_400 for days in (2, 5, 10, 20, 50, 100, 200, 366))
STEPS: Final[tuple[Micros, ...]] = (*_FINE, *(seconds * SECOND for seconds in (*_SECONDS, *_DAYS)))
COUNTED: Final = f"kind <= {int(Kind.BOOLEAN)} and quality in ({int(Quality.GOOD)}, {int(Quality.RANGE)})"
"""The condition that a reading is in a bucket: a number that can be trusted."""
OF_WORDS: Final = f"kind = {int(Kind.TEXT)}"
"""The condition that a reading is words."""
ONE_WORD: Final = "case when min(text) = max(text) then min(text) end"
"""What all readings of a bucket say; null if they say several things, or are numbers."""


def step_for(since: Micros, until: Micros, points: int) -> Micros:
    """The smallest step that makes at most ``points`` buckets of a span."""
    for step in STEPS:
        if -(-(until - since) // step) < points:
            return step
    return STEPS[-1]


def folded(
    question: Samples,
    words: Sequence[int],
    of_windows: Callable[[Samples], pa.Table],
    of_readings: Callable[[Samples], pa.Table],
) -> pa.Table:
    """Buckets out of windows; those of the series that are ``words`` out of readings, as no windows are kept of them."""
    if not words:
        return of_windows(question)
    numbers = tuple(set(question.series) - set(words))
    tables = [of_windows(replace(question, series=numbers)), of_readings(replace(question, series=tuple(words)))]
    return pa.concat_tables(tables).sort_by([("series", "ascending"), ("time", "ascending")])


def whole(question: Samples, step: Micros) -> tuple[Micros, Micros]:
    """The span, widened to whole buckets."""
    return question.since // step * step, -(-question.until // step) * step
