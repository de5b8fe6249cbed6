"""What every request and response passes: names, methods, headers, errors, a store that is away, too many at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest

from sonde.api.desk import AT_ONCE
from sonde.changes import Changes, State
from sonde.errors import Damaged, Retry, SondeError
from sonde.ports import Store
from sonde.question import Answer, Question
from sonde.status import Status
from tests.api_world import NOW, House, build, client_of, filled_store

AWAY = Retry("the store is being made again from the log", hint="Ask again soon", after=7)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    filled = filled_store(tmp_path_factory.mktemp("store"))
    yield filled
    filled.close()


@pytest.fixture(scope="module")
def api(store: Store) -> Iterator[httpx.Client]:
    with client_of(build(lambda: store, frontend_url="https://charts.example/", hosts=("sonde.example",))) as client:
        yield client


class Failing:
    """A store that answers nothing but one error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self, partition: int = 0) -> State:
        raise self.error

    def commit(self, changes: Changes) -> None:
        raise self.error

    def ask(self, question: Question) -> Answer:
        raise self.error

    def maintain(self) -> bool:
        return False

    def close(self) -> None: ...


def away() -> Store:
    raise AWAY


def test_while_the_store_is_away_the_rest_goes_on() -> None:
    with client_of(build(away)) as api:
        response = api.get("/devices")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
        assert "being made again" in response.json()["detail"]
        assert api.get("/health/live").status_code == 200
        assert api.get("/health").json()["status"] == "degraded"
        ready = api.get("/health/ready")
        assert (ready.status_code, ready.json()["reasons"]) == (503, [AWAY.message])
        assert api.get("/metrics").status_code == 200
        assert 'id="app"' in api.get("/").text


def test_the_store_may_be_replaced_while_running(store: Store) -> None:
    current: list[Store] = [Failing(AWAY)]
    with client_of(build(lambda: current[0])) as api:
        assert api.get("/devices").status_code == 503
        current[0] = store
        assert api.get("/devices").status_code == 200


def test_ready_gives_the_reasons() -> None:
    status = Status(NOW, problems=("the disk is full", "the last durable write is 70 s old"))
    with client_of(build(lambda: Failing(AWAY), status=lambda: status), None) as api:
        response = api.get("/health/ready")
        assert response.json()["reasons"] == list(status.problems)
        health = api.get("/health").json()
        assert (health["status"], health["active_connections"]) == ("degraded", 0)
        assert "disk is full" in health["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Retry("busy"), 503), (Damaged("torn", file="x.parquet", offset=3), 503), (RuntimeError("secret /home/x"), 500)],
)
def test_errors_of_the_store(error: Exception, status: int) -> None:
    with client_of(build(lambda: Failing(error))) as api:
        response = api.get("/devices")
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert "secret" not in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert isinstance(error, SondeError) == (status == 503)


def test_headers_stand_on_every_answer(api: httpx.Client) -> None:
    for path in ("/", "/docs", "/health", "/devices", "/nothing", "/static/sonde.css", "/sign-in"):
        headers = api.get(path).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_head_is_get_without_the_body(api: httpx.Client) -> None:
    for path in ("/health/live", "/ledger", "/docs", "/openapi.json", "/static/sonde.css"):
        head, got = api.head(path), api.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert api.head("/sql").status_code == 405
    assert api.head("/nothing").status_code == 404


def test_options_and_methods_that_a_route_has_not(api: httpx.Client) -> None:
    assert api.options("/devices/a/b").headers["Allow"] == "GET, HEAD, OPTIONS"
    assert api.options("/sign-in").headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert api.options("/nothing").status_code == 404
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        response = api.request(method, "/sign-in")
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_there_is_no_such_route(api: httpx.Client) -> None:
    response = api.get("/nothing/<script>")
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")
    assert api.get("/static/../app.py").status_code == 404
    assert api.get("/static/app.py").status_code == 404
    assert api.get("/static/%2e%2e%2fapp.py").status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "", "a b"]
)
def test_on_loopback_only_loopback_names_are_answered(api: httpx.Client, host: str) -> None:
    response = api.get("/health", headers={"Host": host})
    assert response.status_code in {400, 421}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:1", "sonde.example:443", "a.localhost"]
)
def test_names_that_are_ours(api: httpx.Client, host: str) -> None:
    assert api.get("/health", headers={"Host": host}).status_code == 200


def test_only_the_frontend_may_ask_from_another_origin(api: httpx.Client) -> None:
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    ours = api.options("/devices", headers={"Origin": "https://charts.example", **preflight})
    assert ours.headers["Access-Control-Allow-Origin"] == "https://charts.example"
    got = api.get("/devices", headers={"Origin": "https://charts.example"})
    assert got.headers["Access-Control-Allow-Origin"] == "https://charts.example"
    assert "Sonde-Cursor" in got.headers["Access-Control-Expose-Headers"]
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "https://evil.example", **preflight}):
        other = api.options("/devices", headers=headers)
        assert "Access-Control-Allow-Origin" not in other.headers
        assert "Access-Control-Allow-Origin" not in api.get("/devices", headers=headers).headers


def test_without_a_frontend_there_is_no_cors(store: Store) -> None:
    with client_of(build(lambda: store)) as api:
        headers = {"Origin": "https://charts.example", "Access-Control-Request-Method": "GET"}
        assert "Access-Control-Allow-Origin" not in api.options("/devices", headers=headers).headers


class _Slow(Failing):
    """Answers when it is told to; counts how many ask at the same time."""

    def __init__(self, store: Store) -> None:
        super().__init__(AWAY)
        self.store = store
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.inside = self.most = 0

    def ask(self, question: Question) -> Answer:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.go.wait(20)
        with self.lock:
            self.inside -= 1
        return self.store.ask(question)


def test_a_few_are_answered_at_a_time_and_health_goes_on(store: Store) -> None:
    slow = _Slow(store)
    house = build(lambda: slow)
    limits = httpx.Limits(max_connections=100)
    with (
        client_of(house) as api,
        httpx.Client(limits=limits, base_url=api.base_url, headers=api.headers, timeout=30) as many,
        ThreadPoolExecutor(AT_ONCE * 3) as pool,
    ):
        answers = [pool.submit(many.get, "/ledger") for _ in range(AT_ONCE * 3)]
        deadline = time.monotonic() + 20
        while slow.inside < AT_ONCE:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert api.get(path).status_code == 200
        slow.go.set()
        assert {a.result().status_code for a in answers} == {200}
    assert slow.most == AT_ONCE


class _Page(HTMLParser):
    """What a page loads, and whether script stands in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "script" and found.get("src", "").startswith("/static/"):
            self.loads.append(found["src"])
        elif tag in {"script", "style", "iframe"} or "style" in found or any(name.startswith("on") for name in found):
            self.faults.append(self.get_starttag_text() or tag)
        if tag == "link":
            self.loads.append(found["href"])
        if tag == "a":
            self.links.append(found["href"])
        if "id" in found:
            self.ids.add(found["id"])


@pytest.mark.parametrize("path", ["/", "/docs", "/sign-in", "/sign-in?link=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"])
def test_pages_need_nothing_from_elsewhere_and_hold_no_script(api: httpx.Client, path: str) -> None:
    page = _Page()
    page.feed(api.get(path).text)
    assert page.faults == []
    for target in page.loads:
        assert target.startswith("/static/")
        assert api.get(target).status_code == 200
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    for link in page.links:
        if link.startswith("/"):
            assert api.get(link).status_code == 200, link


def test_what_callers_write_is_escaped() -> None:
    house = build(lambda: Failing(Retry("<script>alert(1)</script>")))
    with client_of(house) as api:
        for headers in ({}, {"Host": "127.0.0.1<script>"}, {"Authorization": ""}):
            assert "<script>" not in api.get("/", headers=headers).text


def test_the_reference_lists_every_operation(api: httpx.Client) -> None:
    page = api.get("/docs").text
    document = api.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f">{method.upper()}</span><code>{path}</code>" in page
    for shape in document["components"]["schemas"]:
        assert f'<article id="{shape}">' in page


def test_a_house_is_built_once_and_can_be_asked_again(store: Store) -> None:
    house: House = replace(build(lambda: store))
    for _ in range(2):
        with client_of(house) as api:
            assert api.get("/ledger").status_code == 200
