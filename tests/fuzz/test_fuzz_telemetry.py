"""Whatever bytes come in, they are taken whole or refused with a reason, and what is taken can be sealed and read back."""

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import pyarrow as pa
import pytest

from sonde.access import Access
from sonde.clock import SECOND, SystemClock
from sonde.control.memory import MemoryControl
from sonde.entry import Body, Entry, EntryKind, Lane, decode_body, encode_body
from sonde.errors import Invalid, Reject
from sonde.frame import Codec
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Credential, Outgoing, StreamId, Telemetry
from sonde.reading import Batch, Reading, encode
from sonde.sink import forms
from sonde.sink.columns import merge
from sonde.sink.limits import Limits
from sonde.sink.sink import Sink
from sonde.sink.streams import check_entries, check_stream
from sonde.token import Token
from sonde.transport.http import TelemetryApp
from sonde.transport.serving import serve

NOW: Final = 1_767_225_600 * SECOND
LIMITS: Final = Limits(decompressed_bytes=1 << 20, readings=1_000)
NODE: Final = Credential("n", "n", frozenset({"ingest"}), ("d*",), node="attic")
STREAM: Final = StreamId("epoch", Lane.LIVE)

OWN: Final = {"device": "d1", "metric": "m", "value": 21.5, "time": "2026-01-01T00:00:00Z"}
FULL: Final = OWN | {
    "site": "s",
    "zone": "ü",
    "labels": {"a": "b"},
    "quality": 1,
    "event_id": "e-1",
    "value": {"k": [1, "x", None]},
}
BUILDING: Final = {
    "event_id": "6f1c",
    "device_id": "d2",
    "site_id": "S",
    "zone_id": "Z",
    "sensor_type": "co2",
    "value": 1,
    "ts_event": 1767225600,
}
SHORT: Final = {"name": "s", "value": 'text "quoted" \\ ☃', "timestamp": 1752400800123}
COLUMNS: Final = {
    "device": ["a", "b"],
    "metric": "m",
    "time": [1767225600, 1767225601],
    "value": [1, True],
    "site": "s",
}
WORDS: Final = (
    b"null", b"NaN", b"1e999", b"-0", b"9223372036854775808", b"\\u0000", b"\\ud800", b'"', b"\\", b"{", b"}", b"[", b"]",
    b",", b":", b"\xff", b"\xef\xbb\xbf", b"\x00", b"true", b'"value":1,', b'"time":', b"\n", b"[[[[[[[[", b"1767225600000",
)  # fmt: skip


def arrow(**columns: object) -> bytes:
    table = pa.table(columns)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return out.getvalue()


def seeds() -> list[Telemetry]:
    things = [OWN, FULL, BUILDING, SHORT, COLUMNS, [OWN, OWN], [FULL] * 3, [OWN, SHORT, BUILDING], [BUILDING] * 300]
    bodies = [json.dumps(thing, ensure_ascii=i % 2 == 0).encode() for i, thing in enumerate(things)]
    lines = b"\n".join(json.dumps(thing).encode() for thing in (OWN, FULL, SHORT))
    stream = arrow(
        device=pa.array(["d1", "d2"]).dictionary_encode(),
        metric=["m", "m"],
        time=pa.array([NOW, NOW], pa.timestamp("us", "UTC")),
        value=[1.5, 2.5],
        labels=["{}", '{"a":"b"}'],
    )
    return [
        *(Telemetry(body) for body in bodies),
        *(Telemetry(gzip.compress(body), content_encoding="gzip") for body in bodies[:2]),
        Telemetry(pa.Codec("zstd").compress(bodies[-1], asbytes=True), content_encoding="zstd"),
        Telemetry(lines, "application/x-ndjson"),
        Telemetry(stream, "application/vnd.apache.arrow.stream"),
        Telemetry(arrow(device=["d"], metric=["m"], value=["x"], kind=[3]), "application/vnd.apache.arrow.stream"),
    ]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with a few bytes changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + chance.choice((1, 1, 2, 4, 16, 64)))
        match chance.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                del out[at:end]
            case 2:
                out[at:at] = out[at:end]
            case 3:
                out[at:at] = chance.choice(WORDS)
            case 4:
                out[at:end] = chance.choice(WORDS)
            case _:
                out[at:end] = chance.randbytes(end - at)
    return bytes(out)


def rounds(many: int) -> Iterator[random.Random]:
    seed = int(os.environ.get("SONDE_TEST_SEED", secrets.randbits(32)))
    print(f"SONDE_TEST_SEED={seed} repeats this run")  # shown when the test fails
    seeds = random.Random(seed)
    for _ in range(many):
        yield random.Random(seeds.getrandbits(64))


def telemetry(many: int) -> None:
    requests, taken = seeds(), 0
    for chance in rounds(many):
        request = chance.choice(requests)
        body = mutated(request.body, chance)
        try:
            received, _ = forms.read(Telemetry(body, request.content_type, request.content_encoding), NOW, LIMITS)
        except Reject:
            continue
        batch = merge([received.readings, received.readings])
        entry = Entry(EntryKind.READINGS, rows=len(batch))
        again = decode_body(encode_body(Body([entry], batch))).batch
        assert again is not None
        assert list(again.readings()) == list(batch.readings())
        taken += 1
    assert taken > many / 100


def uplink(many: int) -> None:
    batch = encode(
        Batch.of(Reading(device="d1", metric="m", time=NOW, value=v) for v in (1.5, 2**60, "t", [1], None, True))
    )
    tombstone = msgspec.json.encode({"until": 9, "readings": 6, "reason": "dropped"})
    profile = msgspec.json.encode({"device": "d1", "metrics": {"m": {"unit": "x"}}, "commands": {"c": {}}})
    contents = [
        (EntryKind.READINGS, batch, 6),
        (EntryKind.TOMBSTONE, tombstone, 6),
        (EntryKind.PROFILE, profile, 0),
        (EntryKind.COMMAND, b'{"id":"c","step":"running","device":"d1","command":"heat"}', 0),
    ]
    for chance in rounds(many):
        kind, content, readings = chance.choice(contents)
        content = mutated(content, chance)
        until = 9 if kind == EntryKind.TOMBSTONE else 1
        outgoing = Outgoing(kind, 1, until, readings, readings, hashlib.sha256(content).digest()[:16], content)
        try:
            check_stream(NODE, STREAM, [outgoing])
            checked = check_entries(NODE, STREAM, [outgoing], NOW, LIMITS)
        except Reject:
            continue
        batches = [merge(checked.parts)] if checked.parts else [None]
        body = encode_body(Body(checked.entries, batches[0]))
        assert decode_body(body).readings == sum(map(len, checked.parts))
        for part in checked.parts:
            list(part.readings())


@pytest.mark.parametrize("fuzz", [telemetry, uplink])
def test_mutated_bodies(fuzz: Callable[[int], None]) -> None:
    fuzz(1_500)


@pytest.mark.all
@pytest.mark.parametrize("fuzz", [telemetry, uplink])
def test_mutated_bodies_for_long(fuzz: Callable[[int], None]) -> None:
    fuzz(60_000)


@contextlib.contextmanager
def server() -> Iterator[tuple[int, str]]:
    clock = SystemClock()
    control, metrics, token = MemoryControl(clock), Metrics(), Token.make()
    control.create_token(Credential(token.id, "t", frozenset({"ingest"})), token.digest)
    sink = Sink(MemoryLog(), KeyRing.generate(), Codec.AES_GCM, Access(control, clock), clock=clock, metrics=metrics)
    running = serve(TelemetryApp(sink, metrics=metrics), "127.0.0.1", 0)
    thread = threading.Thread(target=lambda: asyncio.run(running.run_until_stopped()))
    thread.start()
    try:
        yield running.port, token.text
    finally:
        running.stop()
        thread.join(15)
        sink.close()


def exchange(port: int, request: bytes) -> bytes:
    """The answer to bytes that may or may not be requests."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        return answer


def test_mutated_requests() -> None:
    body = json.dumps([OWN, FULL]).encode()
    with server() as (port, token):
        head = (
            f"POST /telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
        )
        whole = head.encode() + b"Connection: close\r\n\r\n" + body
        assert exchange(port, whole).startswith(b"HTTP/1.1 202 ")
        statuses = set()
        for chance in rounds(400):
            answer = exchange(port, mutated(whole, chance))
            statuses.add(answer[9:12])
            assert answer[9:10] in (b"", b"2", b"4"), answer[:500]
        assert {b"202", b"400"} <= statuses
        assert exchange(port, whole).startswith(b"HTTP/1.1 202 ")


def test_an_error_names_no_secret() -> None:
    with server() as (port, token):
        for status, change in (
            (b"401", (token[-4:], "AAAA")),
            (b"413", ("Content-Length: 5", "Content-Length: 99999999999")),
        ):
            request = f"POST /telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 5\r\n\r\n12345"
            answer = exchange(port, request.replace(*change).encode())
            assert answer[9:12] == status
            assert token.split("_")[2].encode() not in answer


def test_the_seeds_are_taken() -> None:
    for request in seeds():
        try:
            assert len(forms.read(request, NOW, LIMITS)[0]) >= 1
        except Invalid as error:
            raise AssertionError(f"{request}: {error}") from error
