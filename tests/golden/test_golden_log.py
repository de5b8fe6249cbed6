"""What the first version wrote, every later one reads. These files are never written again."""

import shutil
from pathlib import Path

import pytest

from sonde.entry import Body, Entry, EntryKind, Lane, decode_body, encode_body
from sonde.frame import HEADER_BYTES, NO_TAG, Codec, Opener, check_frame, read_header, tag
from sonde.keyring import KeyRing
from sonde.log.segments import SegmentLog
from sonde.log.walk import frames, verify
from sonde.reading import Reading, Value
from sonde.testing.disk import taken
from sonde.testing.log_contract import everything

GOLDEN = Path(__file__).parent
RING = KeyRing("second", {"first": bytes(range(32)), "second": bytes(range(100, 132))})
START = 1_767_225_600_000_000
NODE = {"source": "node-1", "lane": Lane.LIVE, "epoch": "00ff"}
VALUES: list[Value] = [
    *(21.5, -0.0, 1e300, 7, -(2**53), 2**53 + 1, -(2**63), 2**63 - 1, True, False, "warm", "grün ☀ 漢字", ""),
    *([1, 2.5, "x", None], {"b": 1, "a": {"c": [True]}}, [], {}, None),
]
READINGS = [
    Reading(
        device=f"device-{i % 3}",
        metric="m" if i % 2 else "température",
        time=START + i,
        value=value,
        site="Site-01" if i % 4 else "",
        zone="Zone-ü",
        labels={"floor": "1", "room": "ä"} if i % 5 == 0 else {},
        quality=i % 5,
        event_id=f"event-{i}" if i % 6 == 0 else None,
    )
    for i, value in enumerate(VALUES)
]
ENTRIES = [
    Entry(EntryKind.READINGS, "node-1", 15, bytes(16), lane=Lane.LIVE, epoch="00ff", seq=7, count=123),
    Entry(
        EntryKind.TOMBSTONE,
        "node-1",
        lane=Lane.LIVE,
        epoch="00ff",
        seq=8,
        count=130,
        payload={"until": 9, "readings": 7, "reason": "full"},
    ),
    Entry(EntryKind.READINGS, rows=3, key=b"k" * 16, digest=b"d" * 16),
    Entry(EntryKind.RULE, payload={"id": "r", "rule": None}),
]


def check_body(body: Body) -> None:
    assert list(body.entries) == ENTRIES
    assert body.batch is not None
    found = list(body.batch.readings())
    assert found == READINGS
    assert [type(r.value) for r in found] == [type(v) for v in VALUES]


@pytest.mark.parametrize("codec", list(Codec))
def test_frames(codec: Codec) -> None:
    opener = Opener(RING)
    session, previous = None, NO_TAG
    for i in range(3):
        data = (GOLDEN / f"{codec.name.lower().replace('_', '-')}-{i}.frame").read_bytes()
        frame = opener.open(data)
        assert check_frame(data) == frame.header.frame_bytes == len(data)
        assert frame.header.pack() == data[:HEADER_BYTES]
        assert (frame.header.codec, frame.header.key) == (codec, "second")
        assert (frame.header.number, frame.header.previous, frame.header.log_time) == (i, previous, START + i)
        assert session in {None, frame.header.session}
        session, previous = frame.header.session, tag(codec, data)
        if i == 1:
            assert frame.body == Body([Entry(EntryKind.TICK)])
        else:
            assert (frame.header.entries, frame.header.readings) == (len(ENTRIES), len(VALUES))
            check_body(frame.body)


def test_body() -> None:
    data = (GOLDEN / "body.bin").read_bytes()
    check_body(decode_body(data))
    check_body(decode_body(encode_body(decode_body(data))))


def test_header_byte_by_byte() -> None:
    """The fields and where they stand."""
    data = (GOLDEN / "aes-gcm-2.frame").read_bytes()
    header = read_header(data)
    assert HEADER_BYTES == 168
    assert data[:8] == b"SNDE\x01\x01\0\0"
    fields = [4, 4, 8, 8, 16, 16, 32, 60, 4, 4, 4]
    places = [8 + sum(fields[:i]) for i in range(len(fields))]
    parts = [data[p : p + n] for p, n in zip(places, fields, strict=True)]
    assert [int.from_bytes(p, "little") for p in parts[:4]] == [4, 18, START + 2, 2]
    assert parts[4:8] == [header.session, header.previous, b"second".ljust(32, b"\0"), header.wrapped]
    assert int.from_bytes(parts[8], "little") == len(data) - 168


def test_log(tmp_path: Path) -> None:
    """Whole segments: two that are sealed, with footer and index, and the last."""
    path = tmp_path / "log"
    shutil.copytree(GOLDEN / "log", path)
    said = verify(path, RING)
    assert said.sound
    assert said.torn == []
    assert (said.segments, said.frames, said.readings, said.opened) == (3, 18, 18 * len(VALUES), 18)
    found = list(frames(path, RING))
    assert [(p, o) for p, o, _ in found] == [(0, o) for o in range(18)]
    assert {frame.header.key for *_, frame in found} == {"first", "second"}
    for *_, frame in found:
        check_body(frame.body)
    log = SegmentLog(path)
    assert log.ends() == {0: (0, 18)}
    assert [read_header(r.frame) for r in everything(log)] == [frame.header for *_, frame in found]
    log.close()
    (path / "lock").unlink()
    assert taken(path) == taken(GOLDEN / "log")  # opening it changed nothing
