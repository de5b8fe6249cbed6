"""What waits for its place in the log, and how its sender learns that it has one."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sonde.clock import SECOND, Micros
from sonde.entry import Entry
from sonde.errors import Retry
from sonde.metrics import Metrics
from sonde.reading import Batch
from sonde.sink.columns import Columns


class Whole(asyncio.Future[int]):
    """The answer to several deposits: it comes when the last of them is durable, or the first is not."""

    def __init__(self, parts: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.left = parts


Answer: TypeAlias = asyncio.Future[int] | concurrent.futures.Future[int]

Entries: TypeAlias = Callable[[], Sequence[Entry]]


@dataclass(slots=True)
class Deposit:
    """Entries, and the readings of those that have some, in their order.

    ``entries`` is called when the frame is made: digests are worked out there, not where requests come in. ``answer``
    belongs to an event loop, or to a thread that waits, or to nobody; it will be the offset of the frame.
    """

    entries: Entries
    parts: Sequence[Columns | Batch] = ()
    bytes: int = 0
    readings: int = 0
    form: str = ""
    answer: Answer | None = None
    since: float = 0.0


def count(metrics: Metrics, group: Sequence[Deposit], frames: Collection[bytes], now: Micros, monotonic: float) -> None:
    """Measure what has become durable, in ``frames``."""
    metrics.last_durable.set(now / SECOND)
    metrics.log_frames.inc(len(frames))
    metrics.log_bytes.inc(sum(map(len, frames)))
    readings: dict[str, int] = {}
    for deposit in group:
        readings[deposit.form] = readings.get(deposit.form, 0) + deposit.readings
    for form, rows in readings.items():
        if rows:
            metrics.received.labels(form).inc(rows)
    metrics.received_bytes.inc(sum(deposit.bytes for deposit in group))
    metrics.durable.inc(sum(readings.values()))
    metrics.commit_seconds.observe(max(0.0, monotonic - group[0].since))


def settle(deposits: Iterable[Deposit], outcome: int | Retry) -> None:
    """Tell the senders: durable, in the frame at an offset, or not. One call into each event loop, however many wait
    there."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[int]]] = {}
    for deposit in deposits:
        answer = deposit.answer
        if isinstance(answer, asyncio.Future):
            loops.setdefault(answer.get_loop(), []).append(answer)
        elif answer is not None:
            _tell(answer, outcome)
    for loop, answers in loops.items():
        try:
            loop.call_soon_threadsafe(_tell_all, answers, outcome)
        except RuntimeError:  # the loop is closed, and with it whoever waited there
            continue


def _tell_all(answers: Iterable[Answer], outcome: int | Retry) -> None:
    for answer in answers:
        _tell(answer, outcome)


def _tell(answer: Answer, outcome: int | Retry) -> None:
    if answer.done():  # the sender has gone, or was told that it took too long
        return
    if isinstance(outcome, Retry):
        answer.set_exception(Retry(outcome.message, hint=outcome.hint, after=outcome.after))
    elif isinstance(answer, Whole) and answer.left > 1:
        answer.left -= 1
    else:
        answer.set_result(outcome)
