"""The files of the embedded log: how they roll, what is noticed when they are harmed, and what verify says of them."""

import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Damaged, InUse, KeyMissing, NotFound, Retry
from sonde.frame import Codec, Frame, Opener, Sealer, tag
from sonde.keyring import KeyRing
from sonde.log.check import Verification
from sonde.log.layout import MARK_BYTES
from sonde.log.segments import SegmentLog
from sonde.log.walk import ends, verify
from sonde.log.walk import frames as opened
from sonde.reading import Batch
from sonde.testing.disk import FaultyDisk, put, taken
from sonde.testing.log_contract import DEADLINE, ROOMY, everything, frames

RING = KeyRing.generate()


def folder(path: Path) -> Path:
    return path / "0000"


def segments(path: Path) -> list[Path]:
    return sorted(folder(path).glob("*.seg"))


def written(path: Path, count: int, *, group: int = 1, size: int = 200, segment_bytes: int = 1 << 28) -> list[bytes]:
    """A closed log of ``count`` frames, so many an append; its frames."""
    some = frames(count, size=size)
    log = SegmentLog(path, segment_bytes=segment_bytes)
    for i in range(0, count, group):
        log.append(0, some[i : i + group])
    log.close()
    return some


def contents(log: SegmentLog) -> list[bytes]:
    return [r.frame for r in everything(log, offset=log.ends()[0][0])]


@pytest.fixture
def opening() -> Iterator[Callable[[Path], SegmentLog]]:
    """Opens logs, and closes them when the test is over."""
    made: list[SegmentLog] = []

    def opening(path: Path, **how: object) -> SegmentLog:
        made.append(SegmentLog(path, **how))  # type: ignore[arg-type]
        return made[-1]

    yield opening
    for log in made:
        log.close()


Opening = Callable[..., SegmentLog]


def test_two_writers(tmp_path: Path, opening: Opening) -> None:
    log = opening(tmp_path)
    with pytest.raises(InUse):
        SegmentLog(tmp_path)
    log.close()
    opening(tmp_path)


def test_its_id_stays(tmp_path: Path, opening: Opening) -> None:
    log = opening(tmp_path)
    first = log.id
    log.append(0, frames(1))
    log.close()
    (tmp_path / "id").write_bytes(b"!" + (tmp_path / "id").read_bytes()[1:])
    log = opening(tmp_path)
    assert log.id == first
    log.close()
    (tmp_path / "id").unlink()
    log = opening(tmp_path)
    assert log.id == first
    log.close()
    assert verify(tmp_path).sound


def test_an_id_that_nothing_can_restore(tmp_path: Path, opening: Opening) -> None:
    opening(tmp_path).close()
    (tmp_path / "id").write_bytes(b"what?")
    with pytest.raises(Damaged) as damage:
        SegmentLog(tmp_path)
    assert damage.value.file == str(tmp_path / "id")
    (tmp_path / "id").unlink()
    opening(tmp_path)


def test_full_segments_are_sealed_and_read_through_their_index(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 40, group=3, segment_bytes=2000)
    assert len(segments(tmp_path)) > 4
    assert [p.with_suffix(".idx").exists() for p in segments(tmp_path)] == [True] * (len(segments(tmp_path)) - 1) + [
        False
    ]
    assert contents(opening(tmp_path)) == some
    assert verify(tmp_path).sound


@pytest.mark.parametrize("harm", ["missing", "foreign", "truncated"])
def test_an_index_is_only_a_help(tmp_path: Path, opening: Opening, harm: str) -> None:
    some = written(tmp_path, 40, segment_bytes=2000)
    first, second, *_ = (p.with_suffix(".idx") for p in segments(tmp_path))
    if harm == "missing":
        first.unlink()
    elif harm == "foreign":
        shutil.copy(second, first)
    else:
        first.write_bytes(first.read_bytes()[:-9])
    assert contents(opening(tmp_path)) == some


def test_more_sealed_segments_than_are_held_open(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 60, segment_bytes=700)
    assert len(segments(tmp_path)) > 15
    log = opening(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: contents(log), range(8)):
            assert found == some
    assert len(os.listdir("/proc/self/fd")) <= before + 8
    log.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_too_many_open_files(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 20, segment_bytes=700)
    log = opening(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    taken_up: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken_up.append(os.dup(0))
        with pytest.raises(Retry):
            log.read(0, 0, ROOMY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for handle in taken_up:
            os.close(handle)
    assert contents(log) == some


def test_cutting_removes_whole_files(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 40, segment_bytes=2000)
    log = opening(tmp_path)
    starts = [int(p.stem) for p in segments(tmp_path)]
    log.cut(0, starts[2] + 1)
    assert log.ends()[0] == (starts[2], 40)
    assert [int(p.stem) for p in segments(tmp_path)] == starts[2:]
    assert {p.stem for p in folder(tmp_path).glob("*.idx")} == {f"{s:020}" for s in starts[2:-1]}
    assert contents(log) == some[starts[2] :]
    with pytest.raises(NotFound):
        log.read(0, starts[2] - 1, ROOMY)
    log.close()
    assert verify(tmp_path).sound
    (folder(tmp_path) / f"{0:020}.idx").write_bytes(b"left behind")
    opening(tmp_path)
    assert not (folder(tmp_path) / f"{0:020}.idx").exists()


def test_cutting_after_the_first_append_failed(tmp_path: Path, opening: Opening) -> None:
    disk = FaultyDisk()
    log = opening(tmp_path, disk=disk)
    disk.fail("sync", 5)
    with pytest.raises(Retry):
        log.append(0, frames(1))
    some = frames(3)
    log.append(0, some)
    log.cut(0, 3)
    log.cut(0, 0)
    assert contents(log) == some
    log.close()
    assert contents(opening(tmp_path)) == some


def test_a_cut_beside_readers(tmp_path: Path, opening: Opening) -> None:
    written(tmp_path, 400, segment_bytes=700)
    log = opening(tmp_path)

    def read() -> None:
        offset = 0
        while offset < 400:
            try:
                offset = log.read(0, offset, 1)[-1].offset + 1
            except NotFound:
                offset = log.ends()[0][0]

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for below in range(0, 400, 7):
            log.cut(0, below)
        for reader in readers:
            reader.result(DEADLINE)


def test_torn_at_every_byte_of_the_last_frames(tmp_path: Path) -> None:
    """What is whole stays; what is torn is set aside, and its offset is given to the next frame."""
    path = tmp_path / "log"
    some = written(path, 2) + (last := frames(3, size=60))
    log = SegmentLog(path)
    log.append(0, last)
    log.close()
    (segment,) = segments(path)
    whole = segment.read_bytes()
    begin = len(whole) - sum(map(len, last)) - MARK_BYTES
    places = [begin + MARK_BYTES + sum(map(len, last[:i])) for i in range(4)]
    for size in range(begin, len(whole)):
        segment.write_bytes(whole[:size])
        kept = 2 + max(0, sum(place <= size for place in places) - 1)
        torn = verify(path)
        assert torn.sound
        assert torn.frames == kept
        cut = begin if kept == 2 else places[kept - 2]
        log = SegmentLog(path)
        assert segment.stat().st_size == cut
        assert contents(log) == some[:kept]
        (new,) = frames(1)
        assert log.append(0, [new]) == kept
        log.close()
        aside = list(folder(path).glob("*.torn-*"))
        assert [a.read_bytes() for a in aside] == ([whole[cut:size]] if size > cut else [])
        assert [(f, p, n) for f, p, n in torn.torn] == ([(str(segment), cut, size - cut)] if size > cut else [])
        for file in aside:
            file.unlink()
        assert verify(path).sound
        assert verify(path).torn == []


def test_a_torn_tail_is_told(tmp_path: Path, opening: Opening) -> None:
    written(tmp_path, 4)
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-5])
    with capture_logs() as events:
        opening(tmp_path)
    (event,) = events
    assert event["event"] == "log_tail_cut"
    assert event["file"] == str(segment)
    assert Path(event["kept_in"]).exists()


def test_what_the_store_has_committed_is_damage_and_not_torn(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 4)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    last = len(whole) - len(some[3]) - MARK_BYTES
    segment.write_bytes(whole[:-5])
    before = taken(tmp_path)
    with pytest.raises(Damaged) as damage:
        SegmentLog(tmp_path, stored={0: 4})
    assert (damage.value.file, damage.value.offset) == (str(segment), last)
    assert taken(tmp_path).items() == before.items()
    segment.write_bytes(whole[:last])  # cut off cleanly
    with pytest.raises(Damaged) as damage:
        SegmentLog(tmp_path, stored={0: 4})
    assert (damage.value.file, damage.value.offset) == (str(segment), last)
    segment.unlink()
    with pytest.raises(Damaged):
        SegmentLog(tmp_path, stored={0: 4})
    segment.write_bytes(whole[:-5])
    assert opening(tmp_path, stored={0: 3}).ends() == {0: (0, 3)}


def test_a_last_batch_that_took_harm_after_the_store_had_it_keeps_its_offsets(tmp_path: Path) -> None:
    """Else the offsets of what the store has would be given out again, and the store be thrown away for a flipped bit."""
    some = written(tmp_path, 7, group=3)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for number in (-1, -len(some[6]) + 1):
        segment.write_bytes(whole[:number] + bytes([whole[number] ^ 1]) + whole[number:][1:])
        with capture_logs() as events:
            log = SegmentLog(tmp_path, stored={0: 7})
        assert [(e["event"], e["file"]) for e in events] == [("log_damaged", str(segment))]
        assert survey(log) == (dict(enumerate(some[:6])), [(6, 7)])
        assert log.append(0, some[:1]) == 7
        log.close()
        log = SegmentLog(tmp_path, stored={0: 8})
        assert survey(log)[0] == {**dict(enumerate(some[:6])), 7: some[0]}
        log.close()
        assert [file for file, *_ in verify(tmp_path).damage] == [str(segment)]
        segments(tmp_path)[1].unlink()


@pytest.mark.parametrize("stored", [6, 7])
def test_a_last_batch_with_an_unreadable_mark_is_restored(tmp_path: Path, stored: int, opening: Opening) -> None:
    some = written(tmp_path, 7, group=3)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    place = len(whole) - len(some[6]) - 5
    segment.write_bytes(whole[:place] + b"?" + whole[place + 1 :])
    assert contents(opening(tmp_path, stored={0: stored})) == some
    assert segment.read_bytes() == whole


def test_few_torn_files_are_kept(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (segment,) = segments(tmp_path)
    for i in range(20):
        segment.write_bytes(segment.read_bytes() + bytes(i + 1))
        log = SegmentLog(tmp_path)
        log.append(0, frames(1))
        log.close()
    assert 10 < len(list(folder(tmp_path).glob("*.torn-*"))) <= 16


def test_a_damaged_mark_before_whole_frames_is_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    some = written(tmp_path, 2)
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[data.index(some[1]) - 3] ^= 1
    segment.write_bytes(data)
    said = verify(tmp_path)
    assert [(file, place) for file, place, _ in said.damage] == [(str(segment), data.index(some[1]) - MARK_BYTES)]
    assert said.torn == []


def survey(log: SegmentLog) -> tuple[dict[int, bytes], list[tuple[int, int]]]:
    """All frames that can be read, and the spans that are said to be damaged."""
    found: dict[int, bytes] = {}
    damaged: list[tuple[int, int]] = []
    offset, end = log.ends()[0]
    while offset < end and all(start < stop for start, stop in damaged):
        try:
            step = log.read(0, offset, 1000)
        except Damaged as damage:
            damaged.append((offset, damage.next_offset or 0))
            offset = damaged[-1][1]
        else:
            found.update({r.offset: r.frame for r in step})
            offset = step[-1].offset + 1
    assert all(start < stop for start, stop in damaged)
    return found, damaged


def check_harm(path: Path, some: list[bytes], last_batch: int) -> None:
    """A log that was harmed: nothing wrong is read, nothing is skipped in silence, only the last batch may be cut."""
    said = verify(path, RING)
    assert said.damage or said.torn or said.breaks
    log = SegmentLog(path)
    try:
        found, damaged = survey(log)
        first, end = log.ends()[0]
        assert first == 0
        assert end >= last_batch
        assert all(found[offset] == some[offset] for offset in found)
        assert set(found) | {o for start, stop in damaged for o in range(start, stop)} == set(range(end))
        assert end == len(some) or list(folder(path).glob("*.torn-*"))
        assert len(found) >= end - 6  # one flip harms at most one batch
        assert log.append(0, some[:1]) == end
    finally:
        log.close()


def test_damage_in_the_middle_of_the_growing_segment_moves_no_offset(tmp_path: Path, opening: Opening) -> None:
    """Batches say from which offset on they are, so what comes after damage keeps its own."""
    path = tmp_path / "log"
    some = written(path, 12, group=3)
    (segment,) = segments(path)
    whole = segment.read_bytes()
    starts = [whole.index(frame) for frame in some]
    mark = starts[3] - MARK_BYTES
    cases = {mark: (3, 6), starts[4]: (4, 6), starts[4] + len(some[4]) - 1: (4, 5), starts[5] + 1: (5, 6)}
    for place, span in cases.items():
        segment.write_bytes(whole[:place] + b"?" + whole[place + 1 :])
        log = SegmentLog(path, stored={0: 12})
        found, damaged = survey(log)
        log.close()
        assert damaged == [span]
        assert found == {o: some[o] for o in range(12) if not span[0] <= o < span[1]}
        assert {file for file, *_ in verify(path).damage} == {str(segment)}


@pytest.mark.parametrize("flips", [pytest.param(150, id="quick"), pytest.param(4000, id="long", marks=pytest.mark.all)])
def test_a_bit_flipped_in_any_file_is_noticed(tmp_path: Path, flips: int) -> None:
    path = tmp_path / "log"
    log = SegmentLog(path, segment_bytes=3000)
    sealer = Sealer(RING)
    body = Body([Entry(EntryKind.READINGS, rows=1)], Batch.build(device="d", metric="m", time=[1], value=[1.0]))
    some = [sealer.seal(body, i) for i in range(20)]
    for i in range(0, 20, 4):
        log.append(0, some[i : i + 4])
    log.close()
    image = {p: d for p, d in taken(path).items() if p.name != "lock"}
    assert len(image) > 5
    dice = random.Random(flips)
    for _ in range(flips):
        file = dice.choice(list(image))
        data = bytearray(image[file])
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        shutil.rmtree(path)
        put({**image, file: bytes(data)}, path)
        check_harm(path, some, last_batch=16)


def test_a_missing_segment_is_damage(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 40, segment_bytes=2000)
    first, second, third, *_ = segments(tmp_path)
    second.unlink()
    found, damaged = survey(opening(tmp_path))
    assert damaged == [(int(second.stem), int(third.stem))]
    assert found == {i: f for i, f in enumerate(some) if not int(second.stem) <= i < int(third.stem)}
    (what,) = verify(tmp_path).damage
    assert what[0] == str(first)


def test_a_segment_of_another_log_is_not_read(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path / "one", 40, segment_bytes=2000)
    written(tmp_path / "other", 40, segment_bytes=2000)
    mine, theirs = segments(tmp_path / "one")[1], segments(tmp_path / "other")[1]
    shutil.copy(theirs, mine)
    found, damaged = survey(opening(tmp_path / "one"))
    assert len(damaged) == 1
    assert damaged[0][0] == int(mine.stem)
    assert all(found[o] == some[o] for o in found)
    assert str(mine) in {file for file, *_ in verify(tmp_path / "one").damage}


def test_a_file_that_became_shorter_under_a_running_log(tmp_path: Path, opening: Opening) -> None:
    some = written(tmp_path, 40, segment_bytes=2000)
    log = opening(tmp_path)
    segment = segments(tmp_path)[1]
    os.truncate(segment, segment.stat().st_size - 500)
    found, damaged = survey(log)
    assert damaged
    assert found == {o: some[o] for o in range(40) if not any(a <= o < b for a, b in damaged)}


def sealed_log(path: Path, codec: Codec = Codec.AES_GCM) -> list[bytes]:
    """Three sessions of frames, each naming the one before; closed."""
    some: list[bytes] = []
    log = SegmentLog(path)
    for session in range(3):
        sealer = Sealer(RING, codec, tag(codec, some[-1])) if some else Sealer(RING, codec)
        batch = Batch.build(device="d", metric="m", time=[session], value=[1.5])
        new = [sealer.seal(Body([Entry(EntryKind.READINGS, rows=1)], batch), i) for i in range(4)]
        log.append(0, new)
        some += new
    log.close()
    return some


def again(path: Path, some: list[bytes]) -> Verification:
    """What verify says of a log with these frames, each whole."""
    log = SegmentLog(path)
    log.append(0, some)
    log.close()
    return verify(path, RING)


@pytest.mark.parametrize("codec", list(Codec))
def test_verify_counts_and_opens_everything(tmp_path: Path, codec: Codec) -> None:
    sealed_log(tmp_path, codec)
    steps: list[tuple[int, int]] = []
    said = verify(tmp_path, RING, lambda done, total: steps.append((done, total)))
    assert (said.segments, said.frames, said.readings, said.opened) == (1, 12, 12, 12)
    assert said.bytes == segments(tmp_path)[0].stat().st_size
    assert said.sound
    assert steps[-1] == (said.frames, said.frames)
    assert verify(tmp_path).opened == 0
    if codec != Codec.PLAIN:
        with pytest.raises(KeyMissing):
            verify(tmp_path, KeyRing.generate("another"))


@pytest.mark.parametrize("codec", list(Codec))
def test_mistake_13_frames_removed_moved_or_put_in_are_missed(tmp_path: Path, codec: Codec) -> None:
    some = sealed_log(tmp_path / "source", codec)
    forged = Sealer(RING, Codec.PLAIN).seal(Body([Entry(EntryKind.TICK)]), 1)
    cases = {
        "nothing": some,
        "one removed": some[:5] + some[6:],
        "the first of a session removed": some[:4] + some[5:],
        "the end of a session removed": some[:3] + some[4:],
        "a session removed": some[:4] + some[8:],
        "two exchanged": [*some[:5], some[6], some[5], *some[7:]],
        "one twice": some[:6] + some[5:],
        "sessions exchanged": some[4:8] + some[:4] + some[8:],
        "the first session once more": some + some[:4],
        "one put in": [*some[:6], forged, *some[6:]],
    }
    for i, (name, harmed) in enumerate(cases.items()):
        said = again(tmp_path / str(i), harmed)
        assert said.damage == []
        assert bool(said.breaks) == (name != "nothing"), name


def test_verify_and_frames_beside_a_writer(tmp_path: Path, opening: Opening) -> None:
    log = opening(tmp_path, segment_bytes=20_000)
    sealer = Sealer(RING)
    with ThreadPoolExecutor(1) as pool:

        def write() -> None:
            for i in range(300):
                log.append(0, [sealer.seal(Body([Entry(EntryKind.TICK)]), i)])

        writing = pool.submit(write)
        looks = 0
        while not writing.done() or looks == 0:
            said = verify(tmp_path, RING)
            assert said.sound, said
            numbers = [frame.header.log_time for _, _, frame in opened(tmp_path, RING)]
            assert numbers == list(range(len(numbers)))
            looks += 1
        writing.result()
    assert verify(tmp_path, RING).frames == 300


def test_frames_from_a_place_on(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_bytes=2000, partitions=2)
    sealer = Sealer(RING)
    for i in range(30):
        log.append(i % 2, [sealer.seal(Body([Entry(EntryKind.TICK)]), i)])
    log.close()
    assert dict(ends(tmp_path)) == {0: (0, 15), 1: (0, 15)}
    found = list(opened(tmp_path, RING, {0: 13, 1: 99}))
    assert [(p, o, f.header.log_time) for p, o, f in found] == [(0, 13, 26), (0, 14, 28)]
    assert len(list(opened(tmp_path, RING))) == 30


def test_frames_says_what_is_damaged_and_goes_on(tmp_path: Path) -> None:
    some = sealed_log(tmp_path)
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[data.index(some[5]) + len(some[5]) - 3] ^= 4
    segment.write_bytes(data)
    with pytest.raises(Damaged):
        list(opened(tmp_path, RING))
    told: list[Damaged] = []
    found: list[tuple[int, int, Frame]] = list(opened(tmp_path, RING, damaged=told.append))
    assert [o for _, o, _ in found] == [o for o in range(12) if o != 5]
    assert [t.next_offset for t in told] == [6]


def test_no_log_is_not_an_empty_one(tmp_path: Path) -> None:
    for look in (verify, ends):
        with pytest.raises(NotFound):
            look(tmp_path / "nowhere")
        with pytest.raises(NotFound):
            look(tmp_path)


def test_a_frame_with_a_false_count_is_damage(tmp_path: Path) -> None:
    sealer = Sealer(RING)
    frame = sealer.seal_encoded(b"\0" * 8, 0, 7, 0)
    assert replace(Opener(RING).open(sealer.seal(Body([]), 0)).header).readings == 0
    assert again(tmp_path, [frame]).damage
