"""The chain of a partition that several write: sessions interleave, and nothing goes missing in one unseen."""

import random
from collections.abc import Sequence

import pytest

from sonde.entry import Body, Entry, EntryKind
from sonde.frame import Sealer, read_header, tag
from sonde.keyring import KeyRing
from sonde.log.chain import Chain, Follows, SharedChain
from sonde.log.check import check
from sonde.log.memory import MemoryLog

RING = KeyRing.generate("key-1")


def tag_of(frame: bytes) -> bytes:
    return tag(read_header(frame).codec, frame)


def interleaved(seed: int, frames: int = 60, writers: int = 3) -> list[tuple[int, bytes]]:
    """What several writers append, each in sessions that begin after the frame that was last then; with the session."""
    chance = random.Random(seed)
    log: list[tuple[int, bytes]] = []
    sessions = 0
    at_work: list[tuple[int, Sealer]] = []
    while len(log) < frames:
        if len(at_work) < writers or chance.random() < 0.1:
            if len(at_work) == writers:
                at_work.pop(chance.randrange(writers))
            at_work.append((sessions, Sealer(RING, previous=tag_of(log[-1][1]) if log else bytes(16))))
            sessions += 1
            continue
        session, sealer = chance.choice(at_work)
        log.append((session, sealer.seal(Body([Entry(EntryKind.TICK)]), 1)))
    return log


def breaks(chain: Follows, frames: Sequence[bytes]) -> list[str]:
    found = [chain.follow(read_header(frame), frame) for frame in frames]
    return [what for what in found if what is not None]


@pytest.mark.parametrize("seed", range(20))
def test_sessions_may_interleave(seed: int) -> None:
    frames = [frame for _, frame in interleaved(seed)]
    assert breaks(SharedChain(cut=False), frames) == []
    assert breaks(Chain(cut=False), frames), "one writer would not write so"


@pytest.mark.parametrize("seed", range(20))
def test_what_is_removed_moved_or_put_in_within_a_session_is_seen(seed: int) -> None:
    log, chance = interleaved(seed), random.Random(seed)
    frames = [frame for _, frame in log]
    inside = [i for i, (session, _) in enumerate(log) if any(s == session for s, _ in log[i + 1 :])]
    chosen = chance.choice(inside)
    without = frames[:chosen] + frames[chosen + 1 :]
    again = next(i for i in range(chosen + 1, len(log)) if log[i][0] == log[chosen][0])
    swapped = list(frames)
    swapped[chosen], swapped[again] = swapped[again], swapped[chosen]
    for changed in (without, swapped, [*frames, frames[chosen]]):
        assert breaks(SharedChain(cut=False), changed)


def test_of_a_log_that_was_cut_the_beginnings_are_not_known() -> None:
    frames = [frame for _, frame in interleaved(1)][20:]
    assert breaks(SharedChain(cut=True), frames) == []
    assert breaks(SharedChain(cut=False), frames)


def test_nothing_is_said_about_what_comes_after_a_loss() -> None:
    frames = [frame for _, frame in interleaved(2)]
    chain = SharedChain(cut=False)
    assert breaks(chain, frames[:20]) == []
    chain.lose()
    assert breaks(chain, frames[21:]) == []


def test_a_log_is_checked_by_its_port() -> None:
    log = MemoryLog(2)
    frames = [frame for _, frame in interleaved(3)]
    log.append(0, frames)
    sealer = Sealer(RING)
    alone = [sealer.seal(Body([Entry(EntryKind.TICK)]), 1) for _ in range(40)]
    log._frames[1] += [*alone[:30], b"{}", *alone[31:40], b"SNDE" + bytes(200)]  # others may write there too
    told: list[tuple[int, int]] = []
    found = check(log, RING, lambda done, total: told.append((done, total)))
    assert (found.frames, found.opened) == (len(frames) + 40, len(frames) + 39)
    assert {file for file, *_ in found.breaks} == {"partition 1"}
    assert [(file, place) for file, place, _ in found.damage] == [("partition 1", 40)]
    assert told == [(len(frames), len(frames) + 41), (len(frames) + 41, len(frames) + 41)]
    assert not found.sound
