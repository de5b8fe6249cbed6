"""Whatever bytes come as path, query, headers or body: an answer or a problem, never a server error."""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api_world import House, build, filled_store

PATHS = (
    "/devices",
    "/devices/x",
    "/trends",
    "/alerts",
    "/alerts/recent",
    "/historical-data",
    "/kpis/live",
    "/utilization/heatmap",
    "/telemetry-types",
    "/command-validation/x",
    "/ledger",
    "/gaps",
    "/sign-in",
)
NAMES = (
    "since",
    "until",
    "limit",
    "skip",
    "site_id",
    "device_id",
    "id",
    "type",
    "window",
    "sensor_type",
    "by",
    "after",
)
SEEDS = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+02:00", "1767225600", "5m", "Site-01", "data", "hour", "10", "")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    store = filled_store(tmp_path_factory.mktemp("store"))
    yield build(lambda: store)
    store.close()


def mutated(seed: bytes, at: int, piece: bytes) -> bytes:
    place = at % (len(seed) + 1)
    return seed[:place] + piece + seed[place + len(piece) % 3 :]


VALUES = st.builds(mutated, st.sampled_from(SEEDS).map(str.encode), st.integers(0, 40), st.binary(max_size=4))
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4)


def ask(house: House, method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> httpx.Response:
    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sonde") as client:
            return await client.request(method, url, headers=headers, content=body)

    return asyncio.run(exchange())


def check(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and "html" not in response.headers["content-type"]:
        assert response.headers["content-type"] == "application/problem+json"
        assert json.loads(response.content)["status"] == response.status_code
        assert len(response.content) < 4_000


def admin(house: House) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.tokens['admin']}"}


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
long = settings(max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def query(house: House, path: str, pairs: list[tuple[str, bytes]]) -> None:
    text = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in pairs)
    check(ask(house, "GET", f"{path}?{text}", admin(house)))


@quick
@given(st.sampled_from(PATHS), QUERIES)
def test_queries(house: House, path: str, pairs: list[tuple[str, bytes]]) -> None:
    query(house, path, pairs)


@pytest.mark.all
@long
@given(st.sampled_from(PATHS), QUERIES)
def test_many_queries(house: House, path: str, pairs: list[tuple[str, bytes]]) -> None:
    query(house, path, pairs)


@quick
@given(st.sampled_from(("/devices/", "/command-validation/", "/static/", "/")), st.binary(max_size=40))
def test_paths(house: House, start: str, name: bytes) -> None:
    check(ask(house, "GET", start + quote_from_bytes(name), admin(house)))


@quick
@given(st.builds(mutated, st.just(b'{"sql": "select 1 as \\u00e4"}'), st.integers(0, 40), st.binary(max_size=6)))
def test_sql_bodies(house: House, body: bytes) -> None:
    check(ask(house, "POST", "/sql", {**admin(house), "Content-Type": "application/json"}, body))


@quick
@given(st.binary(max_size=200))
def test_sign_in_bodies(house: House, body: bytes) -> None:
    check(ask(house, "POST", "/sign-in", {"Content-Type": "application/x-www-form-urlencoded"}, body))


HEADERS = st.sampled_from(["authorization", "cookie", "accept", "content-type", "origin", "sec-fetch-site", "host"])


@quick
@given(HEADERS, st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_headers(house: House, name: str, value: str) -> None:
    response = ask(house, "GET", "/session", {name: value.encode("latin-1")})  # type: ignore[dict-item]
    check(response)
