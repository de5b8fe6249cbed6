"""Who may ask what: every route of the OpenAPI document, with every kind of caller."""

import re
from collections.abc import Iterator

import httpx
import pytest

from sonde.access import SCOPES
from sonde.token import Token, new_secret
from tests.api_world import House, build, client_of, filled_store, no_store, served

OPEN = {
    "/",
    "/docs",
    "/health",
    "/health/live",
    "/health/ready",
    "/nodes/authority",
    "/nodes/join",
    "/openapi.json",
    "/session",
    "/sign-in",
    "/sign-out",
}
FRONT = {"/telemetry", "/ingest"}  # taken in by a handler in front of this application
EXAMPLES = {"device_id": "Site-01/Zone-01/room", "command": "get_status"}

PARAMETERS = {"/trends": {"sensor_type": "co2"}, "/samples": {"series": "0"}, "/export": {"series": "0"}}

Operation = tuple[str, str, str]  # method, path, scope or ""


def operations() -> list[Operation]:
    """All operations of the document, with the scope that each says it needs."""
    document = build(no_store).app.openapi()
    return [
        (method.upper(), path, next((way["token"][0] for way in op.get("security", []) if "token" in way), ""))
        for path, methods in document["paths"].items()
        for method, op in methods.items()
        if path not in FRONT
    ]


OPERATIONS = operations()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    store = filled_store(tmp_path_factory.mktemp("store"))
    yield build(lambda: store)
    store.close()


@pytest.fixture(scope="module")
def api(house: House) -> Iterator[httpx.Client]:
    with client_of(house, None) as client:
        yield client


def filled(path: str) -> str:
    """A path with something in the place of each parameter."""
    return re.sub(r"\{(\w+)\}", lambda name: EXAMPLES.get(name[1], "nobody"), path)


def ask(api: httpx.Client, method: str, path: str, token: str | None, cookie: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if cookie:
        headers["Cookie"] = f"sonde_session={cookie}"
    parameters = PARAMETERS.get(path, {})
    body = {"sql": "select 1"} if path == "/sql" else None
    if path in {"/sign-in", "/sign-out"} and method == "POST":
        data = {"link": "nobody's"}
        return api.post(path, data=data, headers=headers)
    return api.request(method, filled(path), params=parameters, json=body, headers=headers)


def test_what_is_open_is_listed_here() -> None:
    assert {path for _, path, scope in OPERATIONS if not scope} == OPEN
    assert {scope for _, _, scope in OPERATIONS} <= {"", *SCOPES}


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o[2]], ids=" ".join)
class TestGuarded:
    """Every route with every kind of caller, and with nonsense for a body and parameters: who may not is told so first."""

    def test_no_token(self, api: httpx.Client, operation: Operation) -> None:
        response = nonsense(api, operation, {})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert response.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("scope", SCOPES)
    def test_each_scope(self, house: House, api: httpx.Client, operation: Operation, scope: str) -> None:
        status = nonsense(api, operation, {"Authorization": f"Bearer {house.tokens[scope]}"}).status_code
        if scope in {operation[2], "admin"}:
            assert status in {400, 404, 409, 415, 422}
        else:
            assert status == 403

    def test_head_is_guarded_too(self, api: httpx.Client, operation: Operation) -> None:
        if operation[0] == "GET":
            assert ask(api, "HEAD", operation[1], None).status_code == 401


def nonsense(api: httpx.Client, operation: Operation, headers: dict[str, str]) -> httpx.Response:
    method, path, _ = operation
    content = b"nonsense" if method in {"POST", "PUT"} else None
    return api.request(method, filled(path), params={"non": "sense"}, content=content, headers=headers)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o[2]], ids=" ".join)
def test_a_wrong_token_is_refused_everywhere(operation: Operation) -> None:
    with client_of(build(no_store), None) as api:
        for wrong in ("sonde_wrong", "x" * 5000, '" or 1=1 --'):
            assert ask(api, operation[0], operation[1], wrong).status_code == 401
        basic = api.request(operation[0], filled(operation[1]), headers={"Authorization": "Basic eDp5"})
        assert basic.status_code == 401


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if not o[2]], ids=" ".join)
def test_what_is_open_needs_no_token(api: httpx.Client, operation: Operation) -> None:
    expected = {
        ("POST", "/sign-in"): 401,
        ("POST", "/sign-out"): 303,
        ("POST", "/nodes/join"): 415,
        ("GET", "/nodes/authority"): 404,
    }.get(operation[:2], 200)
    assert ask(api, operation[0], operation[1], None).status_code == expected


def test_wrong_tokens_are_counted_and_slowed() -> None:
    house = build(no_store)
    with client_of(house, None) as api:
        statuses = [ask(api, "GET", "/devices", Token.make().text).status_code for _ in range(15)]
        slowed = ask(api, "GET", "/devices", Token.make().text)
        assert ask(api, "GET", "/devices", "sonde_mistyped").status_code == 401
    assert statuses[0] == 401
    assert (statuses[-1], slowed.status_code) == (429, 429)
    assert int(slowed.headers["Retry-After"]) >= 1
    assert (house.metrics.registry.get_sample_value("sonde_api_wrong_tokens_total") or 0) >= 15


def test_anonymous_scopes_on_loopback(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = filled_store(tmp_path_factory.mktemp("store"))
    with client_of(build(lambda: store, anonymous=frozenset({"read"})), None) as api:
        assert api.get("/devices").status_code == 200
        assert api.post("/sql", json={"sql": "select 1"}).status_code == 403
        assert api.get("/session").json()["scopes"] == ["read"]
    store.close()


class TestSignIn:
    def test_opening_the_link_uses_nothing_up(self, house: House, api: httpx.Client) -> None:
        link = house.link()
        for _ in range(3):
            page = api.get("/sign-in", params={"link": link})
            assert page.status_code == 200
            assert "set-cookie" not in page.headers
            assert f'value="{link}"' in page.text
        assert api.post("/sign-in", data={"link": link}).status_code == 303

    def test_the_cookie_signs_in_until_signed_out(self, house: House) -> None:
        with client_of(house, None) as browser:
            response = browser.post("/sign-in", data={"link": house.link()})
            cookie = response.headers["set-cookie"].lower()
            assert (response.status_code, response.headers["location"]) == (303, "/")
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert browser.get("/devices").status_code == 200
            assert browser.get("/session").json()["name"] == "admin"
            assert 'id="app"' in browser.get("/").text
            assert browser.post("/sign-out").status_code == 303
            assert browser.get("/devices").status_code == 401
            assert "sign in" in browser.get("/").text
            assert browser.get("/session").json() == {"name": None, "scopes": [], "expires": None}

    def test_a_link_works_once(self, house: House, api: httpx.Client) -> None:
        link = house.link()
        with served(house.app) as address:
            assert httpx.post(f"{address}/sign-in", data={"link": link}).status_code == 303
            again = httpx.post(f"{address}/sign-in", data={"link": link})
        assert again.status_code == 401
        assert "was used before" in again.text
        assert "set-cookie" not in again.headers

    @pytest.mark.parametrize("cookie", ["nobody", new_secret()], ids=["malformed", "unknown"])
    def test_a_cookie_that_is_not_known_is_taken_back(self, api: httpx.Client, cookie: str) -> None:
        response = ask(api, "GET", "/devices", None, cookie=cookie)
        assert response.status_code == 401
        assert 'sonde_session="";' in response.headers["set-cookie"]

    @pytest.mark.parametrize(
        "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}]
    )
    def test_pages_of_other_origins_cannot_use_the_cookie(self, house: House, headers: dict[str, str]) -> None:
        with client_of(house, None) as browser:
            assert browser.post("/sign-in", data={"link": house.link()}, headers=headers).status_code == 403
            assert browser.post("/sign-in", data={"link": house.link()}).status_code == 303
            body = {"sql": "select 1"}
            assert browser.post("/sql", json=body, headers=headers).status_code == 403
            assert browser.post("/sign-out", headers=headers).status_code == 403
            assert (
                browser.post("/sql", json=body, headers={"Origin": str(browser.base_url).rstrip("/")}).status_code
                == 200
            )

    def test_what_is_posted_must_be_a_form(self, api: httpx.Client) -> None:
        assert api.post("/sign-in", json={"link": "x"}).status_code == 415
        large = {"Content-Type": "application/x-www-form-urlencoded"}
        assert api.post("/sign-in", content=b"a" * (2 << 20), headers=large).status_code == 413
        many = "&".join(f"a{n}=1" for n in range(99)).encode()
        assert api.post("/sign-in", content=many, headers=large).status_code == 400
        assert api.post("/sign-in", content=b"link=\xff", headers=large).status_code == 400
