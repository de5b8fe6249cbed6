"""Commands over HTTP: what is taken, what is refused and why, and what callers see of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sonde.ports import Credential
from sonde.token import Token
from tests.api_world import House, build, client_of, filled_store

DEVICE = "Site-01/Zone-01/room"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    store = filled_store(tmp_path_factory.mktemp("store"))
    yield build(lambda: store)
    store.close()


@pytest.fixture(scope="module")
def api(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as client:
        until_ready(client)
        yield client


def until_ready(client: httpx.Client) -> None:
    """Until what devices there are has been read."""
    for _ in range(600):
        if client.post("/commands", json={"device": "x", "command": "y"}).status_code != 503:
            return


def give(api: httpx.Client, command: str = "get_status", **more: Any) -> httpx.Response:
    return api.post("/commands", json={"device": DEVICE, "command": command, **more})


def test_a_command_is_taken_and_queued(api: httpx.Client, house: House) -> None:
    answer = give(api, "set_update_interval", parameters={"interval": 5})
    assert answer.status_code == 202
    given = answer.json()
    assert (given["state"], given["parameters"], given["who"], given["online"]) == (
        "queued",
        {"interval": 5},
        "admin",
        False,
    )
    assert answer.headers["location"] == f"/commands/{given['id']}"
    detail = api.get(f"/commands/{given['id']}").json()
    assert [step["step"] for step in detail["steps"]] == ["accepted"]
    assert detail["id"] in [item["id"] for item in api.get("/commands?state=queued").json()]
    newest = house.audit.read(None, 1)[0][1]
    assert (newest.what, newest.on, newest.who) == ("command.send", DEVICE, "admin")
    assert newest.detail["id"] == given["id"]


def test_mistake_18_wrong_parameters_are_refused_and_each_is_named(api: httpx.Client) -> None:
    answer = give(api, "set_update_interval", parameters={"intervall": 5, "more": 1})
    assert answer.status_code == 422
    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert set(told) == {"parameters.intervall", "parameters.more", "parameters.interval"}
    assert "interval" in told["parameters.intervall"]
    one = give(api, "set_update_interval", parameters={"interval": 0})
    assert (one.status_code, one.json()["field"], "errors" in one.json()) == (422, "parameters.interval", False)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"device": "nobody", "command": "get_status"}, 404, "nobody"),
        ({"device": DEVICE, "command": "fly"}, 404, "get_status"),
        ({"device": DEVICE}, 422, "command"),
        ({"device": DEVICE, "command": "get_status", "expires_in": 0}, 422, "expires_in"),
        ({"device": DEVICE, "command": "get_status", "expires_in": "soon"}, 422, "expires_in"),
        ({"device": DEVICE, "command": "get_status", "expires_in": 1e9}, 422, "expires_in"),
        ({"device": DEVICE, "command": "get_status", "idempotency_key": ""}, 422, "idempotency_key"),
        ({"device": DEVICE, "command": "get_status", "hurry": True}, 422, "hurry"),
        ({"device": DEVICE, "command": "get_status", "parameters": []}, 422, "parameters"),
        ([], 422, "object"),
    ],
)
def test_what_cannot_be_given(api: httpx.Client, body: Any, status: int, said: str) -> None:
    answer = api.post("/commands", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def test_the_same_key_gives_one_command(api: httpx.Client) -> None:
    first, again = give(api, idempotency_key="k1"), give(api, idempotency_key="k1")
    assert first.json()["id"] == again.json()["id"]
    other = give(api, "set_update_interval", parameters={"interval": 5}, idempotency_key="k1")
    assert (other.status_code, "key" in other.json()["detail"]) == (409, True)
    found = api.get("/commands?limit=1000").json()
    assert [item["id"] for item in found].count(first.json()["id"]) == 1


def test_a_dry_run_changes_nothing(api: httpx.Client) -> None:
    before = len(api.get("/commands?limit=1000").json())
    checked = give(api, dry_run=True)
    assert (checked.status_code, checked.json()["valid"], checked.json()["online"]) == (200, True, False)
    assert give(api, "set_update_interval", dry_run=True).status_code == 422
    assert len(api.get("/commands?limit=1000").json()) == before


def test_cancelled_while_queued(api: httpx.Client, house: House) -> None:
    id_ = give(api).json()["id"]
    for _ in range(2):  # saying it twice does no harm
        cancelled = api.post(f"/commands/{id_}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert [step["step"] for step in api.get(f"/commands/{id_}").json()["steps"]] == ["accepted", "cancelled"]
    assert house.audit.read(None, 1)[0][1].what == "command.cancel"
    assert api.post("/commands/none/cancel").status_code == 404
    assert api.get("/commands/none").status_code == 404


def test_steps_are_records_of_history(api: httpx.Client) -> None:
    id_ = give(api).json()["id"]
    api.post(f"/commands/{id_}/cancel")
    found = api.get(f"/historical-data?type=command_result&id={id_}").json()
    assert [r["value"]["status"] for r in found["data"]] == ["error", "pending"]
    assert found["filtered_records"] == 2
    assert found["data"][0]["value"]["command"] == "get_status"
    assert found["data"][0]["device"] == DEVICE
    oldest = api.get(f"/historical-data?type=command_result&id={id_}&order=oldest&limit=1")
    assert [r["value"]["details"]["state"] for r in oldest.json()["data"]] == ["accepted"]
    following = oldest.headers["link"].partition(">")[0].removeprefix("<")
    assert [r["value"]["details"]["state"] for r in api.get(following).json()["data"]] == ["cancelled"]
    assert id_ in api.get(f"/historical-data?type=command_result&id={id_}&format=csv").text
    assert api.get(f"/historical-data?type=command_result&id={id_}&site_id=Site-01").json()["data"] == []


def test_lists_are_filtered_and_paged(api: httpx.Client) -> None:
    ids = [give(api).json()["id"] for _ in range(5)]
    found = api.get("/commands?limit=2&command=get_status")
    pages = [found.json()]
    while "link" in found.headers:
        found = api.get(found.headers["link"].partition(">")[0].removeprefix("<"))
        pages.append(found.json())
    seen = [item["id"] for page in pages for item in page]
    assert set(ids) <= set(seen)
    assert len(seen) == len(set(seen))
    assert api.get("/commands?device_id=nobody").json() == []
    assert api.get("/commands?since=2030-01-01T00:00:00Z").json() == []
    assert api.get("/commands?state=flying").status_code == 422


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("ingest", 403), ("command", 202), (None, 401)])
def test_who_may_command(house: House, scope: str | None, status: int) -> None:
    with client_of(house, scope) as client:
        until_ready(client)
        assert give(client).status_code == status


def test_a_token_commands_only_its_devices(house: House) -> None:
    token = Token.make()
    house.access.control.create_token(
        Credential("bounded", "bounded", frozenset({"command"}), ("boiler-*",)), token.digest
    )
    with client_of(house, "admin") as client:
        until_ready(client)
        id_ = give(client).json()["id"]
        client.headers["Authorization"] = f"Bearer {token.text}"
        for answer in (give(client), client.post(f"/commands/{id_}/cancel"), give(client, dry_run=True)):
            assert (answer.status_code, "boiler-*" in answer.text) == (403, True)


def test_only_nodes_have_downlinks(api: httpx.Client) -> None:
    assert api.post("/downlink", json={"epoch": "e", "session": "s"}).status_code == 403


def test_too_many_wait_for_one_device(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    with client_of(build(lambda: store)) as client:
        until_ready(client)
        answers = [give(client).status_code for _ in range(101)]
        assert answers == [202] * 100 + [429]
    store.close()
