"""A byte mutator against everything that reads batches, bodies, frames, segments and key rings."""

import random
import zlib
from array import array
from collections import Counter
from collections.abc import Callable

import pytest

from sonde.codec import compress
from sonde.entry import Body, Entry, EntryKind, decode_body, encode_body
from sonde.errors import SondeError
from sonde.frame import HEADER_BYTES, Codec, Opener, Sealer, check_frame, read_header
from sonde.keyring import KeyRing
from sonde.log.layout import Mark, SegmentHeader, pack_index, unpack_index
from sonde.reading import Batch, Reading, Value, decode, encode

RING = KeyRing.generate()
VALUES: list[Value] = [1.0, 5, 2**60, True, "té", {"a": [1]}, None, [1], 1.5]
BATCH = Batch.of(
    Reading(device=f"d{i % 3}", metric="m", time=i, value=v, labels={"a": "b"}, event_id="x" if i % 2 else None)
    for i, v in enumerate(VALUES * 2)
)
BODY = Body(
    [Entry(EntryKind.READINGS, "s", len(BATCH)), Entry(EntryKind.RULE, payload={"a": [1, {"b": None, "é": "ü"}]})],
    BATCH,
)
SPECIAL = [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff" * 8]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """``data`` with a few bytes changed, removed, put in, copied or cut off."""
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
        size = max(1, len(changed))
        place, other, some = dice.randrange(size), dice.randrange(size), dice.choice([1, 4, 8, 64])
        match dice.randrange(7):
            case 0:
                changed[place : place + 1] = bytes(b ^ 1 << dice.randrange(8) for b in changed[place : place + 1])
            case 1:
                changed[place : place + 1] = dice.randbytes(1)
            case 2:
                del changed[place : place + some]
            case 3:
                changed[place:place] = dice.randbytes(some)
            case 4:
                del changed[place:]
            case 5:
                changed[place : place + 4] = dice.choice(SPECIAL)
            case _:
                changed[place : place + some] = changed[other : other + some]
    return bytes(changed)


def resealed(dice: random.Random) -> bytes:
    """A frame in the open whose body or header was changed and whose checksums are right."""
    body = compress(mutate(encode_body(BODY), dice))
    frame = bytearray(Sealer(RING, Codec.PLAIN).seal(BODY, 1)[:HEADER_BYTES])
    frame[156:164] = len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
    if dice.random() < 0.3:
        frame = bytearray(mutate(bytes(frame), dice)[:164].ljust(HEADER_BYTES, b"\0"))
    frame[164:168] = zlib.crc32(frame[:164]).to_bytes(4, "little")
    return bytes(frame) + body


def read_all(data: bytes) -> None:
    for _ in decode(data).readings():
        pass


def open_all(data: bytes) -> None:
    batch = Opener(RING).open(data).body.batch
    if batch is not None:
        list(batch.readings())


Reader = tuple[bytes, Callable[[bytes], object]]
READERS: dict[str, Reader] = {
    "batch": (encode(BATCH), read_all),
    "body": (encode_body(BODY), decode_body),
    "header": (Sealer(RING).seal(BODY, 1), read_header),
    "frame": (Sealer(RING).seal(BODY, 1), open_all),
    "frame's checksums": (Sealer(RING).seal(BODY, 1), check_frame),
    "fernet": (Sealer(RING, Codec.FERNET).seal(BODY, 1), open_all),
    "segment": (SegmentHeader("0" * 16, 0, 0).pack(), lambda d: SegmentHeader.unpack(d, "file")),
    "mark": (Mark(b"SNDB", 1, 2, 3).pack(7), lambda d: Mark.unpack(d, 7)),
    "index": (pack_index(0, array("Q", [1, 2])), lambda d: unpack_index(d, 0)),
    "key ring": (RING.to_json(), lambda d: KeyRing.from_json(d, "file")),
}


def fuzz(read: Callable[[bytes], object], inputs: Callable[[random.Random], bytes], rounds: int) -> Counter[str]:
    """What came of the inputs; anything but an error of Sonde's own tree is passed on."""
    outcomes: Counter[str] = Counter()
    dice = random.Random(rounds)
    for _ in range(rounds):
        data = inputs(dice)
        try:
            read(data)
            outcomes["read"] += 1
        except SondeError as error:
            outcomes[type(error).__name__] += 1
    return outcomes


ROUNDS = pytest.mark.parametrize("rounds", [400, pytest.param(30_000, marks=pytest.mark.all)])


@ROUNDS
@pytest.mark.parametrize("name", READERS)
def test_changed_bytes_give_errors_of_the_tree_or_nothing(name: str, rounds: int) -> None:
    data, read = READERS[name]
    outcomes = fuzz(read, lambda dice: mutate(data, dice), rounds)
    assert outcomes.total() == rounds
    assert len(outcomes) > 1 or name in {"mark", "index", "fernet"}


@ROUNDS
def test_changed_frames_with_right_checksums(rounds: int) -> None:
    outcomes = fuzz(open_all, resealed, rounds)
    assert outcomes["Invalid"] > rounds // 4
    assert outcomes["read"]
    assert outcomes["Damaged"]


@ROUNDS
def test_noise(rounds: int) -> None:
    for _, read in READERS.values():
        fuzz(read, lambda dice: dice.randbytes(dice.randrange(400)), rounds // 10)
