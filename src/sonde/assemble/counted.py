"""What counters have come to."""

from prometheus_client import Counter, Gauge


def total(counter: Counter) -> int:
    """The sum over all labels of a counter."""
    return round(sum(s.value for family in counter.collect() for s in family.samples if s.name.endswith("_total")))


def level(gauge: Gauge) -> float:
    """The sum over all labels of a gauge."""
    return sum(s.value for family in gauge.collect() for s in family.samples)
