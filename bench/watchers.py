"""Clients of the live feed that cost little: a process of their own, which counts what comes and looks at some of it."""

import asyncio
import json
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, Final

import uvloop

_KEY: Final = b'"time":"'
_SLOW_SECONDS: Final = 0.5  # between two looks of a slow client
_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A
_STAMP: Final = len("2026-01-01T00:00:00.000000Z")


@dataclass(slots=True)
class Seen:
    """What came over a while: readings and messages of all clients, and the ages (seconds) of readings that were looked at."""

    readings: int = 0
    messages: int = 0
    gaps: int = 0
    live: int = 0  # clients that are subscribed
    ages: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.readings / self.seconds

    def age(self, q: float) -> float:
        """A quantile of the ages."""
        return sorted(self.ages)[min(len(self.ages) - 1, int(q * len(self.ages)))] if self.ages else float("nan")


class Watchers:
    """Clients in another process, each with a subscription of its own."""

    def __init__(self, port: int, token: str, wanted: Sequence[dict[str, Any]], *, look_every: int = 25):
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_run, args=(other, port, token, wanted, look_every))
        self._process.start()

    def __enter__(self) -> "Watchers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        self._process.join()

    def take(self) -> Seen:
        """What came since this was last asked."""
        self._pipe.send("take")
        seen: Seen = self._pipe.recv()
        return seen

    def add_slow(self) -> None:
        """One more client, that subscribes to everything and reads little of it."""
        self._pipe.send("slow")
        self._pipe.recv()

    def drop_slow(self) -> None:
        """Those that read little go."""
        self._pipe.send("drop")
        self._pipe.recv()


class _Watcher(asyncio.Protocol):
    def __init__(self, seen: Seen, token: str, wanted: dict[str, Any], *, looks: bool, reads: bool) -> None:
        self._seen, self._token, self._wanted, self._looks, self._reads = seen, token, wanted, looks, reads
        self._buffer = bytearray()
        self._open = False
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        if not self._reads:
            plug = transport.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        transport.write(
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: sonde.v1\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self._reads and self._open:  # a piece, and then nothing for a while
            assert self.transport is not None
            self.transport.pause_reading()
            self._loop.call_later(_SLOW_SECONDS, self._go_on)
            return
        self._buffer += data
        if not self._open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(bytes(self._buffer[:200]))
            del self._buffer[: end + 4]
            self._open = True
            self._write(_TEXT, json.dumps({"type": "subscribe", **self._wanted}).encode())
        self._read()

    def _go_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _write(self, kind: int, text: bytes) -> None:
        assert self.transport is not None
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
        size = bytes((0x80 | len(text),)) if len(text) < 126 else b"\xfe" + struct.pack("!H", len(text))
        self.transport.write(bytes((kind,)) + size + mask + masked)

    def _read(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2:
            size, head = buffer[at + 1], 2
            if size == 126:
                head = 4
                size = int.from_bytes(buffer[at + 2 : at + 4], "big") if end - at >= head else 1 << 62
            elif size == 127:
                head = 10
                size = int.from_bytes(buffer[at + 2 : at + 10], "big") if end - at >= head else 1 << 62
            if end - at < head + size:
                break
            if buffer[at] == _PING:
                self._write(_PONG, bytes(buffer[at + head : at + head + size]))
            else:
                self._message(at + head, at + head + size)
            at += head + size
        if at:
            del buffer[:at]

    def _message(self, start: int, end: int) -> None:
        buffer, seen = self._buffer, self._seen
        if buffer.startswith(b'{"type":"data"', start):
            seen.messages += 1
            seen.readings += buffer.count(_KEY, start, end)
            if self._looks:
                at = buffer.rfind(_KEY, start, end) + len(_KEY)
                stamp = buffer[at : at + _STAMP].decode()
                seen.ages.append(time.time() - datetime.fromisoformat(stamp).timestamp())
        elif buffer.startswith(b'{"type":"subscribed"', start):
            seen.live += 1
        elif buffer.startswith(b'{"type":"gap"', start):
            seen.gaps += 1


def _run(pipe: Connection, port: int, token: str, wanted: Sequence[dict[str, Any]], look_every: int) -> None:
    uvloop.run(_watch(pipe, port, token, wanted, look_every))


async def _watch(pipe: Connection, port: int, token: str, wanted: Sequence[dict[str, Any]], look_every: int) -> None:
    loop, seen, ignored = asyncio.get_running_loop(), Seen(), Seen()
    stuck: list[_Watcher] = []

    async def connect(one: _Watcher) -> _Watcher:
        await loop.create_connection(lambda: one, "127.0.0.1", port)
        return one

    for number, one in enumerate(wanted):
        await connect(_Watcher(seen, token, one, looks=number % look_every == 0, reads=True))
    started, used = time.perf_counter(), time.process_time()
    while True:
        asked = await asyncio.to_thread(pipe.recv)
        if asked == "end":
            return
        if asked == "slow":
            stuck.append(await connect(_Watcher(ignored, token, {}, looks=False, reads=False)))
            pipe.send(None)
        elif asked == "drop":
            for gone in stuck:
                assert gone.transport is not None
                gone.transport.abort()
            stuck.clear()
            pipe.send(None)
        else:
            now, cpu = time.perf_counter(), time.process_time()
            seen.seconds, seen.processor_seconds = now - started, cpu - used
            pipe.send(seen)
            started, used = now, cpu
            seen.readings = seen.messages = seen.gaps = 0
            seen.ages = []
