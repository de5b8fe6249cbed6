"""Who follows the live feed gets what the log holds, each reading once, whatever breaks: lines, slow clients, the server."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.crash.road import Client, Up, clients, seed, wait_for

SECONDS = 120.0
WANTED: Sequence[tuple[dict[str, Any], str]] = (
    ({}, "true"),
    ({"device": "client-0"}, "device = 'client-0'"),
    ({"device": "client-*", "metric": "m1"}, "metric = 'm1'"),
    (
        {"device": ["client-1", "client-2"], "metric": ["m0", "m2"]},
        "device in ('client-1', 'client-2') and metric <> 'm1'",
    ),
)


@dataclass
class Watcher:
    """A client that remembers its cursor, loses its connection now and then, and perhaps reads slowly."""

    up: Up
    number: int
    chance: random.Random
    cursor: str
    got: Counter[tuple[str, str, float, str]] = field(default_factory=Counter)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    @property
    def wanted(self) -> dict[str, Any]:
        return WANTED[self.number % len(WANTED)][0]

    @property
    def condition(self) -> str:
        return WANTED[self.number % len(WANTED)][1]

    @property
    def offset(self) -> int:
        return int(self.cursor.split("-")[1])

    async def run(self, end: asyncio.Event) -> None:
        while not end.is_set():
            try:
                async with connect(
                    f"ws://127.0.0.1:{self.up.port}/ws",
                    additional_headers={"Authorization": f"Bearer {self.up.token}"},
                    subprotocols=[Subprotocol("sonde.v1")],
                    compression=None,
                    ping_interval=None,
                    max_queue=2,
                ) as socket:
                    self.connections += 1
                    await self._watch(socket, end)
            except (OSError, WebSocketException, TimeoutError):
                await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    async def _watch(self, socket: ClientConnection, end: asyncio.Event) -> None:
        await self._subscribe(socket)
        left = self.chance.randint(5, 40)  # messages until the connection breaks
        while left and not end.is_set():
            message = json.loads(await asyncio.wait_for(socket.recv(), 20))
            if "subscription" not in message or message["type"] == "subscribed":
                continue
            left -= 1
            if message["type"] == "gap":
                self.gaps.append(message)
                assert message["reason"] == "slow", message
                self.cursor = message["from"]
                return
            assert message["type"] in {"data", "cursor"}, message
            for r in message.get("readings", ()):
                self.got[r["device"], r["metric"], r["value"], r["time"]] += 1
            self.cursor = message["cursor"]
            if self.number % 5 == 4:
                await asyncio.sleep(self.chance.uniform(0, 0.2))
        socket.transport.abort()

    async def _subscribe(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "subscribe", "kinds": ["data"], "cursor": self.cursor, **self.wanted}))


@pytest.mark.parametrize(
    ("watching", "kills"), [(10, 1), pytest.param(100, 4, marks=pytest.mark.all)], ids=["ten", "a-hundred"]
)
def test_everyone_gets_the_log_once_across_lost_connections_and_kills(
    tmp_path: Path, watching: int, kills: int
) -> None:
    chance = random.Random(seed())
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        log = up.ask("GET", "/devices")[1]["Sonde-Cursor"].split(".")[0]
        watchers = [Watcher(up, number, random.Random(chance.random()), f"{log}.0-0") for number in range(watching)]
        asyncio.run(follow_through(up, watchers, kills))
        stored = {condition: rows_of(up, condition) for _, condition in WANTED}
        for watcher in watchers:
            assert watcher.got == stored[watcher.condition], (watcher.number, watcher.gaps[:3])
        assert max(stored["true"].values()) == 1
        assert sum(watcher.connections for watcher in watchers) >= watching * (kills + 1), "nothing broke"


async def follow_through(up: Up, watchers: Sequence[Watcher], kills: int) -> None:
    """Everyone watches while clients send and the server is killed; then until everyone is at the end of the log."""
    end = asyncio.Event()
    tasks = [asyncio.create_task(watcher.run(end)) for watcher in watchers]
    await asyncio.to_thread(load_and_kill, up, watchers, kills)
    last = int(up.ask("GET", "/devices")[1]["Sonde-Cursor"].split("-")[1])
    async with asyncio.timeout(SECONDS):
        while any(watcher.offset < last for watcher in watchers) and not any(task.done() for task in tasks):
            await asyncio.sleep(0.05)
    end.set()
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def load_and_kill(up: Up, watchers: Sequence[Watcher], kills: int) -> None:
    with clients(up, 3) as load:
        for _ in range(kills):
            wait_for_more(load, watchers)
            up.kill()
            up.start()
        wait_for_more(load, watchers)
    up.wait_until_all_is_stored()


def wait_for_more(load: Sequence[Client], watchers: Sequence[Watcher]) -> None:
    """Until every sender has readings confirmed and half of those who watch have got on."""
    sent, seen = [len(c.confirmed) for c in load], [watcher.offset for watcher in watchers]
    wait_for(
        lambda: all(len(c.confirmed) > n + 10 for c, n in zip(load, sent, strict=True)), "readings being taken (I4)", 60
    )
    wait_for(
        lambda: sum(w.offset > n for w, n in zip(watchers, seen, strict=True)) > len(watchers) / 2,
        "readings being fed (I4)",
        60,
    )


def rows_of(up: Up, condition: str) -> Counter[tuple[str, str, float, str]]:
    rows = up.sql(f"select device, metric, value, time from readings where {condition}")
    return Counter((device, metric, value, time) for device, metric, value, time in rows)
