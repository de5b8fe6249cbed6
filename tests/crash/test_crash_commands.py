"""Commands while nodes and servers are killed: each runs at most once, none is lost, and what is shown is true."""

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.crash.commanded import Lamp, check, order, state, steps, wait_for_state
from tests.crash.road import JSON, Up, seed, wait_for

QUIET = ("--no-host", "--no-simulator")
ENDS = {"succeeded", "failed", "expired", "cancelled", "unknown"}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with Up(tmp_path, *QUIET) as running:
        yield running


@pytest.fixture
def lamp(tmp_path: Path, up: Up) -> Iterator[Lamp]:
    with Lamp(tmp_path / "lamp", up) as made:
        made.start()
        made.wait_until_online()
        yield made


def wait_until_it_is_gone(up: Up) -> None:
    wait_for(lambda: check(up, "lamp") == (200, False), "the node being missed", 60)


def test_mistake_24_the_node_is_killed_at_every_point_of_a_command(up: Up, lamp: Lamp) -> None:
    running, waiting = order(up, "running", hold=True), order(up, "waiting")
    lamp.wait_until_began("running")
    wait_for_state(up, running, "running")
    wait_for_state(up, waiting, "delivered")
    lamp.kill()  # in the middle of one, and before another begins that it has written down
    wait_until_it_is_gone(up)
    offline = order(up, "offline")
    doomed = order(up, "doomed", expires_in=0.5)
    assert state(up, offline) == "queued"
    assert "before its node asked" in wait_for_state(up, doomed, "expired")["message"]
    assert (state(up, running), state(up, waiting), state(up, offline)) == ("running", "delivered", "queued")

    lamp.start()
    unknown = wait_for_state(up, running, "unknown")
    assert "died while it ran" in unknown["message"]
    assert steps(wait_for_state(up, waiting, "succeeded")) == ["accepted", "delivered", "running", "succeeded"]
    wait_for_state(up, offline, "succeeded")
    assert lamp.began() == ["running", "waiting", "offline"]
    assert state(up, doomed) == "expired"


@pytest.mark.all
def test_the_node_is_killed_after_the_result(up: Up, lamp: Lamp) -> None:
    id_ = order(up, "a", hold=True)
    lamp.wait_until_began("a")
    wait_for_state(up, id_, "running")
    up.kill()
    lamp.go("a")
    path = lamp.outbox
    wait_for(lambda: done_in(path, id_), "the result being on the node's disk", 60)
    lamp.kill()
    up.start()
    assert state(up, id_) == "running"
    lamp.start()
    assert wait_for_state(up, id_, "succeeded")["message"] == "flashed a"
    assert lamp.began() == ["a"]


@pytest.mark.all
def test_the_server_is_killed_at_every_point_of_a_command(up: Up, lamp: Lamp) -> None:
    lamp.kill()
    wait_until_it_is_gone(up)
    queued = order(up, "queued")
    up.kill()  # before delivery
    up.start()
    assert state(up, queued) == "queued"
    lamp.start()
    wait_for_state(up, queued, "succeeded")

    running, waiting = order(up, "running", hold=True), order(up, "waiting")
    lamp.wait_until_began("running")
    wait_for_state(up, waiting, "delivered")
    up.kill()  # in the middle of one, and after the delivery of another
    lamp.go("running")
    wait_for(lambda: lamp.began()[-1] == "waiting", "the node going on by itself", 60)
    up.start()
    for id_ in (running, waiting):
        assert steps(wait_for_state(up, id_, "succeeded")) == ["accepted", "delivered", "running", "succeeded"]
    up.kill()  # after the result
    up.start()
    up.wait_until_all_is_stored()
    assert [state(up, id_) for id_ in (queued, running, waiting)] == ["succeeded"] * 3
    assert lamp.began() == ["queued", "running", "waiting"]


@pytest.mark.all
def test_a_node_with_a_new_outbox_runs_nothing_that_another_was_given(up: Up, lamp: Lamp) -> None:
    running, waiting = order(up, "running", hold=True), order(up, "waiting")
    lamp.wait_until_began("running")
    wait_for_state(up, waiting, "delivered")
    lamp.kill()
    lamp.outbox.unlink()
    for rest in lamp.outbox.parent.glob("outbox.db-*"):
        rest.unlink()
    lamp.start()
    for id_ in (running, waiting):
        assert "without its command book" in wait_for_state(up, id_, "unknown")["message"]
    after = order(up, "after")
    wait_for_state(up, after, "succeeded")
    assert lamp.began() == ["running", "after"]


@pytest.mark.all
def test_the_node_that_declared_a_device_last_gets_its_commands(up: Up, lamp: Lamp, tmp_path: Path) -> None:
    with Lamp(tmp_path / "twin", up, name="twin") as twin:
        twin.start()
        wait_for(lambda: owner(up) == "twin", "the twin being the owner", 60)
        wait_for_state(up, order(up, "for-twin"), "succeeded")
        twin.kill()
        wait_until_it_is_gone(up)
        queued = order(up, "for-whom")
        time.sleep(1)  # the first node waits all the time, and must not get it
        assert state(up, queued) == "queued"
        lamp.kill()
        lamp.start()
        wait_for_state(up, queued, "succeeded")
        assert (lamp.began(), twin.began()) == (["for-whom"], ["for-twin"])


@pytest.mark.all
def test_a_rebuilt_store_knows_what_became_of_commands(up: Up, lamp: Lamp) -> None:
    done = wait_for_state(up, order(up, "done"), "succeeded")
    lamp.kill()
    wait_until_it_is_gone(up)
    queued, expired = order(up, "queued"), order(up, "expired", expires_in=0.2)
    wait_for_state(up, expired, "expired")
    up.wait_until_all_is_stored()
    before = {id_: up.get(f"/commands/{id_}") for id_ in (done["id"], queued, expired)}
    assert up.stop() == 0
    shutil.rmtree(up.data / "store")
    up.start()
    up.wait_until_all_is_stored()
    assert {id_: up.get(f"/commands/{id_}") for id_ in before} == before


@pytest.mark.all
def test_at_most_once_whatever_is_killed_whenever(up: Up, lamp: Lamp) -> None:
    """Random kills of both sides under a stream of commands: what the device did and what is shown agree."""
    chance, asked, stop = random.Random(seed()), dict[str, str](), threading.Event()

    def ask() -> None:
        number = 0
        while not stop.is_set():
            name = f"n{number}"
            try:
                asked[name] = order(up, name, expires_in=chance.choice([2, 600]), idempotency_key=name)
                number += 1
            except (OSError, AssertionError):  # it is being killed: with the same key again
                pass
            stop.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for turn in range(8):
            time.sleep(chance.uniform(0.2, 1.5))
            if turn % 3 == 2:
                up.kill()
                up.start()
            else:
                lamp.kill()
                lamp.start()
                lamp.wait_until_online()
    finally:
        stop.set()
        asking.join()
    states = dict.fromkeys(asked, "")

    def all_over() -> bool:
        for name in [n for n, s in states.items() if s not in ENDS]:
            states[name] = state(up, asked[name])
        return all(s in ENDS for s in states.values())

    wait_for(all_over, "every command coming to its end", 60)
    began = lamp.began()
    assert len(asked) > 10
    for name, ended in states.items():
        runs = began.count(name)
        expected = {"succeeded": {1}, "expired": {0}, "unknown": {0, 1}}[ended]
        assert runs in expected, (name, ended, runs, up.get(f"/commands/{asked[name]}"))
    assert "succeeded" in states.values()
    assert set(began) <= set(asked)


def done_in(outbox: Path, id_: str) -> bool:
    """Whether the book on disk says that a command is done."""
    connection = apsw.Connection(str(outbox), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute("select 1 from commands where id = ? and stage = 3", (id_,))) == [(1,)]
    except apsw.BusyError:
        return False
    finally:
        connection.close()


def owner(up: Up) -> str:
    """The node that a dry run names."""
    order_ = {"device": "lamp", "command": "flash", "parameters": {"name": "x"}, "dry_run": True}
    status, answer = up.request("POST", "/commands", json.dumps(order_).encode(), JSON)
    assert status == 200
    return str(json.loads(answer)["node"])
