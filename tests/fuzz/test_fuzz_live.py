"""Whatever bytes come over a WebSocket: an error or the end of that connection, and nobody else notices."""

import json
import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.crash.road import seed
from tests.live_world import SECONDS, LiveWorld, one
from tests.processor_world import until

ROUNDS = 60
WORDS = (
    "type", "subscribe", "unsubscribe", "ping", "command", "id", "device", "metric", "rate", "cursor", "since", "kinds",
    "request_id", "data", "alert", "a*", "5m", "x.0-0", "x.0-0-7", "[", "\\", "\ud800", "\u0000",
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[LiveWorld]:
    with LiveWorld() as made:
        yield made


def knock(world: LiveWorld) -> socket.socket:
    plug = socket.create_connection(("127.0.0.1", world.port), timeout=SECONDS)
    plug.sendall(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sonde.v1\r\n"
        f"Authorization: Bearer {world.tokens['read']}\r\n\r\n".encode()
    )
    assert plug.recv(4096).startswith(b"HTTP/1.1 101 ")
    return plug


def text(chance: random.Random) -> bytes:
    """Something like a message, or not at all."""

    def value(depth: int) -> object:
        match chance.randrange(7 if depth else 5):
            case 0:
                return chance.choice(WORDS)
            case 1:
                return chance.choice([0, -1, 1.5, 1e308, 2**70, True, None])
            case 2 | 3 | 4:
                return chance.choice(WORDS) * chance.choice([1, 1, 1, 50])
            case 5:
                return [value(depth - 1) for _ in range(chance.randrange(4))]
        return {chance.choice(WORDS): value(depth - 1) for _ in range(chance.randrange(4))}

    message = {"type": chance.choice(WORDS[1:5]), **{chance.choice(WORDS[5:13]): value(2) for _ in range(3)}}
    said = json.dumps(message if chance.random() < 0.8 else value(3)).encode()
    if chance.random() < 0.2:
        at = chance.randrange(len(said))
        said = said[:at] + chance.randbytes(chance.randrange(4)) + said[at + 1 :]
    return said


def frame(chance: random.Random, payload: bytes) -> bytes:
    """A frame as it should be, or with anything about it wrong."""
    first = 0x81 if chance.random() < 0.7 else chance.randrange(256)
    mask = 0x80 if chance.random() < 0.95 else 0
    size = len(payload) if chance.random() < 0.95 else chance.randrange(1 << 16)
    length = bytes((mask | size,)) if size < 126 else bytes((mask | 126,)) + struct.pack("!H", size)
    if chance.random() < 0.03:
        length = bytes((mask | 127,)) + chance.randbytes(8)
    key = os.urandom(4) if mask else b""
    return bytes((first,)) + length + key + bytes(b ^ key[i % 4] if key else b for i, b in enumerate(payload))


def test_random_frames_harm_nobody(world: LiveWorld) -> None:
    chance = random.Random(seed())
    with world.v1() as watcher:
        watcher.subscribe(device="d")
        for number in range(ROUNDS):
            with knock(world) as plug:
                sent = b"".join(frame(chance, text(chance)) for _ in range(chance.randrange(1, 40)))
                try:
                    for start in range(0, len(sent), 700):
                        plug.sendall(sent[start : start + chance.choice([700, 700, 3])])
                    plug.settimeout(0.05)
                    while plug.recv(65_536):
                        continue
                except (OSError, TimeoutError):  # it was closed for something it said, or waits for more
                    pass
            world.send(one(number))
            assert watcher.values(1) == [number]
    until(lambda: world.viewers == 0)


def test_only_good_frames_with_random_messages_keep_the_connection(world: LiveWorld) -> None:
    chance = random.Random(seed())
    with world.v1() as client:
        for number in range(401):
            said = text(chance)
            try:
                client.socket.send(said.decode())
            except UnicodeDecodeError:
                continue
            if number % 40 == 0:
                client.say("ping", request_id=f"ping-{number}")
                while client.next("pong")["request_id"] != f"ping-{number}":
                    continue
