"""Frames: sealed, opened, and every change to them noticed."""

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Damaged, Invalid, KeyMissing, NewerFormat, SondeError, TooLarge
from sonde.frame import (
    HEADER_BYTES,
    MAX_BODY_BYTES,
    NO_TAG,
    Codec,
    Header,
    Opener,
    Sealer,
    check_body,
    check_frame,
    frame_size,
    read_header,
    tag,
)
from sonde.keyring import KeyRing
from sonde.reading import Batch

RING = KeyRing.generate()
OPENER = Opener(RING)
ALL = pytest.mark.parametrize("codec", list(Codec))
SEALED = pytest.mark.parametrize("codec", [Codec.AES_GCM, Codec.FERNET])


def body(rows: int = 1) -> Body:
    batch = Batch.build(device="d", metric="m", time=[1] * rows, value=[1.5] * rows)
    return Body([Entry(EntryKind.READINGS, "s", rows)], batch)


def header_with(header: Header, sealed: bytes) -> bytes:
    """A frame whose checksums are right, as someone without the key could make it."""
    return replace(header, length=len(sealed), checksum=zlib.crc32(sealed)).pack() + sealed


@ALL
@settings(deadline=None)
@given(log_time=st.integers(-(2**63), 2**63 - 1), rows=st.integers(0, 5), source=st.text(max_size=9))
def test_what_was_sealed_is_opened(codec: Codec, log_time: int, rows: int, source: str) -> None:
    made = Body([Entry(EntryKind.READINGS, source.encode("utf-8", "ignore").decode(), rows)], body(rows).batch)
    data = Sealer(RING, codec).seal(made, log_time)
    frame = OPENER.open(data)
    assert list(frame.body.entries) == list(made.entries)
    assert frame.header == read_header(data)
    assert (frame.header.codec, frame.header.entries, frame.header.readings) == (codec, 1, rows)
    assert frame.header.log_time == log_time
    assert check_frame(data) == frame_size(data) == len(data)
    assert OPENER.open(memoryview(data)).header == frame.header


@ALL
def test_each_frame_names_the_one_before(codec: Codec) -> None:
    sealer = Sealer(RING, codec)
    frames = [sealer.seal(body(), i) for i in range(4)]
    headers = [read_header(f) for f in frames]
    assert [h.number for h in headers] == [0, 1, 2, 3]
    assert [h.previous for h in headers] == [NO_TAG, *(tag(codec, f) for f in frames[:3])]
    assert len({h.session for h in headers}) == 1
    following = Sealer(RING, codec, tag(codec, frames[3]))
    assert read_header(following.seal(body(), 5)).previous == tag(codec, frames[3])


@ALL
def test_every_flipped_bit_is_noticed(codec: Codec) -> None:
    data = Sealer(RING, codec).seal(body(), 7)
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(Damaged):
                OPENER.open(bytes(changed))
            with pytest.raises(Damaged):
                check_frame(bytes(changed))


@ALL
def test_every_shorter_or_longer_frame_is_noticed(codec: Codec) -> None:
    data = Sealer(RING, codec).seal(body(), 7)
    for size in range(len(data)):
        with pytest.raises(Damaged):
            OPENER.open(data[:size])
        with pytest.raises(Damaged):
            check_frame(data[:size])
    with pytest.raises(Damaged):
        OPENER.open(data + b"\0")


@SEALED
def test_mistake_13_a_change_with_right_checksums_is_noticed(codec: Codec) -> None:
    """Whoever can write the file can make checksums right, but not the seal."""
    sealer = Sealer(RING, codec)
    sealer.seal(body(), 6)
    data = sealer.seal(body(), 7)
    header, sealed = read_header(data), data[HEADER_BYTES:]
    other = next(c for c in (Codec.AES_GCM, Codec.FERNET) if c != codec)
    for changed in (
        replace(header, codec=other),
        replace(header, entries=2),
        replace(header, readings=2),
        replace(header, log_time=8),
        replace(header, number=header.number + 1),
        replace(header, session=bytes(16)),
        replace(header, previous=NO_TAG),
        replace(header, wrapped=bytes(60)),
    ):
        with pytest.raises(Damaged):
            Opener(RING).open(header_with(changed, sealed))
        with pytest.raises(Damaged):  # and with the session's key at hand
            OPENER.open(header_with(changed, sealed))
    for place in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[place] ^= 1
        with pytest.raises(Damaged):
            OPENER.open(header_with(header, bytes(flipped)))
    assert OPENER.open(header_with(header, sealed)).header == header


def test_a_frame_in_the_open_is_taken_only_where_that_is_allowed() -> None:
    data = Sealer(RING, Codec.PLAIN).seal(body(), 1)
    assert OPENER.open(data).body.readings == 1
    with pytest.raises(Damaged, match="not allowed"):
        Opener(RING, [Codec.AES_GCM]).open(data)


@SEALED
def test_the_same_reading_never_looks_the_same(codec: Codec) -> None:
    sealer = Sealer(RING, codec)
    assert len({sealer.seal(body(), 1)[HEADER_BYTES:] for _ in range(10)}) == 10
    assert b"device" not in Sealer(RING, codec).seal(Body([Entry(EntryKind.PROFILE, payload="device" * 9)]), 1)


@SEALED
def test_keys_rotate_by_name_without_a_rewrite(codec: Codec) -> None:
    old = KeyRing.generate("old")
    new = KeyRing("new", {**old.keys, "new": bytes(32)})
    before, after = Sealer(old, codec).seal(body(), 1), Sealer(new, codec).seal(body(), 2)
    for data in (before, after):
        assert Opener(new).open(data).body.readings == 1
    with pytest.raises(KeyMissing, match="'new'"):
        Opener(old).open(after)
    with pytest.raises(Damaged, match="another key"):
        Opener(KeyRing("old", {"old": bytes(32)})).open(before)


def test_many_sessions_do_not_pile_up() -> None:
    opener = Opener(RING)
    frames = [Sealer(RING).seal(body(), i) for i in range(200)]
    for data in frames + frames[:3]:
        assert opener.open(data).body.readings == 1
    assert len(opener._ciphers) <= 64


def test_from_many_threads_the_chain_is_whole() -> None:
    """A nonce that served twice would give the key away."""
    sealer = Sealer(RING)
    start = threading.Barrier(4)

    def seal(_: int) -> list[bytes]:
        start.wait(10)
        return [sealer.seal(body(), i) for i in range(100)]

    with ThreadPoolExecutor(4) as pool:
        frames = [f for some in pool.map(seal, range(4)) for f in some]
    by_number = {read_header(f).number: f for f in frames}
    assert sorted(by_number) == list(range(400))
    for number in range(1, 400):
        assert read_header(by_number[number]).previous == tag(Codec.AES_GCM, by_number[number - 1])


def test_a_body_that_no_frame_can_hold() -> None:
    sealer = Sealer(RING, Codec.PLAIN)
    with pytest.raises(TooLarge):
        sealer.seal_encoded(bytes(MAX_BODY_BYTES + 1), 0, 0, 0)
    assert read_header(sealer.seal(body(), 1)).number == 0


def plain(sealed: bytes) -> bytes:
    return header_with(read_header(Sealer(RING, Codec.PLAIN).seal(body(), 1)), sealed)


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 2**63, 9, 0])
def test_a_body_that_says_a_false_size(size: int) -> None:
    sealed = Sealer(RING, Codec.PLAIN).seal(body(), 1)[HEADER_BYTES:]
    with pytest.raises(Damaged):
        OPENER.open(plain(size.to_bytes(8, "little") + sealed[8:]))


def test_what_was_sealed_is_not_a_body() -> None:
    with pytest.raises(Invalid):
        OPENER.open(Sealer(RING).seal_encoded(b"not a body", 0, 0, 0))


def crafted(place: int, value: bytes) -> bytes:
    """A frame with other bytes in its header and right checksums."""
    data = bytearray(Sealer(RING).seal(body(), 1))
    data[place : place + len(value)] = value
    data[164:168] = zlib.crc32(data[:164]).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(("place", "value"), [(4, b"\x02"), (4, b"\x00"), (5, b"\x03"), (6, b"\x01"), (7, b"\x80")])
def test_a_frame_of_a_newer_sonde(place: int, value: bytes) -> None:
    data = crafted(place, value)
    with pytest.raises(NewerFormat):
        read_header(data, file="here", offset=5)
    assert check_frame(data) == len(data)  # a log still carries it


@pytest.mark.parametrize(("place", "value"), [(64, b"\xff\xfe"), (156, b"\xff\xff\xff\xff"), (0, b"ELSE")])
def test_headers_that_cannot_be(place: int, value: bytes) -> None:
    with pytest.raises(Damaged) as damage:
        read_header(crafted(place, value), file="here", offset=5)
    assert (damage.value.file, damage.value.offset) == ("here", 5)


def test_a_key_name_that_the_ring_cannot_hold() -> None:
    with pytest.raises(SondeError):
        OPENER.open(crafted(64, b"no such key"))


def test_a_body_is_checked_without_a_key() -> None:
    data = Sealer(RING).seal(body(), 1)
    header = read_header(data)
    check_body(header, data[HEADER_BYTES:])
    with pytest.raises(Damaged):
        check_body(header, data[HEADER_BYTES:-1])


def test_codecs_by_their_name() -> None:
    assert [Codec.named(n) for n in ("plain", "aes-gcm", "fernet")] == [0, 1, 2]
