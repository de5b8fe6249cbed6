"""The sink of a server, as the configuration bounds it."""

import gc
from collections.abc import Callable
from typing import Final

from sonde.assemble.ground import Ground
from sonde.clock import SECOND
from sonde.config import Settings
from sonde.frame import Codec
from sonde.ports import Log, ReadEvents
from sonde.sink.events import read_events, refuse_events
from sonde.sink.limits import Limits
from sonde.sink.sink import Sink

_COLLECT_AFTER: Final = 100_000  # objects; a collection holds every thread up, and hardly anything here forms circles


def make_sink(ground: Ground, log: Log, ticks: Callable[[int], bool], frame_bytes: int | None = None) -> Sink:
    """A sink in front of ``log``, whose frames may have at most ``frame_bytes`` if it has such a bound. It has to be
    closed."""
    limits = _limits(ground.settings)
    return Sink(
        log,
        ground.ring,
        Codec.named(ground.settings.log.codec),
        ground.access,
        clock=ground.clock,
        metrics=ground.metrics,
        limits=limits if frame_bytes is None else limits.within(frame_bytes),
        ticks=ticks,
    )


def events_of(settings: Settings) -> ReadEvents:
    """What becomes of events that other programs wrote into the log."""
    return read_events if settings.kafka.plain_events else refuse_events


def _limits(settings: Settings) -> Limits:
    asked = settings.sink
    return Limits(
        body_bytes=asked.max_body,
        decompressed_bytes=asked.max_decompressed,
        future=round(asked.future_limit * SECOND),
        bytes_per_second=asked.bytes_per_second,
        burst_bytes=asked.burst,
        token_bytes_per_second=asked.token_bytes_per_second,
        token_burst_bytes=asked.token_burst,
    )


def collect_seldom() -> None:
    """What is loaded now stays: leave it out of every collection, and have few of them. (With Python's own settings one
    request in a hundred waited 80 ms, now 27.)"""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 50, 100)
