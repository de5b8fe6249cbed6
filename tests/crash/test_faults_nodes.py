"""Nodes that were cloned, that lie, or whose sink was away: what contradicts is set aside where everyone can see it, and
nobody else is harmed."""

import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.crash.nodes import ROWS, HandMadeNode, counting_node, stored_of, wait_until_stored
from tests.crash.proxy import proxy
from tests.crash.road import Up, check_ledger, check_windows, create_token, wait_for
from tests.crash.test_crash_up import check_runs, count_of, start_node

QUIET = ("--no-host", "--no-simulator")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("nodes"), *QUIET) as running:
        yield running
        assert running.stop() == 0


def hand_made(up: Up, name: str, skipped: int = 0) -> HandMadeNode:
    token = create_token(up.data, name, "--scope", "ingest", "--node", name)
    return HandMadeNode(up, token, device=f"{name}-device", skipped=skipped)


def check_unharmed(up: Up, name: str) -> None:
    """Another node is served as ever."""
    neighbour = hand_made(up, name)
    assert neighbour.send(1, 3) == (200, {"durable_seq": 3})
    wait_until_stored(up, name, 3 * ROWS)
    assert neighbour.stored() == neighbour.values(1, 3)
    assert stored_of(up, name)["set_aside"] == stored_of(up, name)["missing"] == 0
    check_windows(up)
    assert up.request("GET", "/health/ready")[0] == 200


def test_a_clone_with_the_same_epoch_and_other_readings_is_set_aside(up: Up) -> None:
    node = hand_made(up, "original")
    clone = HandMadeNode(up, node.token, node.device, offset=1_000_000)
    assert node.send(1, 5) == (200, {"durable_seq": 5})
    assert clone.send(3, 4) == (200, {"durable_seq": 4})
    assert node.send(1, 5) == (200, {"durable_seq": 5})  # a repetition is none
    wait_until_stored(up, "original", 12 * ROWS)
    assert node.stored() == node.values(1, 5)
    counts = stored_of(up, "original")
    assert (counts["stored"], counts["set_aside"], counts["duplicate"]) == (5 * ROWS, 2 * ROWS, 5 * ROWS)
    gaps = [gap for gap in up.get("/gaps") if gap["source"] == "original"]
    assert [
        (gap["reason"], gap["first_seq"], gap["readings"]) for gap in sorted(gaps, key=lambda g: g["first_seq"])
    ] == [
        ("set_aside", 3, ROWS),
        ("set_aside", 4, ROWS),
    ]
    assert all("with another content" in gap["detail"] for gap in gaps)
    check_ledger(up, complete=False)
    check_unharmed(up, "neighbour-of-a-clone")


def test_nobody_sends_in_another_nodes_name(up: Up) -> None:
    """The name comes from the token: who has none of that node cannot say it."""
    victim = hand_made(up, "victim")
    assert victim.send(1, 2)[0] == 200
    for number, options in enumerate([("--scope", "ingest"), ("--scope", "read", "--scope", "command")]):
        liar = HandMadeNode(up, create_token(up.data, f"liar-{number}", *options), victim.device, offset=7_000_000)
        status, answer = liar.send(3, 3)
        assert status == 403, answer
    bounded = create_token(up.data, "bounded", "--scope", "ingest", "--node", "bounded", "--device", "mine-*")
    status, answer = HandMadeNode(up, bounded, victim.device, offset=7_000_000).send(1, 1)
    assert status == 403
    assert f"may not write the device '{victim.device}'" in answer["detail"]
    assert HandMadeNode(up, "sonde_not_a_token", victim.device).send(3, 3)[0] == 401
    other = hand_made(up, "other")  # the same epoch and seqs, under a name of its own: another stream
    assert other.send(3, 3, confirmed=2)[0] == 200
    assert victim.send(3, 3)[0] == 200
    wait_until_stored(up, "victim", 3 * ROWS)
    assert victim.stored() == victim.values(1, 3)
    assert stored_of(up, "victim")["set_aside"] == 0
    check_unharmed(up, "neighbour-of-a-liar")


def test_a_seq_from_far_ahead_harms_nobody_else(up: Up) -> None:
    node = hand_made(up, "hasty")
    status, answer = node.send(1000, 1001, confirmed=0)
    assert (status, answer["known_seq"]) == (409, 0)
    assert node.send(1, 2)[0] == 200
    far = 10**12
    assert node.send(far, far) == (200, {"durable_seq": far})  # it says it has receipts up to there
    wait_until_stored(up, "hasty", far)
    counts = stored_of(up, "hasty")
    assert counts["missing"] == (far - 3) * ROWS
    assert counts["stored"] == 3 * ROWS
    (gap,) = [gap for gap in up.get("/gaps") if gap["source"] == "hasty"]
    assert (gap["reason"], gap["first_seq"], gap["last_seq"]) == ("missing", 3, far - 1)
    assert node.send(3, 5)[0] == 200  # what comes late fills the hole
    wait_for(lambda: stored_of(up, "hasty")["stored"] == 6 * ROWS, "the hole being filled")
    assert node.stored() == sorted(node.values(1, 5) + node.values(far, far))
    check_ledger(up, complete=False)
    check_unharmed(up, "neighbour-of-a-hasty-one")


@pytest.mark.parametrize("skipped", [2**40, 2**61, 2**62, 2**63, 2**63 + 2**62, -5])
def test_counts_that_cannot_be_are_set_aside_or_refused(skipped: int, up: Up) -> None:
    name = f"boaster-{skipped}"
    node = hand_made(up, name, skipped=skipped)
    status, answer = node.send(1, 1)
    assert status in {200, 400, 422}, answer
    node.skipped = 0
    assert node.send(2, 2, confirmed=1)[0] == 200
    wait_for(lambda: stored_of(up, name)["sent"] >= ROWS, "its readings in the ledger")
    check_ledger(up, complete=False)
    check_unharmed(up, f"neighbour-of-{name}")


@pytest.mark.all
def test_a_copied_node_directory(tmp_path: Path) -> None:
    """Two real nodes with one epoch: what came first is kept, what contradicts it is set aside and counted."""
    with Up(tmp_path, *QUIET) as up:
        with counting_node(tmp_path, up, up.port) as token:
            wait_for(lambda: count_of(up) > 50, "the node's readings arriving")
        config = tmp_path / "node.ini"  # the node was drained without its sensor
        config.write_text(config.read_text().replace("interval = 0.02\nenabled = no", "interval = 0.02"))
        clone = tmp_path / "clone"
        clone.mkdir()
        shutil.copytree(tmp_path / "edge", clone / "edge")
        for name in ("counting.py", "node.ini"):
            shutil.copy(tmp_path / name, clone / name)
        nodes = [start_node(folder, token) for folder in (tmp_path, clone)]
        try:
            wait_for(lambda: stored_of(up, "edge")["set_aside"] > 50, "the clone being noticed")
            for node in nodes:
                node.terminate()
                assert node.wait(15) == 0
        finally:
            for node in nodes:
                node.kill()
                node.wait()
        up.wait_until_all_is_stored()
        assert any(gap["reason"] == "set_aside" for gap in up.get("/gaps"))
        check_ledger(up, complete=False)
        check_unharmed(up, "neighbour")
        assert up.stop() == 0


# -- a sink that was away


def test_after_a_sink_was_away_live_is_live_at_once_and_nothing_is_missing(tmp_path: Path) -> None:
    away_for(tmp_path, 4.0)


@pytest.mark.all
def test_live_is_live_at_once_while_a_long_backlog_drains(tmp_path: Path) -> None:
    away_for(tmp_path, 25.0)


def away_for(tmp_path: Path, seconds: float) -> None:
    with Up(tmp_path, *QUIET) as up, proxy(up.port) as between:
        with counting_node(tmp_path, up, between.port):
            wait_for(lambda: count_of(up) > 20, "the node's readings arriving")
            between.way = "refuse"
            time.sleep(seconds)
            assert between.struck["refuse"] > 0
            before = count_of(up)
            between.way, between.rate = "slow", 3_000.0  # so that the backlog takes a while
            begun, back = time.monotonic(), time.time()
            wait_for(lambda: newest(up) > back, "a reading of now arriving", 20)
            live, arrived = time.monotonic() - begun, count_of(up) - before
            wait_for(lambda: count_of(up) - before > 250 * seconds, "the backlog arriving", 60)
            drained = time.monotonic() - begun
        assert arrived < 250 * seconds or seconds < 10, f"all {arrived} had come when the first live one did"
        print(f"away {seconds:.0f} s: live after {live:.2f} s, backlog drained after {drained:.2f} s")
        check_runs(up, 1)
        check_windows(up)
        check_ledger(up)
        assert up.stop() == 0


def newest(up: Up) -> float:
    """When the newest reading of the counter was taken, as anyone who asks sees it."""
    (reading,) = up.get("/historical-data?device_id=counter&limit=1")["data"]
    return datetime.fromisoformat(reading["timestamp"]).timestamp()
