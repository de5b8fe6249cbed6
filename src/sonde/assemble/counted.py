"""What counters have come to."""

from prometheus_client import Counter, Gauge

from sonde.clock import Micros
from sonde.metrics import Metrics
from sonde.status import Status


def total(counter: Counter) -> int:
    """The sum over all labels of a counter."""
    return round(sum(s.value for family in counter.collect() for s in family.samples if s.name.endswith("_total")))


def level(gauge: Gauge) -> float:
    """The sum over all labels of a gauge."""
    return sum(s.value for family in gauge.collect() for s in family.samples)


def counted(now: Micros, metrics: Metrics) -> Status:
    """How a server is, as far as its counters tell."""
    return Status(
        now=now,
        received=total(metrics.received),
        durable=total(metrics.durable),
        stored=total(metrics.stored),
        duplicate=total(metrics.duplicate),
        refused=total(metrics.refused),
        series=round(level(metrics.series)),
        alerts_firing=round(level(metrics.alerts_open)),
    )
