"""A TCP proxy between a node and its sink that harms what goes through it, in one way at a time."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any, Final

WAYS: Final = ("refuse", "reset", "half-open", "slow", "duplicate", "lose the receipt")
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
_PIECE: Final = 2048
_REACH: Final = 700  # bytes that pass before a reset
_TURNS: Final = 20  # of the loop, in which nothing more begins


class Proxy:
    """Forwards to ``to`` on this machine. ``way`` is what it does to requests from now on; empty: nothing.
    ``struck`` counts how often it did. ``slow`` passes ``rate`` bytes a second on each connection."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.way = ""
        self.rate = 4_000.0
        self.struck: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._held: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()  # the loop itself holds none of them
        self._server = self._run_soon(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def _run_soon(self, start: Coroutine[Any, Any, asyncio.Server]) -> asyncio.Server:
        server = self._loop.run_until_complete(start)
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        return server

    def let_go(self) -> None:
        """Be harmless again, and reset what is stuck."""
        self.way = ""
        self._loop.call_soon_threadsafe(self._reset_held)

    def _reset_held(self) -> None:
        for writer in tuple(self._held):
            _reset(writer)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        self._reset_held()
        quiet = 0
        while quiet < _TURNS:
            await asyncio.sleep(0)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            quiet = 0 if tasks else quiet + 1
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _serve(self, client: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        self._held.add(out)
        self._tasks.add(asyncio.current_task())
        try:
            if self._strikes("refuse"):
                return
            try:
                sink, to_sink = await asyncio.open_connection("127.0.0.1", self.to)
            except OSError:
                return
            self._held.add(to_sink)
            try:
                while await self._one_request(client, out, sink, to_sink):
                    pass
            finally:
                self._held.discard(to_sink)
                _reset(to_sink)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # one of the two has gone
        finally:
            self._held.discard(out)
            self._tasks.discard(asyncio.current_task())
            _reset(out)

    async def _one_request(
        self,
        client: asyncio.StreamReader,
        out: asyncio.StreamWriter,
        sink: asyncio.StreamReader,
        to_sink: asyncio.StreamWriter,
    ) -> bool:
        request = await _message(client)
        if self._strikes("refuse"):
            return False
        if self._strikes("half-open"):
            while self.way == "half-open":
                await asyncio.sleep(0.05)
            return False
        if self._strikes("reset"):
            to_sink.write(request[: len(request) - 1][:_REACH])
            await to_sink.drain()
            return False
        if self._strikes("duplicate"):
            await self._send_alone(request)
        await self._pass(request, to_sink)
        answer = await _message(sink)
        if self._strikes("lose the receipt"):
            return False
        out.write(answer)
        await out.drain()
        return True

    def _strikes(self, way: str) -> bool:
        if self.way != way:
            return False
        self.struck[way] += 1
        return True

    async def _pass(self, request: bytes, to_sink: asyncio.StreamWriter) -> None:
        if not self._strikes("slow"):
            to_sink.write(request)
        else:
            for at in range(0, len(request), _PIECE):
                to_sink.write(request[at : at + _PIECE])
                await asyncio.sleep(min(_PIECE, len(request)) / self.rate)
        await to_sink.drain()

    async def _send_alone(self, request: bytes) -> None:
        sink, to_sink = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            to_sink.write(request)
            await _message(sink)
        finally:
            to_sink.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A whole request or answer, whose head says how long its body is."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.close()


@contextlib.contextmanager
def proxy(to: int) -> Iterator[Proxy]:
    made = Proxy(to)
    try:
        yield made
    finally:
        made.close()
