"""The log under power cuts, failing disks, full disks and SIGKILL."""

import errno
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sonde.codec import decompress
from sonde.errors import Retry
from sonde.frame import HEADER_BYTES, Codec, Sealer
from sonde.keyring import KeyRing
from sonde.log.disk import Disk
from sonde.log.segments import SegmentLog
from sonde.testing.disk import FaultyDisk, Image, RecordedDisk, Touch, power_cuts, put
from sonde.testing.log_contract import DEADLINE, everything, frames

Attempts = dict[int, list[bytes]]
"""For each offset, the frames that an append tried to put there, in order."""


def workload(root: Path, appends: int, seed: int) -> tuple[list[Touch], Attempts]:
    """Appends of different sizes over several segments. Notes say how far the log was confirmed."""
    dice = random.Random(seed)
    disk = RecordedDisk(root)
    log = SegmentLog(root, segment_bytes=6000, disk=disk)
    sealer = Sealer(KeyRing.generate(), Codec.PLAIN)
    attempts: Attempts = {}
    for i in range(appends):
        some = frames(dice.choice([1, 1, 2, 5]), size=dice.choice([5, 300, 1500]), sealer=sealer)
        for j, frame in enumerate(some):
            attempts.setdefault(log.ends()[0][1] + j, []).append(frame)
        log.append(0, some)
        disk.note(str(log.ends()[0][1]))
        if i == appends // 2:
            log.cut(0, log.ends()[0][1] // 2)
    log.close()
    return disk.touches, attempts


def confirmed(touches: list[Touch], done: int) -> int:
    """The end of the log that was confirmed after so many touches."""
    return max((int(t.data) for t in touches[:done] if t.call == "note"), default=0)


def check(root: Path, image: Image, attempts: Attempts, sure: int, disk: RecordedDisk | None = None) -> int:
    """Everything confirmed is there, nothing invented, and the log goes on; where it ends."""
    put(image, root)
    log = SegmentLog(root, segment_bytes=6000, disk=disk or Disk())
    first, end = log.ends()[0]
    assert end >= sure
    found = everything(log, offset=first)
    assert [r.offset for r in found] == list(range(first, end))
    assert all(r.frame in attempts[r.offset] for r in found)
    log.close()
    return end


def goes_on(root: Path, end: int) -> None:
    """What was readable stays, and the next frame gets the next offset."""
    log = SegmentLog(root, segment_bytes=6000)
    before = everything(log, offset=log.ends()[0][0])
    assert log.ends()[0][1] == end
    (new,) = frames(1)
    assert log.append(0, [new]) == end
    log.close()
    log = SegmentLog(root, segment_bytes=6000)
    after = everything(log, offset=log.ends()[0][0])
    assert [r.frame for r in after] == [*(r.frame for r in before), new]
    log.close()


def run_power_cuts(tmp_path: Path, appends: int, cuts: int, seed: int, twice: int) -> int:
    touches, attempts = workload(tmp_path / "work", appends, seed)
    images = list(power_cuts(touches, {}, seed=seed, cuts=cuts))
    for number, (done, image) in enumerate(images):
        root = tmp_path / "image"
        sure = confirmed(touches, done)
        if not any(path.name == "id" for path in image):
            continue
        disk = RecordedDisk(root)
        end = check(root, image, attempts, sure, disk)
        goes_on(root, end)
        shutil.rmtree(root)
        if number % twice == 0:  # and once more while it recovers
            for touched, again in power_cuts(disk.touches, image, seed=seed, cuts=3):
                check(root, again, attempts, end if touched == len(disk.touches) else sure)
                shutil.rmtree(root)
    return len(images)


def test_power_cut_at_every_moment(tmp_path: Path) -> None:
    assert run_power_cuts(tmp_path, appends=12, cuts=6, seed=1, twice=9) > 150


@pytest.mark.all
@pytest.mark.parametrize("seed", range(2, 5))
def test_power_cut_at_every_byte(tmp_path: Path, seed: int) -> None:
    assert run_power_cuts(tmp_path, appends=14, cuts=120, seed=seed, twice=25) > 1500


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("call", ["write", "sync"])
def test_what_failed_is_never_seen_and_its_segment_takes_no_more(tmp_path: Path, call: str, number: int) -> None:
    disk = FaultyDisk()
    log = SegmentLog(tmp_path / "log", disk=disk)
    kept, lost, later = frames(2), frames(3), frames(2)
    log.append(0, kept)
    disk.fail(call, number, share=0.6)
    with pytest.raises(Retry) as refused:
        log.append(0, lost)
    assert refused.value.hint
    assert log.ends() == {0: (0, 2)}
    assert list(log.read(0, 2, 1 << 20)) == []
    assert log.append(0, later) == 2
    assert [r.frame for r in everything(log)] == kept + later
    log.close()
    assert len(list((tmp_path / "log" / "0000").glob("*.seg"))) == 2
    log = SegmentLog(tmp_path / "log")
    assert [r.frame for r in everything(log)] == kept + later
    log.close()


def test_bytes_of_a_failed_sync_are_not_taken_for_frames_of_the_next_segment(tmp_path: Path) -> None:
    """Neither sync nor truncation worked, so the whole batch stands where it was written."""
    disk = FaultyDisk()
    log = SegmentLog(tmp_path, disk=disk)
    kept, lost, later = frames(2), frames(3), frames(2)
    log.append(0, kept)
    disk.fail("sync", errno.EIO)
    disk.fail("truncate", errno.EIO)
    with pytest.raises(Retry):
        log.append(0, lost)
    assert log.append(0, later) == 2
    log.close()
    assert disk.struck == 2
    log = SegmentLog(tmp_path)
    assert [r.frame for r in everything(log)] == kept + later
    log.close()


def test_the_first_append_of_a_segment_fails_again_and_again(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = SegmentLog(tmp_path, disk=disk)
    for _ in range(3):
        disk.fail("sync", errno.EIO)
        with pytest.raises(Retry):
            log.append(0, frames(1))
    written = frames(2)
    assert log.append(0, written) == 0
    assert [r.frame for r in everything(log)] == written
    assert len(list((tmp_path / "0000").glob("*.seg"))) == 1
    log.close()


@pytest.mark.parametrize("call", ["write", "sync", "create"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_segment_that_cannot_be_sealed_or_begun(tmp_path: Path, call: str, skip: int) -> None:
    disk = FaultyDisk()
    log = SegmentLog(tmp_path, disk=disk, segment_bytes=2000)
    written = frames(12, size=200)
    for frame in written[:8]:
        log.append(0, [frame])
    at = 8
    disk.fail(call, errno.ENOSPC, skip=skip)
    while at < len(written):
        try:
            log.append(0, [written[at]])
            at += 1
        except Retry:
            assert log.ends()[0][1] == at
    assert disk.struck == 1
    assert [r.frame for r in everything(log)] == written
    log.close()
    log = SegmentLog(tmp_path)
    assert [r.frame for r in everything(log)] == written
    log.close()


def everything_of(log: SegmentLog) -> list[bytes]:
    return [r.frame for r in everything(log)]


def blobs(count: int) -> list[bytes]:
    """Frames that no compression makes small."""
    sealer = Sealer(KeyRing.generate(), Codec.PLAIN)
    return [sealer.seal_encoded(random.Random(i).randbytes(20_000), 0, 0, i) for i in range(count)]


def fill_until_refused(log: SegmentLog, limit: int) -> list[bytes]:
    """Append until the disk refuses; what was confirmed."""
    written = everything_of(log)
    for _ in range(limit):
        some = blobs(3)
        try:
            log.append(0, some)
        except Retry as error:
            refused = error
            break
        written += some
    else:
        pytest.fail("the disk never became full")
    assert "limit" in refused.hint or "space" in refused.hint
    return written


SmallDisk = tuple[Path, Callable[[], None]]
"""A folder on a disk with little room, and how to make more."""


@contextmanager
def limited_files(path: Path) -> Iterator[SmallDisk]:
    """Files of this process may not grow over 1 MiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield path, free
    finally:
        free()


@contextmanager
def small_file_system(path: Path) -> Iterator[SmallDisk]:
    """A file system of 4 MiB, half of it taken; where this user may not mount one, limited files."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=False, capture_output=True
    )
    if mounted.returncode:
        with limited_files(path) as small:
            yield small
        return
    try:
        ballast = path / "ballast"
        ballast.write_bytes(bytes(2 << 20))
        yield path / "log", ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("small_disk", [limited_files, small_file_system])
def test_a_full_disk_confirms_nothing_that_is_not_there(
    tmp_path: Path, small_disk: Callable[[Path], AbstractContextManager[SmallDisk]]
) -> None:
    with small_disk(tmp_path / "small") as (path, free):
        log = SegmentLog(path)
        written = fill_until_refused(log, 1000)
        for _ in range(3):
            with pytest.raises(Retry):
                log.append(0, blobs(60))
        written = [*written, *everything_of(log)[len(written) :]]
        free()
        more = frames(2)
        log.append(0, more)
        written += more
        assert everything_of(log) == written
        log.close()
        log = SegmentLog(path)
        assert everything_of(log) == written
        log.close()


CHILD = """
import sys, pathlib
from sonde.frame import Codec, Sealer
from sonde.keyring import KeyRing
from sonde.log.disk import Disk
from sonde.log.segments import SegmentLog
root, seed, stored = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = SegmentLog(root, segment_bytes=200_000, stored={0: stored})
sealer = Sealer(KeyRing.generate(), Codec.PLAIN)
number = 0
while True:
    some = [sealer.seal_encoded(f"{seed}/{number + i}".encode() * 200, 0, 0, seed) for i in range(1 + number % 7)]
    first = log.append(0, some)
    print(first, len(some), number, flush=True)
    number += len(some)
"""


def kill_rounds(root: Path, rounds: int, seed: int) -> None:
    """Kill a writer again and again; whatever it said it had is there."""
    dice = random.Random(seed)
    said: dict[int, bytes] = {}
    for number in range(rounds):
        stored = max(said, default=-1) + 1
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root), str(number), str(stored)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(dice.randrange(1, 120))]
        child.send_signal(signal.SIGKILL)
        lines += [line for line in child.stdout if line.endswith("\n")]
        child.stdout.close()
        assert child.wait(DEADLINE) == -signal.SIGKILL
        for first, count, start in (map(int, line.split()) for line in lines):
            said.update({first + i: f"{number}/{start + i}".encode() * 200 for i in range(count)})
    log = SegmentLog(root, stored={0: max(said) + 1})
    found = {r.offset: bytes(decompress(r.frame[HEADER_BYTES:])) for r in everything(log)}
    log.close()
    assert len(said) > rounds
    assert {offset: found[offset] for offset in said} == said
    assert list(found) == list(range(len(found)))


def test_killed_writers_keep_what_they_confirmed(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=5, seed=1)


@pytest.mark.all
def test_killed_writers_keep_what_they_confirmed_for_long(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=60, seed=2)
