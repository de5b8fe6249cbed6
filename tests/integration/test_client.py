"""The Python client: what it sends arrives once, what it follows comes once; and ``sonde tail``, which is made of it."""

import concurrent.futures
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.api.live.recent import Recent
from sonde.client import AlertTurned, Client, Corrected, Gap
from sonde.errors import Conflict, Forbidden, Hold, NotFound, Reject, Retry, Unauthenticated
from sonde.reading import Value
from sonde.rule import Rule
from tests.crash.road import Up, wait_for
from tests.live_world import LiveWorld, one
from tests.processor_world import reading, until


@pytest.fixture
def world() -> Iterator[LiveWorld]:
    with LiveWorld() as made:
        yield made


def client_of(world: LiveWorld, scope: str = "read") -> Client:
    return Client(f"http://127.0.0.1:{world.port}", world.tokens[scope])


def test_following_goes_on_across_restarts_with_nothing_twice_and_nothing_missed(world: LiveWorld) -> None:
    troubles: list[str] = []
    feed = client_of(world).follow(device="d", cursor=f"{world.log.id}.0-0", trouble=troubles.append)
    readings = iter(feed)
    world.send(one(1), one("not asked for", "e"), key=b"a" * 16)
    assert next(readings) == one(1)
    for value in (2, 3):
        world.catch_up()
        world.stop()
        world.send(one(value, labels={"k": "v"}, quality=2), key=b"%016d" % value)
        world.send(one(1), one("not asked for", "e"), key=b"a" * 16)  # a retry
        world.start()
        assert next(readings) == one(value, labels={"k": "v"}, quality=2)
    assert troubles
    world.send(one(4))
    assert next(readings).value == 4
    assert not feed.gaps
    feed.close()
    assert list(readings) == []


def test_who_reads_slowly_goes_back_for_what_it_missed(world: LiveWorld) -> None:
    world.entrance.feed.recent = Recent(64 << 10)
    feed = client_of(world).follow(metric="m")
    readings = iter(feed)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, readings)
        until(lambda: world.subscriptions == 1)
        world.send(one("first"))
        assert first.result(30).value == "first"
    text, sent = "x" * 4000, 0
    while sent < 30_000 and (world.live or sent < 1000):
        world.send(*(one(f"{number:06}{text}") for number in range(sent, sent + 100)))
        sent += 100
    world.send(one("last"))
    got = []
    for one_reading in readings:
        if one_reading.value == "last":
            break
        got.append(str(one_reading.value)[:6])
    assert got == [f"{number:06}" for number in range(sent)]
    assert not feed.gaps
    feed.close()


def test_everything_that_happens_is_an_event(world: LiveWorld) -> None:
    world.processor = world.another(onlookers=[world.entrance.feed])
    world.rule(Rule(id="hot", metric="temperature", type="above", threshold=30.0))
    for value in range(5):
        world.send(one(value))
    world.catch_up()
    world.log.cut(0, 4)
    feed = client_of(world).follow(cursor=f"{world.log.id}.0-1")
    events = feed.events()
    gap = next(events)
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.until) == ("cut", f"{world.log.id}.0-4")
    assert list(feed.gaps) == [gap]
    for second, hot in enumerate((20.0, 31.0, 32.0)):
        world.send(reading(hot, second))
        world.catch_up()
    world.send(reading(1.0, -100))
    world.catch_up()
    corrected = turned = None
    for event in events:
        corrected = event if isinstance(event, Corrected) else corrected
        turned = event if isinstance(event, AlertTurned) else turned
        if corrected and turned:
            break
    assert corrected is not None
    assert turned is not None
    assert corrected.first == corrected.last == "2025-12-31T23:58:20.000000Z"
    assert turned.alert["state"] == "firing"
    feed.close()


def test_what_no_new_attempt_can_mend_is_raised(world: LiveWorld) -> None:
    url = f"http://127.0.0.1:{world.port}"
    with pytest.raises(Unauthenticated):
        next(iter(Client(url, "sonde_no_token").follow()))
    with pytest.raises(Forbidden):
        next(iter(client_of(world, "ingest").follow()))
    with pytest.raises(Conflict, match="another log"):
        next(iter(client_of(world).follow(cursor="other.0-0")))
    with pytest.raises(Reject, match="since"):
        next(iter(client_of(world).follow(since="yesterday")))
    with pytest.raises(Hold, match="not the address"):
        Client("localhost:8000")
    world.control.revoke("read")
    with pytest.raises(Unauthenticated):
        next(iter(client_of(world).follow()))


def test_closing_ends_it_from_another_thread(world: LiveWorld) -> None:
    feed = client_of(world).follow()
    thread = threading.Thread(target=lambda: list(feed))
    thread.start()
    until(lambda: world.viewers == 1)
    feed.close()
    thread.join(20)
    assert not thread.is_alive()
    until(lambda: world.viewers == 0)


def test_a_program_sends_asks_and_follows_a_real_server(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        client = Client(f"http://127.0.0.1:{up.port}", up.token)
        values: list[Value] = [1, 2.5, True, "text", [1], {"a": None}, 2**63 - 1]
        readings = [one(value) for value in values]
        assert client.send(readings, key="mine") == len(readings)
        assert client.send(readings, key="mine") == len(readings), "a repetition is taken, and stored once"
        assert client.send([one(None, "e", quality=1, labels={"k": "ü"}), {"name": "short", "value": 3}]) == 2
        assert client.send([]) == 0
        feed = client.follow(since="1h")
        got = list(itertools.islice(feed, 9))
        assert got[:7] == readings
        assert got[7] == one(None, "e", quality=1, labels={"k": "ü"})
        up.wait_until_all_is_stored()
        assert client.sql("select count(*) as n from readings") == [{"n": 9}]
        first = client.query("/devices", limit=1)
        second = client.query(first.next)
        assert [device["device_id"] for device in (*first.data, *second.data)] == ["d", "e"]
        history = client.query("/historical-data", limit=100)
        client.send([one("later", "f")])
        later = next(iter(client.follow(cursor=history.cursor)))
        assert (len(history.data["data"]), later.value) == (9, "later"), "no seam between history and live"
        with pytest.raises(NotFound, match="nowhere"):
            client.query("/devices/nowhere")
        with pytest.raises(Reject, match="reading 0"):
            client.send([{"device": "d"}])
        up.kill()
        with pytest.raises(Retry, match="does not answer"):
            Client(f"http://127.0.0.1:{up.port}", up.token, patience=0.1).send(readings)
        thread = threading.Thread(target=client.send, args=(readings,), kwargs={"key": "mine"})
        thread.start()
        up.start()
        thread.join(60)
        up.wait_until_all_is_stored()
        assert client.sql("select count(*) as n from readings") == [{"n": 10}], "it had been sent before"


def test_sonde_tail_prints_what_comes_and_where_to_go_on(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        client = Client(f"http://127.0.0.1:{up.port}", up.token)
        client.send([one(812.5, "Site-01/Zone-01", "co2"), one(21, "attic", "temperature"), one("x", "attic", "other")])
        wait_for((up.data / "server.json").exists, "the server being announced")
        with tail(up, "--since", "1h", "--metric", "co2", "--metric", "temp*") as printing:
            assert next(printing) == "2026-01-01T00:00:00.000000Z  Site-01/Zone-01  co2        812.5\n"
            assert next(printing) == "2026-01-01T00:00:00.000000Z  attic            temperature      21\n"
            client.send([one(None, "attic", "temperature", quality=1, labels={"k": "v"})])
            assert next(printing).split() == ["2026-01-01T00:00:00.000000Z", "attic", "temperature", "{k=v}", "failed"]
        with tail(up, "--json", "--since", printing.cursor, "--device", "[ab]*") as again:
            client.send([one(1, "other"), one(2, "b", labels={"a": "ü"})])
            shown = json.loads(next(again))
            assert (shown["device"], shown["value"], shown["labels"]) == ("b", 2, {"a": "ü"})
        done = up.command("tail", "--since", "whenever")
        assert (done.returncode, done.stdout) == (1, "")
        assert "since" in done.stderr
        up.stop()
        assert "no server runs" in up.command("tail").stderr


class tail(Iterator[str]):  # noqa: N801  # it reads as the command
    """``sonde tail``: its lines; ended as a person does it."""

    def __init__(self, up: Up, *options: str) -> None:
        command = [sys.executable, "-m", "sonde", "tail", "--data", str(up.data), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.cursor = ""

    def __enter__(self) -> "tail":
        return self

    def __next__(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        os.kill(self._process.pid, signal.SIGINT)
        try:
            said = self._process.communicate(timeout=30)[1]
        finally:
            self._process.kill()
        self.cursor = said.rpartition("--since ")[2].strip()
        assert self._process.returncode == 0, said
        assert self.cursor, said
