"""Every adapter of port ``Wire``: in one program, and over HTTP to a small server of its own."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sonde.errors import Retry
from sonde.testing.wire_contract import LIVE, NODE, Connect, ScriptedIntake, WireContract, outgoing
from sonde.transport.memory import MemoryWire


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class TestMemory(WireContract):
    @pytest.fixture
    def connect(self, loop: asyncio.AbstractEventLoop) -> Connect:
        return lambda intake: MemoryWire(intake, NODE, loop)


def test_a_sink_that_has_stopped_is_tried_again() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(Retry):
        MemoryWire(ScriptedIntake(), NODE, loop).send(LIVE, 0, [outgoing(1)])
