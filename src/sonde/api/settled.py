"""What was written into the log is seen by whoever asks next: waiting until the store has come so far."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.concurrency import run_in_threadpool

from sonde.api.desk import Desk
from sonde.errors import Retry
from sonde.question import Reached

_SECONDS: Final = 10.0
_LOOK_EVERY: Final = 0.03


async def until_stored(desk: Desk, offsets: Mapping[int, int]) -> None:
    """Wait until the store has the frames at these offsets of each partition. :class:`Retry` if that takes too long: it will
    have them, and doing the same again changes nothing."""
    try:
        async with asyncio.timeout(_SECONDS):
            while True:
                stored = (await run_in_threadpool(desk.ask, Reached())).cursor.offsets
                if all(stored.get(partition, 0) > offset for partition, offset in offsets.items()):
                    return
                await asyncio.sleep(_LOOK_EVERY)
    except TimeoutError:
        raise Retry(
            "it is in the log, but the store has not come so far",
            hint="Ask in a moment what has become of it",
            after=2.0,
        ) from None
