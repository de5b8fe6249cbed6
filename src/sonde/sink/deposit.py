"""What waits for its place in the log, and how its sender learns that it has one."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sonde.entry import Entry
from sonde.errors import Retry
from sonde.reading import Batch
from sonde.sink.columns import Columns

Answer: TypeAlias = asyncio.Future[None] | concurrent.futures.Future[None]

Entries: TypeAlias = Callable[[], Sequence[Entry]]


@dataclass(slots=True)
class Deposit:
    """Entries, and the readings of those that have some, in their order.

    ``entries`` is called when the frame is made: digests are worked out there, not where requests come in. ``answer``
    belongs to an event loop, or to a thread that waits, or to nobody.
    """

    entries: Entries
    parts: Sequence[Columns | Batch] = ()
    bytes: int = 0
    readings: int = 0
    form: str = ""
    answer: Answer | None = None
    since: float = 0.0


def settle(deposits: Iterable[Deposit], failure: Retry | None = None) -> None:
    """Tell the senders: durable, or ``failure``. One call into each event loop, however many wait there."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for deposit in deposits:
        answer = deposit.answer
        if isinstance(answer, asyncio.Future):
            loops.setdefault(answer.get_loop(), []).append(answer)
        elif answer is not None:
            _tell(answer, failure)
    for loop, answers in loops.items():
        try:
            loop.call_soon_threadsafe(_tell_all, answers, failure)
        except RuntimeError:  # the loop is closed, and with it whoever waited there
            continue


def _tell_all(answers: Iterable[Answer], failure: Retry | None) -> None:
    for answer in answers:
        _tell(answer, failure)


def _tell(answer: Answer, failure: Retry | None) -> None:
    if answer.done():  # the sender has gone, or was told that it took too long
        return
    if failure is None:
        answer.set_result(None)
    else:
        answer.set_exception(Retry(failure.message, hint=failure.hint, after=failure.after))
