"""Tokens, sessions and the audit trail over the api."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from sonde.api.app import create_app
from sonde.audit import Act, Link
from sonde.control.notices import MemoryNotices
from sonde.errors import Retry
from sonde.status import Status
from tests.api_world import NOW, House, StoppedClock, StoringJournal, build, client_of, no_store, served

NEW = {"name": "press-7", "scopes": ["ingest"]}


@pytest.fixture
def house() -> House:
    return build(no_store)


@pytest.fixture
def api(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as client:
        yield client


def refused(api: httpx.Client, headers: dict[str, str]) -> bool:
    """Whether a credential is worth no_store any more, which may take a second to be known."""
    deadline = time.monotonic() + 30
    while api.get("/session", headers=headers).status_code != 401:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def acts(house: House) -> list[tuple[str, str, str, str]]:
    """Oldest first: who, what, on what, and from where."""
    return [(a.who, a.what, a.on, a.address) for _, a in reversed(house.audit.read(None, 100))]


class TestTokens:
    def test_the_secret_is_shown_once(self, api: httpx.Client) -> None:
        response = api.post("/tokens", json={**NEW, "devices": ["press-7/*"], "node": "hall", "expires": "90d"})
        assert response.status_code == 201
        assert response.headers["cache-control"] == "no-store"
        made = response.json()
        token = made.pop("token")
        assert made["expires"] == "2026-04-01T00:00:00.000000Z"
        assert (made["scopes"], made["devices"], made["node"]) == (["ingest"], ["press-7/*"], "hall")
        listed = api.get("/tokens")
        assert token.split("_")[2] not in listed.text
        assert made in listed.json()

    def test_it_works_at_once_and_its_use_is_recorded(self, api: httpx.Client) -> None:
        made = api.post("/tokens", json={"name": "me", "scopes": ["read", "command"]}).json()
        session = api.get("/session", headers={"Authorization": f"Bearer {made['token']}"}).json()
        assert (session["name"], session["scopes"]) == ("me", ["read", "command"])
        (listed,) = [t for t in api.get("/tokens").json() if t["id"] == made["id"]]
        assert made["last_used"] is None
        assert listed["last_used"] is not None

    def test_one_takes_over_from_another(self, api: httpx.Client) -> None:
        """Two of a name are valid at the same time, so that a secret changes without a pause."""
        old = api.post("/tokens", json=NEW).json()
        new = api.post("/tokens", json=NEW).json()
        third = api.post("/tokens", json=NEW)
        assert (third.status_code, third.json()["known"]) == (409, 2)
        headers = [{"Authorization": f"Bearer {each['token']}"} for each in (old, new)]
        assert [api.get("/session", headers=each).status_code for each in headers] == [200, 200]
        assert api.delete(f"/tokens/{old['id']}").status_code == 204
        assert refused(api, headers[0])
        assert api.get("/session", headers=headers[1]).status_code == 200
        assert api.post("/tokens", json=NEW).status_code == 201
        assert api.delete(f"/tokens/{old['id']}").status_code == 404

    def test_nobody_revokes_the_token_they_ask_with(self, api: httpx.Client) -> None:
        response = api.delete("/tokens/admin")
        assert response.status_code == 409
        assert "the token that you ask with" in response.json()["detail"]
        assert api.delete("/tokens/read").status_code == 204

    def test_a_name_is_no_id(self, api: httpx.Client) -> None:
        api.post("/tokens", json=NEW)
        assert api.delete("/tokens/press-7").status_code == 404

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "  "}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"name": "local"}, "name"),
            ({"name": "ü" * 200}, "name"),
            ({"node": "anonymous"}, "node"),
            ({"scopes": []}, "body"),
            ({"scopes": ["root"]}, "scope"),
            ({"scopes": "admin"}, "body"),
            ({"devices": [""]}, "device"),
            ({"devices": ["x"] * 101}, "body"),
            ({"expires": "yesterday"}, "expires"),
            ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
            ({"expires": "0d"}, "expires"),
            ({"secret": "x"}, "body"),
        ],
    )
    def test_what_cannot_be_made(self, house: House, api: httpx.Client, change: dict[str, Any], field: str) -> None:
        response = api.post("/tokens", json={**NEW, **change})
        assert (response.status_code, response.json()["field"]) == (422, field)
        assert acts(house) == []

    def test_codes_of_invitations_are_tokens_too(self, api: httpx.Client) -> None:
        code = api.post("/nodes/invitations", json={"node": "attic"}).json()["code"]
        (listed,) = [t for t in api.get("/tokens").json() if t["scopes"] == ["join"]]
        assert (listed["name"], listed["state"]) == ("attic", "valid")
        assert code.split("_")[2] not in api.get("/tokens").text

    def test_lists_have_pages(self, api: httpx.Client) -> None:
        first = api.get("/tokens?limit=3")
        assert len(first.json()) == 3
        rest = api.get(first.links["next"]["url"])
        assert len(rest.json()) == 1
        assert "next" not in rest.links


class TestSessions:
    def sign_in(self, house: House, browser: httpx.Client, agent: str = "Fox/1.0") -> None:
        response = browser.post("/sign-in", data={"link": house.link()}, headers={"User-Agent": agent})
        assert response.status_code == 303

    def test_who_is_signed_in(self, house: House, api: httpx.Client) -> None:
        with client_of(house, None) as browser:
            self.sign_in(house, browser, "Fox/1.0 " + "x" * 5_000)
            browser.get("/session")
            waiting = house.link()
            link, session = sorted(api.get("/sessions").json(), key=lambda s: s["kind"], reverse=True)
            assert (session["kind"], session["name"], session["token"]) == ("browser", "admin", "admin")
            assert session["agent"] == "Fox/1.0 ".ljust(200, "x")
            assert session["address"] == session["last_address"] == "127.0.0.1"
            assert session["created"] == session["last_used"] == "2026-01-01T00:00:00.000000Z"
            assert session["expires"] == "2026-01-08T00:00:00.000000Z"
            assert (link["kind"], link["last_used"]) == ("link", None)
            assert waiting not in api.get("/sessions").text

    def test_signing_out_ends_the_session_on_the_server(self, house: House, api: httpx.Client) -> None:
        with client_of(house, None) as browser:
            self.sign_in(house, browser)
            stolen = {"Cookie": f"sonde_session={browser.cookies['sonde_session']}"}
            assert browser.get("/session").json()["name"] == "admin"
            assert browser.post("/sign-out").status_code == 303
            assert api.get("/sessions").json() == []
            assert httpx.get(f"{str(browser.base_url).rstrip('/')}/session", headers=stolen).status_code == 401, (
                "at once"
            )
        assert [what for _, what, _, _ in acts(house)] == ["session.open", "session.close"]

    def test_a_session_is_revoked(self, house: House, api: httpx.Client) -> None:
        with client_of(house, None) as browser:
            self.sign_in(house, browser)
            (session,) = api.get("/sessions").json()
            assert api.delete(f"/sessions/{session['id']}").status_code == 204
            assert refused(api, {"Authorization": "", "Cookie": f"sonde_session={browser.cookies['sonde_session']}"})
            assert api.delete(f"/sessions/{session['id']}").status_code == 404
            assert api.get("/sessions").json() == []

    def test_a_link_is_revoked(self, house: House, api: httpx.Client) -> None:
        link = house.link()
        (session,) = api.get("/sessions").json()
        assert api.delete(f"/sessions/{session['id']}").status_code == 204
        assert api.post("/sign-in", data={"link": link}).status_code == 401

    def test_sessions_end_with_their_token(self, house: House, api: httpx.Client) -> None:
        made = api.post("/tokens", json={"name": "bob", "scopes": ["read"]}).json()
        with client_of(house, None) as browser:
            link = house.access.make_link(made["id"])
            assert browser.post("/sign-in", data={"link": link}).status_code == 303
            cookie = {"Cookie": f"sonde_session={browser.cookies['sonde_session']}"}
            assert api.delete(f"/tokens/{made['id']}").status_code == 204
            assert [s["name"] for s in api.get("/sessions").json()] == []
            with httpx.Client(base_url=browser.base_url) as thief:
                assert refused(thief, cookie)


class TestAudit:
    def test_who_did_what_from_where(self, house: House, api: httpx.Client) -> None:
        made = api.post("/tokens", json=NEW).json()
        api.delete(f"/tokens/{made['id']}")
        api.delete("/tokens/nobody")
        api.get("/tokens")
        shown = api.get("/audit").json()
        assert [(a["number"], a["who"], a["what"], a["on"], a["address"]) for a in shown] == [
            (2, "admin", "token.revoke", "press-7", "127.0.0.1"),
            (1, "admin", "token.create", "press-7", "127.0.0.1"),
        ]
        assert shown[1]["detail"] == {"id": made["id"], "scopes": "ingest"}
        assert house.audit.verify() == 2
        assert made["token"].split("_")[2] not in api.get("/audit").text

    def test_page_by_page(self, house: House, api: httpx.Client) -> None:
        for number in range(7):
            house.audit.write(Act(number, "alice" if number % 2 else "bob", "rule.set" if number < 4 else "purge"))
        assert [a["number"] for a in api.get("/audit?limit=3").json()] == [7, 6, 5]
        numbers, url = [], "/audit?limit=2&who=bob"
        while url:
            page = api.get(url)
            numbers += [a["number"] for a in page.json()]
            url = page.links.get("next", {}).get("url", "")
        assert numbers == [7, 5, 3, 1]
        assert [a["number"] for a in api.get("/audit?what=rule").json()] == [4, 3, 2, 1]
        assert [a["number"] for a in api.get("/audit?what=rule.set&who=alice").json()] == [4, 2]
        assert api.get("/audit?what=rul").json() == []
        for wrong in ("before=0", "before=x", "limit=0", "whom=bob"):
            assert api.get(f"/audit?{wrong}").status_code == 422

    def test_what_cannot_be_written_down_does_not_happen(self, house: House) -> None:
        class Full:
            """A trail on a full disk."""

            def write(self, act: Act) -> None:
                raise Retry("the disk is full")

            def read(self, before: int | None, limit: int) -> Sequence[tuple[int, Act]]:
                return ()

            def head(self) -> Link:
                return 0, bytes(32)

            def verify(self, anchors: Any = None) -> int:
                return 0

            def forget(self, before: int) -> int:
                return 0

        clock = StoppedClock()
        app = create_app(
            no_store,
            house.access,
            Full(),
            StoringJournal(no_store),
            MemoryNotices(),
            status=lambda: Status(NOW),
            settings=dict,
            metrics=house.metrics,
            clock=clock,
        )
        headers = {"Authorization": f"Bearer {house.tokens['admin']}"}
        with served(app) as address, httpx.Client(base_url=address, headers=headers) as api:
            before = api.get("/tokens").json()
            link = house.link()
            (waiting,) = api.get("/sessions").json()
            assert api.post("/tokens", json=NEW).status_code == 503
            assert api.delete("/tokens/read").status_code == 503
            assert api.delete(f"/sessions/{waiting['id']}").status_code == 503
            assert [t["state"] for t in api.get("/tokens").json()] == [t["state"] for t in before]
            assert len(api.get("/sessions").json()) == 1
            response = api.post("/sign-in", data={"link": link})
            assert (response.status_code, "set-cookie" in response.headers) == (503, False)
