"""Making a store again from the log, and seeing at the start whether that is needed."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from sonde.changes import State
from sonde.clock import Clock
from sonde.frame import Opener
from sonde.metrics import Metrics
from sonde.ports import Identities, Log, Store
from sonde.process.processor import Processor

_ALL: Final = 2**62


class Standing(Enum):
    """How a store's progress compares with what a log holds; ``sentence`` says it in words."""

    OK = "the store continues where the log goes on"
    BEHIND = "the store stands below the first frame that the log keeps: it needs a newer checkpoint, or is too old"
    AHEAD = (
        "the store knows frames that the log does not hold: the log was restored from an older copy, or lost its end"
    )
    OTHER = "the store was made from another log"

    @property
    def sentence(self) -> str:
        return self.value


def standing(state: State, log: Log, partition: int = 0) -> Standing:
    """How the progress in ``state`` compares with what ``log`` holds of ``partition``."""
    first, end = log.ends().get(partition, (0, 0))
    mine = [p.offset for p in state.progress if p.log == log.id and p.partition == partition]
    if not mine and state.progress:
        return Standing.OTHER
    offset = mine[0] if mine else 0
    if offset < first:
        return Standing.BEHIND
    return Standing.AHEAD if offset > end else Standing.OK


def forget_identities(identities: Identities) -> None:
    """Before a rebuild from a log that is not the one they were learnt from (``AHEAD``, ``OTHER``): start with none, so
    that nothing is taken for a repetition of what the log never held."""
    identities.forget(_ALL, 0)


def rebuild(
    log: Log,
    store: Store,
    identities: Identities,
    opener: Opener,
    progress: Callable[[int, int], None],
    *,
    partition: int = 0,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    dedupe_days: float = 7.0,
    dedupe_max: int = 1_000_000,
) -> int:
    """Bring all of ``log`` into ``store``, from where it stands: empty, or a checkpoint. Returns the next offset.

    ``progress`` is told the next offset and the end after each step. Nobody is notified of anything. Raises what
    :meth:`Processor.step` raises; calling it again goes on where it stopped.
    """
    processor = Processor(
        log,
        store,
        identities,
        opener,
        partition=partition,
        clock=clock,
        metrics=metrics,
        linger=0.0,
        dedupe_days=dedupe_days,
        dedupe_max=dedupe_max,
    )
    end = log.ends().get(partition, (0, 0))[1]
    while processor.step(0.0) or processor.position < end:
        progress(processor.position, end)
        end = max(end, processor.position)
    return processor.position
