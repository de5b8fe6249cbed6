"""The live feed, on a real socket."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sonde.alert import Rule
from sonde.api.live.recent import Recent
from sonde.entry import Entry, EntryKind
from tests.live_world import ORIGIN, SECONDS, LiveWorld, Watcher, one
from tests.processor_world import T0, reading, until


@pytest.fixture
def world() -> Iterator[LiveWorld]:
    with LiveWorld() as made:
        yield made


def refusal(world: LiveWorld, **options: Any) -> tuple[int, dict[str, Any]]:
    """How a client is turned away."""
    with pytest.raises(InvalidStatus) as caught, world.connect(**options):
        pass
    response = caught.value.response
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, json.loads(response.body or b"")


def test_a_plain_client_gets_a_message_a_reading_as_older_systems_send_them(world: LiveWorld) -> None:
    with world.plain() as client:
        until(lambda: world.viewers == 1)
        world.send(one(812.5, "room", "co2"), one("on", "room", "switch"), one(None, "room", "x", quality=1))
        assert [client.next("data") for _ in range(3)] == [
            {"type": "data", "id": "co2", "device": "room", "value": 812.5, "timestamp": "2026-01-01T00:00:00.000000Z"},
            {
                "type": "data",
                "id": "switch",
                "device": "room",
                "value": "on",
                "timestamp": "2026-01-01T00:00:00.000000Z",
            },
            {"type": "data", "id": "x", "device": "room", "value": None, "timestamp": "2026-01-01T00:00:00.000000Z"},
        ]
        client.say("subscribe")
        assert "sonde.v1" in client.next("error")["message"]


def test_what_came_in_comes_out_types_and_all(world: LiveWorld) -> None:
    values = [
        1,
        -3,
        2.5,
        True,
        False,
        'text\n"ü\u0007',
        [1, None],
        {"a": {"b": 1}},
        2**63 - 1,
        -(2**63),
        1e300,
        5e-324,
        0.1,
    ]
    with world.v1() as client:
        client.subscribe()
        world.send(*(one(value, labels={"k": "ü"}, site="s", zone="z") for value in values), one(None, quality=1))
        found = client.readings(len(values) + 1)
    assert [r["value"] for r in found] == [*values, None]
    assert [type(r["value"]) for r in found[:-1]] == [type(value) for value in values]
    assert found[0] == {
        "device": "d", "metric": "m", "site": "s", "zone": "z", "labels": {"k": "ü"},
        "time": "2026-01-01T00:00:00.000000Z", "value": 1,
    }  # fmt: skip
    assert found[-1]["quality"] == 1


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ({}, [1, 2, 3, 4]),
        ({"device": "a"}, [1, 2]),
        ({"device": ["b", "c"]}, [3, 4]),
        ({"device": "[ab]"}, [1, 2, 3]),
        ({"metric": "co*", "device": "*"}, [1, 3]),
        ({"site": "S-1", "zone": "Z-?"}, [2, 3]),
        ({"site": ["S-1", "nowhere"], "device": "a"}, [2]),
    ],
)
def test_filters_are_applied_on_the_server(world: LiveWorld, wanted: dict[str, Any], got: list[int]) -> None:
    with world.v1() as client:
        client.subscribe(**wanted)
        for _ in range(2):
            world.send(
                one(1, "a", "co2"),
                one(2, "a", "humidity", site="S-1", zone="Z-1"),
                one(3, "b", "co2", site="S-1", zone="Z-2"),
                one(4, "c", "x", site="S-2"),
            )
        assert client.values(2 * len(got)) == got * 2


def test_subscriptions_of_one_client_are_apart(world: LiveWorld) -> None:
    with world.v1() as client:
        client.subscribe(id="a", device="a")
        client.subscribe(id="all", request_id={"any": "thing"})
        world.send(one(1, "a"), one(2, "b"))
        assert (client.values(1, "a"), client.values(2, "all")) == ([1], [1, 2])
        client.say("unsubscribe", id="all", request_id=7)
        assert client.next("unsubscribed")["request_id"] == 7
        client.say("unsubscribe", id="all")
        assert client.next("error")["status"] == 404
        client.subscribe(id="a", device="b")  # in place of the one before
        world.send(one(3, "a"), one(4, "b"))
        assert client.values(1, "a") == [4]
        assert client.no_more()


def test_a_client_that_comes_back_gets_what_it_missed_once_and_goes_live(world: LiveWorld) -> None:
    with world.v1() as client:
        start = client.subscribe()["cursor"]
        world.send(one(1))
        assert client.values(1) == [1]
        before = client.cursor
    for value in range(2, 1200):
        world.send(one(value), key=b"%016d" % value)
        if value % 100 == 0:
            world.send(one(value), key=b"%016d" % value)  # a retry
    with world.v1() as client:
        client.subscribe(id="x", cursor=before)
        world.send(one("live"))
        assert client.values(1199, "x") == [*range(2, 1200), "live"]
        client.subscribe(id="y", cursor=start)
        assert client.values(1200, "y") == [*range(1, 1200), "live"]
        assert client.no_more()
    world.catch_up()
    world.stop()
    world.start()
    with world.v1() as client:
        client.subscribe(cursor=start)
        assert client.values(1200) == [*range(1, 1200), "live"]


def test_a_large_frame_is_cut_into_messages_and_the_cursor_says_where(world: LiveWorld) -> None:
    with world.v1() as client:
        start = client.subscribe(id="live")["cursor"]
        world.send(*(one(value) for value in range(3500)), one("other", "e"))
        assert client.values(3501, "live") == [*range(3500), "other"]
        client.subscribe(id="past", cursor=start)
        cursors = [client.next("data")["cursor"] for _ in range(4)]
        assert client.values(3501, "past") == [*range(3500), "other"]
        assert cursors[0].endswith("-0-1000"), "it names the frame and how many of its readings came"
        for done, cursor in enumerate(cursors[:3], start=1):
            client.subscribe(id=cursor, cursor=cursor)
            assert client.values(3501 - 1000 * done, cursor) == [*range(1000 * done, 3500), "other"]
        assert client.no_more()


def test_since_a_moment(world: LiveWorld) -> None:
    for value in range(10):
        world.send(one(value))  # received one second after the other
    with world.v1() as client:
        client.subscribe(since="2026-01-01T00:00:08Z")
        assert client.values(3) == [7, 8, 9]
        client.subscribe(since="5m")  # before now, which is later
        client.say(since="5m", cursor=client.cursor, request_id=1)
        assert client.next("error")["field"] == "since"
        client.say(since="yesterday", request_id=1)
        assert client.next("error")["field"] == "since"


def test_a_cursor_that_leads_nowhere_is_an_error(world: LiveWorld) -> None:
    world.send(one(1))
    with world.v1() as client:
        for cursor, status in (
            ("other.0-0", 409),
            (f"{world.log.id}.0-2", 422),
            ("x.y", 422),
            (f"{world.log.id}.7-1", 422),
        ):
            client.say(cursor=cursor, request_id=cursor)
            error = client.next("error")
            assert (error["status"], error["request_id"]) == (status, cursor)
        client.subscribe(cursor=f"{world.log.id}.0-1")


def test_below_the_first_frame_that_is_kept_there_is_a_gap(world: LiveWorld) -> None:
    for value in range(10):
        world.send(one(value))
    world.catch_up()
    world.log.cut(0, 6)
    with world.v1() as client:
        client.subscribe(cursor=f"{world.log.id}.0-2")
        gap = client.next("gap")
        assert (gap["from"], gap["to"], gap["reason"]) == (f"{world.log.id}.0-2", f"{world.log.id}.0-6", "cut")
        assert client.values(4) == [6, 7, 8, 9]


def test_with_a_rate_the_newest_wins_and_the_others_are_counted(world: LiveWorld) -> None:
    with world.v1() as client:
        start = client.subscribe(rate=5)["cursor"]
        for value in range(100):
            world.send(one(value), one(-value, "e"))
        found: dict[str, list[Any]] = {"d": [], "e": []}
        skipped = 0
        while not found["d"] or found["d"][-1] != 99 or not found["e"] or found["e"][-1] != -99:
            message = client.next("data")
            skipped += message.get("skipped", 0)
            for r in message["readings"]:
                found[r["device"]].append(r["value"])
        assert skipped + len(found["d"]) + len(found["e"]) == 200
        assert found["d"] == sorted(found["d"])
        assert skipped > 0
        client.subscribe(id="past", cursor=start, rate=0.1)  # frames come a second apart: one in ten is left
        values = [r["value"] for r in client.next("data")["readings"] if r["device"] == "d"]
        assert len(values) in {10, 11}
        assert values[-1] == 99


def test_late_readings_are_told_of_as_corrections(world: LiveWorld) -> None:
    world.processor = world.another(onlookers=[world.entrance.feed])
    with world.v1() as client:
        client.subscribe(device="d")
        world.send(reading(1.0, 100))
        world.catch_up()
        world.send(reading(2.0, 30), reading(2.0, 10), reading(3.0, 5, device="other"))
        world.catch_up()
        told = client.next("corrected")
        assert told["series"] == {"device": "d", "metric": "temperature", "site": "", "zone": "", "labels": {}}
        assert (told["from"], told["to"]) == ("2026-01-01T00:00:10.000000Z", "2026-01-01T00:00:30.000000Z")


def test_alerts_are_told_of_when_their_state_turns(world: LiveWorld) -> None:
    world.processor = world.another(onlookers=[world.entrance.feed])
    world.rule(Rule(id="hot", metric="temperature", type="above", threshold=30.0))
    with world.v1() as client, world.plain() as plain:
        client.subscribe(device="d", kinds=["alert"])
        until(lambda: world.viewers == 2)
        for second, value in enumerate((20.0, 31.0, 35.0, 20.0)):
            world.send(reading(value, second))
            world.catch_up()
        states = [client.next("alert")["alert"] for _ in range(2)]
        assert [alert["state"] for alert in states] == ["firing", "resolved"]
        assert states[0]["device"] == "d"
        assert plain.next("alert")["alert"]["rule"] == "hot"


def test_who_may_not_watch_is_told_so_before_the_upgrade(world: LiveWorld) -> None:
    own = f"http://127.0.0.1:{world.port}"
    bad = "https://evil.example.org"
    wrong = world.tokens["read"][:-1] + ("x" if world.tokens["read"][-1] != "x" else "y")
    assert refusal(world, scope=None)[0] == 401
    assert refusal(world, scope="ingest")[0] == 403
    assert refusal(world, scope=None, headers={"Authorization": "Basic abc"})[0] == 401
    assert refusal(world, scope=None, headers={"Authorization": f"Bearer {wrong}"})[0] == 401
    assert refusal(world, origin=bad)[0] == 403, "a token does not help a page of a third origin"
    assert refusal(world, scope=None, origin=ORIGIN)[0] == 401
    assert refusal(world, scope=None, origin=ORIGIN, headers={"Cookie": "sonde_session=" + "a" * 43})[0] == 401
    assert refusal(world, scope=None, headers={"Cookie": "sonde_session=" + "a" * 43})[0] == 401
    assert refusal(world, path="/other")[0] == 404
    assert refusal(world, headers={"Host": "localhost"})[0] == 400, "two of them"
    for options in ({"origin": own}, {"origin": ORIGIN}, {"scope": "admin"}):
        with world.v1(**options) as client:
            client.subscribe()
    offered = ["sonde.v1", f"sonde.token.{world.tokens['read']}"]
    with world.connect(None, protocols=offered, origin=ORIGIN) as client:
        assert client.subprotocol == "sonde.v1"
    with world.connect(None, protocols=offered[1:], origin=ORIGIN) as client:
        assert client.subprotocol == offered[1]


def test_a_cookie_lets_pages_of_this_server_in_and_no_others(world: LiveWorld) -> None:
    credential = next(c for c in world.control.tokens() if c.name == "read")
    cookie = {"Cookie": f"sonde_session={world.access.open_session(credential)}"}
    with world.v1(scope=None, headers=cookie, origin=f"http://127.0.0.1:{world.port}") as client:
        client.subscribe()
    assert refusal(world, scope=None, headers=cookie, origin=ORIGIN)[0] == 401
    assert refusal(world, scope=None, headers=cookie, origin="http://127.0.0.1:1")[0] == 403


def test_a_token_that_is_revoked_ends_its_connections(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonde.api.live.entrance._LOOK_SECONDS", 0.05)
    with world.v1(scope="admin") as stays, world.v1() as client:
        world.control.revoke("read")
        assert client.next("error")["status"] == 401
        assert client.closed()[0] == 1008
        stays.subscribe()
        until(lambda: world.viewers == 1)


def test_no_more_clients_than_the_limit() -> None:
    with LiveWorld(most=2) as world, world.v1():
        with world.v1():
            status, problem = refusal(world)
            assert (status, problem["status"]) == (503, 503)
        until(lambda: world.viewers == 1)
        with world.v1() as client:
            client.subscribe()


def test_mistake_21_one_malformed_frame_ends_the_stream(world: LiveWorld) -> None:
    """It gets an error; what comes after goes on."""
    with world.v1() as client:
        client.subscribe()
        bad: list[str | bytes] = [
            "nonsense", "", "null", "[]", "{}", '{"type": 7}', '{"type": "no such"}', '{"type": "subscribe", "rate": -1}',
            '{"type": "subscribe", "divice": "a"}', '{"type": "subscribe", "device": []}', '{"type": "subscribe", "id": 3}',
            '{"type": "subscribe", "device": "' + "x" * 300 + '"}', '{"type":"subscribe","rate":1e999}', "[" * 30_000,
            b"\x00\x01", '{"type": "command"}', '{"type": "command", "command": "none"}', "\ud800".encode("utf-8", "replace"),
        ]  # fmt: skip
        for text in bad:
            client.socket.send(text)
            assert client.next("error")["status"] in {400, 404, 422}, text
        client.say("ping", request_id="still there?")
        assert client.next("pong")["request_id"] == "still there?"
        world.send(one(1))
        assert client.values(1) == [1]


def test_a_message_that_is_too_large_ends_the_connection_with_1009(world: LiveWorld) -> None:
    with world.v1() as client:
        client.socket.send(json.dumps({"type": "ping", "request_id": "x" * 60_000}))
        assert len(client.next("pong")["request_id"]) == 60_000
        client.socket.send("x" * (64 * 1024 + 1))
        assert client.closed()[0] == 1009
    with world.v1() as client:
        with pytest.raises(ConnectionClosed):
            client.socket.send("x" * 1000 for _ in range(100_000))  # in pieces
        assert client.closed()[0] == 1009
    until(lambda: world.viewers == 0)


def test_bytes_that_are_no_text_end_the_connection_with_1007(world: LiveWorld) -> None:
    with world.v1() as client:
        client.socket.send(b"\xff\xfe", text=True)
        assert client.closed()[0] == 1007


def test_too_many_subscriptions_are_refused(world: LiveWorld) -> None:
    with world.v1() as client:
        for number in range(64):
            client.subscribe(id=str(number), device="a")
        client.say(id="one more", request_id=1)
        assert client.next("error")["status"] == 409
        client.subscribe(id="5", device="b")


def test_mistake_21_one_slow_browser_stalls_all(world: LiveWorld) -> None:
    """Who does not read is left alone with that: the others get all. It gets a gap, and the place to go on from."""
    world.entrance.feed.recent = Recent(1 << 20)
    with world.connect(protocols=["sonde.v1"], max_queue=1) as slow, world.v1() as quick:
        start = quick.subscribe()["cursor"]
        slow.send('{"type": "subscribe"}')
        text, sent = "x" * 2000, 0
        until(lambda: world.live == 2)
        while world.live == 2 or sent % 5000:
            assert sent < 100_000, "it should have fallen behind"
            world.send(*(one(f"{number:06}{text}") for number in range(sent, sent + 500)))
            sent += 500
            assert [v[:6] for v in quick.values(500)] == [f"{n:06}" for n in range(sent - 500, sent)]
        watcher = Watcher(slow)
        gap = watcher.next("gap")
        assert gap["reason"] == "slow"
        watcher.subscribe(id="again", cursor=gap["from"])
        before = watcher.values(len(watcher._waiting[""]))
        after = watcher.values(sent - len(before), "again")
        assert [v[:6] for v in [*before, *after]] == [f"{n:06}" for n in range(sent)]
        quick.subscribe(id="again", cursor=start)
        assert len(quick.values(sent, "again")) == sent


def handshake(world: LiveWorld, host: str = "localhost") -> socket.socket:
    """A client that says hello and then nothing more."""
    plug = socket.create_connection(("127.0.0.1", world.port), timeout=SECONDS)
    plug.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {world.tokens['read']}\r\n\r\n".encode()
    )
    return plug


def test_a_name_that_a_page_elsewhere_gave_this_machine_is_refused(world: LiveWorld) -> None:
    """DNS rebinding."""
    with handshake(world, "rebound.example.org") as plug:
        assert plug.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_whoever_never_reads_costs_a_bounded_piece_of_memory_and_is_cut_off(
    world: LiveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonde.transport.websocket._STALL_SECONDS", 1.0)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(handshake(world))
        until(lambda: world.viewers == 5)
        client = stack.enter_context(world.v1())
        client.subscribe()
        text = "x" * 1000
        for _ in range(40):
            world.send(*(one(text) for _ in range(500)))
            client.readings(500)
            for connection in list(world.server.server_state.connections):
                transport = getattr(connection, "_transport", None)
                assert transport is None or transport.get_write_buffer_size() < 2 << 20
        until(lambda: world.viewers == 1)
        world.send(one("still here"))
        assert client.values(1) == ["still here"]


def test_a_flood_costs_nobody_but_those_who_asked_for_it(world: LiveWorld) -> None:
    """Frames with more than is put together at once: who wants all of it reads it alone, the others go on as before."""
    with world.v1() as all_, world.v1() as few, world.plain() as plain:
        all_.subscribe()
        few.subscribe(device="few", rate=1000)
        until(lambda: world.live == 3)
        for number in range(3):
            many = [one(f"{number}-{n}") for n in range(25_000)]
            world.send(*many[:12_000], one(number, "few"), *many[12_000:])
            assert few.values(1) == [number]
        got = all_.values(3 * 25_001)
        assert [v for v in got if isinstance(v, str)] == [f"{number}-{n}" for number in range(3) for n in range(25_000)]
        assert [v for v in got if isinstance(v, int)] == [0, 1, 2]
        assert [plain.next("data")["value"] for _ in range(3 * 25_001)] == got


def test_a_server_that_stops_says_where_to_go_on(world: LiveWorld) -> None:
    with world.v1() as client:
        client.subscribe(id="a")
        world.send(one(1))
        assert client.values(1, "a") == [1]
        threading.Thread(target=world.server.stop).start()
        assert client.next("cursor")["cursor"] == f"{world.log.id}.0-1"
        assert client.closed()[0] == 1012


def test_a_command_that_nothing_runs_is_an_error(world: LiveWorld) -> None:
    with world.v1() as client:
        client.say("command", command="dance", request_id=3)
        error = client.next("error")
        assert (error["status"], error["request_id"]) == (404, 3)


def test_a_subscription_to_nothing_but_news_gets_no_readings_and_hears_how_far_it_is(
    world: LiveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonde.api.live.feed._QUIET_SECONDS", 0.1)
    with world.v1() as client:
        client.subscribe(kinds=["alert"])
        client.subscribe(id="data", kinds=["data"])
        world.send(one(1))
        assert client.next("data")["subscription"] == "data"
        world.write(Entry(EntryKind.TICK, "sink"))
        assert client.next("cursor")["subscription"] == ""


def test_the_handshake_must_be_one(world: LiveWorld) -> None:
    """What is not a WebSocket's handshake is answered as HTTP, and the server goes on."""
    for head, status in (
        (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"400"),
        (b"POST /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"405"),
        (
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            b"400",
        ),
    ):
        with socket.create_connection(("127.0.0.1", world.port), timeout=SECONDS) as plug:
            plug.sendall(head)
            assert plug.recv(1000).split(b" ")[1] == status
    assert T0
