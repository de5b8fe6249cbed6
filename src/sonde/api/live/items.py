"""What the log does not say and the processor found: alerts that turned, and spans of time that late readings changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sonde.api.live import writer
from sonde.changes import Series, Step
from sonde.clock import Micros

_SERIES: Final = 1000  # told of one by one


@dataclass(frozen=True, slots=True)
class Item:
    """A message: its ``type``, the series that it is about (none: all), its members."""

    type: str
    series: Series | None
    members: Mapping[str, Any]


class Items:
    """Gathers them from steps, so that spans of one series become one."""

    def __init__(self) -> None:
        self._alerts: list[Item] = []
        self._spans: dict[Series, tuple[Micros, Micros]] = {}

    def put(self, step: Step) -> None:
        """Take in what a step changed."""
        self._alerts += [Item("alert", series, {"alert": writer.alert(alert, series)}) for alert, series in step.alerts]
        for series, first, last in step.corrected:
            before = self._spans.get(series, (first, last))
            self._spans[series] = (min(first, before[0]), max(last, before[1]))

    def take(self) -> Iterator[Item]:
        """All that gathered. When it is about very many series, one message stands for all of them."""
        alerts, self._alerts = self._alerts, []
        spans, self._spans = self._spans, {}
        yield from alerts
        if len(spans) > _SERIES:
            first, last = min(f for f, _ in spans.values()), max(t for _, t in spans.values())
            yield Item("corrected", None, writer.corrected(None, first, last))
            return
        for series, (first, last) in spans.items():
            yield Item("corrected", series, writer.corrected(series, first, last))
