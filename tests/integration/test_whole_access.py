"""Who may do what at a real ``sonde up``: every route of its OpenAPI document with every kind of caller.

Each request comes from an address of its own (all of 127.0.0.0/8 is this machine), so that wrong tokens slow nothing down but
where that is what is tested.
"""

import http.client
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sonde.access import SCOPES, Access
from sonde.clock import DAY, SystemClock
from sonde.control.sqlite import SqliteControl
from sonde.ports import Credential
from sonde.token import Token, new_secret
from tests.crash.road import JSON, Up

PROXY = "127.250.0.1"
DOORS = {"/telemetry", "/ingest", "/uplink"}  # where readings come in: with a token, never with a cookie
OPEN = {
    "GET /",
    "GET /docs",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /nodes/authority",
    "GET /openapi.json",
    "GET /session",
    "GET /sign-in",
    "POST /nodes/join",
    "POST /sign-in",
    "POST /sign-out",
}
CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
ADDRESSES = itertools.count(1)


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    scope: str  # empty: anyone

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Caller:
    """Some headers, and what they should be good for: scopes, or nothing at all (``known`` is false)."""

    headers: dict[str, str]
    scopes: set[str] = field(default_factory=set)
    known: bool = True
    other_page: bool = False

    def expected(self, operation: Operation) -> int:
        """401, 403, or 200 for whatever else."""
        cookie = "Cookie" in self.headers
        if operation.path in DOORS:
            return 401 if cookie or not self.known else self._scoped(operation)
        signs = operation.method in CHANGES and operation.path in {"/sign-in", "/sign-out"}
        if self.other_page and (signs or (cookie and operation.method in CHANGES and operation.scope)):
            return 403
        if not operation.scope:
            refused = (
                operation.path == "/session" and not self.known and {"Authorization", "Cookie"} & set(self.headers)
            )
            return 401 if refused else 200
        return self._scoped(operation) if self.known else 401

    def _scoped(self, operation: Operation) -> int:
        return 200 if {operation.scope, "admin"} & self.scopes else 403


class World:
    """A server, and every kind of credential for it."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.control = SqliteControl(up.data / "control.db")
        self.access = Access(self.control, SystemClock())
        self.operations = operations(up)

    def token(self, *scopes: str, expired: bool = False, revoked: bool = False, devices: tuple[str, ...] = ()) -> str:
        token, _ = self.make(*scopes, expired=expired, devices=devices)
        if revoked:
            self.control.revoke(token.id)
        return f"Bearer {token.text}"

    def make(self, *scopes: str, expired: bool = False, devices: tuple[str, ...] = ()) -> tuple[Token, Credential]:
        token, now = Token.make(), SystemClock().now()
        ends = now - DAY if expired else None
        made = Credential(token.id, token.id, frozenset(scopes), devices, expires=ends, created=now)
        self.control.create_token(made, token.digest)
        return token, made

    def cookie(self, *scopes: str, ended: bool = False) -> str:
        value = self.access.open_session(self.make(*scopes)[1])
        if ended:
            self.access.close_session(value)
        return f"sonde_session={value}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    options = ("--no-host", "--no-simulator", "--set", f"server.trusted_proxies={PROXY}")
    with Up(tmp_path_factory.mktemp("up"), *options) as up:
        world = World(up)
        yield world
        world.control.close()
        assert up.stop() == 0
        assert "Traceback" not in up.said()


def operations(up: Up) -> list[Operation]:
    """All of the document, and the node's door; what signs out comes last."""
    found = [
        Operation(method.upper(), path, next((way["token"][0] for way in op.get("security", []) if "token" in way), ""))
        for path, methods in up.get("/openapi.json")["paths"].items()
        for method, op in methods.items()
    ]
    found.append(Operation("POST", "/uplink", "ingest"))
    return sorted(found, key=lambda operation: operation.path == "/sign-out")


def ask(
    up: Up,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None = None,
    address: str = "",
) -> tuple[int, dict[str, str], bytes]:
    number = next(ADDRESSES)
    source = address or f"127.1.{number // 250}.{1 + number % 250}"
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def nonsense(up: Up, operation: Operation, headers: dict[str, str]) -> int:
    """The status for a request that nobody could act on: who may not is told so before anyone looks at it."""
    path = re.sub(r"\{\w+\}", "nobody", operation.path)
    body = b"nonsense" if operation.method in CHANGES - {"DELETE"} else None
    return ask(up, operation.method, path + ("?non=sense" if operation.scope else ""), headers, body)[0]


CALLERS = (
    "nobody",
    *SCOPES,
    "all but admin",
    "bounded to devices",
    "expired",
    "revoked",
    "unknown",
    "mistyped",
    "no bearer",
    "a token in another header",
    "signed in",
    "signed in, own page",
    "signed in to read",
    "signed in, other page",
    "signed in, same site but another origin",
    "signed out",
    "signed in with a revoked token",
    "unknown cookie",
    "malformed cookie",
    "own token, other page",
)


def caller(world: World, kind: str) -> Caller:
    here = f"http://127.0.0.1:{world.up.port}"
    if kind in SCOPES:
        return Caller({"Authorization": world.token(kind)}, {kind})
    if kind == "all but admin":
        scopes = ("ingest", "read", "command")
        return Caller({"Authorization": world.token(*scopes)}, set(scopes))
    if kind == "bounded to devices":
        return Caller({"Authorization": world.token("ingest", "command", devices=("mine-*",))}, {"ingest", "command"})
    if kind.startswith(("signed", "unknown c", "malformed")):
        return signed_in(world, kind, here)
    if kind == "own token, other page":
        headers = {"Authorization": world.token("admin"), "Origin": "http://evil.example"}
        return Caller(headers, {"admin"}, other_page=True)
    return Caller(
        {
            "nobody": {},
            "expired": {"Authorization": world.token("admin", expired=True)},
            "revoked": {"Authorization": world.token("admin", revoked=True)},
            "unknown": {"Authorization": f"Bearer {Token.make().text}"},
            "mistyped": {"Authorization": world.token("admin")[:-1] + "!"},
            "no bearer": {"Authorization": "Basic YWRtaW46YWRtaW4="},
            "a token in another header": {"X-Token": world.token("admin"), "Token": world.token("admin")},
        }[kind],
        known=False,
    )


def signed_in(world: World, kind: str, here: str) -> Caller:
    if kind == "signed in with a revoked token":
        token, made = world.make("admin")
        value = world.access.open_session(made)
        world.control.revoke(token.id)
        return Caller({"Cookie": f"sonde_session={value}"}, known=False)
    if kind == "signed in to read":
        return Caller({"Cookie": world.cookie("read")}, {"read"})
    if kind in {"unknown cookie", "malformed cookie"}:
        return Caller({"Cookie": f"sonde_session={new_secret() if kind[0] == 'u' else 'x y'}"}, known=False)
    if kind == "signed out":
        return Caller({"Cookie": world.cookie("admin", ended=True)}, known=False)
    page = {
        "signed in": {},
        "signed in, own page": {"Origin": here, "Sec-Fetch-Site": "same-origin"},
        "signed in, other page": {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
        "signed in, same site but another origin": {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    }[kind]
    return Caller({"Cookie": world.cookie("admin"), **page}, {"admin"}, other_page="other" in kind)


def test_what_is_open_is_listed_here(world: World) -> None:
    assert {str(operation) for operation in world.operations if not operation.scope} == OPEN
    assert {operation.scope for operation in world.operations} <= {"", *SCOPES}
    assert len(world.operations) > 30


@pytest.mark.parametrize("kind", CALLERS)
def test_every_route_gives_each_caller_exactly_what_it_should(world: World, kind: str) -> None:
    who = caller(world, kind)
    wrong = []
    for operation in world.operations:
        expected, found = who.expected(operation), nonsense(world.up, operation, who.headers)
        verdict = found if found in {401, 403, 405, 429} or (found >= 500 and found != 503) else 200
        if verdict != expected:
            wrong.append(f"{operation}: {found}, not {expected}")
    assert not wrong


@pytest.mark.parametrize("kind", ["nobody", "read", "unknown", "signed in, other page"])
def test_head_is_guarded_as_get_is(world: World, kind: str) -> None:
    who = caller(world, kind)
    for operation in world.operations:
        if operation.method == "GET":
            path = re.sub(r"\{\w+\}", "nobody", operation.path)
            status, _, body = ask(world.up, "HEAD", path + ("?non=sense" if operation.scope else ""), who.headers)
            assert (status if status in {401, 403} else 200, body) == (who.expected(operation), b""), str(operation)


# Patterns are those of a shell: * is any number of characters, also / and none; ? is one; [ab] and [!ab] are one of, none of.
PATTERNS = [
    ("mine-*", ["mine-1", "mine-", "mine-a/b", "mine-ü"], ["mine", "Mine-1", " mine-1", "xmine-1", "other-1"]),
    ("press-?", ["press-1", "press-ü"], ["press-", "press-12"]),
    ("site/[ab]/*", ["site/a/1", "site/b/"], ["site/c/1", "site/a", "site/[ab]/1"]),
    ("site/[!a]*", ["site/b", "site/!x"], ["site/a", "site/"]),
    ("a.b", ["a.b"], ["axb", "a.b.c"]),
    ("a[b", ["a[b"], ["ab", "a"]),
    ("[*]", ["*"], ["x", ""]),
    ("x+(y)|z", ["x+(y)|z"], ["xy", "z", "x+(y)"]),
    ("\\d", ["\\d"], ["1", "d"]),
    ("*", ["anything", "*"], []),
]


@pytest.mark.parametrize(("pattern", "own", "foreign"), PATTERNS, ids=[p for p, _, _ in PATTERNS])
def test_devices_that_a_token_may_write(world: World, pattern: str, own: list[str], foreign: list[str]) -> None:
    headers = {**JSON, "Authorization": world.token("ingest", devices=(pattern, "never-used"))}
    for device in own:
        assert send(world, headers, device) == 202, device
    for device in foreign:
        assert send(world, headers, device) in {403, 422}, device
        assert send(world, headers, *own[:1], device) in {403, 422}, "a request is refused whole"


def test_a_pattern_that_ends_in_a_line_break_is_none(world: World) -> None:
    """The regular expression's $ would match before it."""
    headers = {**JSON, "Authorization": world.token("ingest", devices=("mine",))}
    assert send(world, headers, "mine") == 202
    assert send(world, headers, "mine\n") == 422


def test_devices_that_a_token_may_command(world: World) -> None:
    """Whether there is such a device is for those to know who may command it."""
    headers = {**JSON, "Authorization": world.token("command", devices=("mine-*",))}

    def command(device: str, **headers: str) -> int:
        body = json.dumps({"device": device, "command": "get_status"}).encode()
        return ask(world.up, "POST", "/commands", headers, body)[0]

    assert command("other-1", **headers) == 403
    assert command("mine-1", **headers) in {404, 409, 422}
    everything = {**JSON, "Authorization": world.token("command")}
    assert command("other-1", **everything) == command("mine-1", **headers)


def send(world: World, headers: dict[str, str], *devices: str) -> int:
    body = json.dumps([{"device": device, "metric": "m", "value": 1} for device in devices]).encode()
    return ask(world.up, "POST", "/telemetry", headers, body)[0]


class TestWrongTokens:
    def test_they_are_slowed_down_for_their_address_alone(self, world: World) -> None:
        here, elsewhere = "127.251.0.1", "127.251.0.2"
        known = {"Authorization": world.token("read")}
        assert ask(world.up, "GET", "/devices", known, address=here)[0] == 200
        before = self.counted(world)
        statuses = [self.guess(world, here, {}) for _ in range(12)]
        assert statuses[:10] == [401] * 10
        assert 429 in statuses[10:]
        status, headers, _ = ask(world.up, "GET", "/devices", self.wrong(), address=here)
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 60
        assert self.counted(world) - before >= 13
        assert ask(world.up, "GET", "/devices", known, address=here)[0] == 200, "one that was right goes on"
        assert self.guess(world, elsewhere, {}) == 401

    @pytest.mark.parametrize("door", ["/telemetry", "/uplink"])
    def test_where_readings_come_in_too(self, world: World, door: str) -> None:
        here = f"127.251.1.{len(door)}"
        statuses = [ask(world.up, "POST", door, self.wrong(), b"[]", address=here)[0] for _ in range(14)]
        assert statuses[:10] == [401] * 10
        assert statuses[-1] == 429

    def test_wrong_links_too(self, world: World) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}

        def enter() -> int:
            body = f"link={new_secret()}".encode()
            return ask(world.up, "POST", "/sign-in", form, body, address="127.251.2.1")[0]

        statuses = [enter() for _ in range(14)]
        assert statuses[:10] == [401] * 10
        assert statuses[-1] == 429

    def test_a_header_makes_nobody_another(self, world: World) -> None:
        here = "127.251.3.1"
        statuses = [self.guess(world, here, {"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(14)]
        assert statuses[-1] == 429

    def test_behind_a_proxy_that_is_named_everyone_has_an_address(self, world: World) -> None:
        statuses = [self.guess(world, PROXY, {"X-Forwarded-For": "203.0.113.1"}) for _ in range(14)]
        assert statuses[-1] == 429
        assert self.guess(world, PROXY, {"X-Forwarded-For": "203.0.113.2"}) == 401
        forged = {"X-Forwarded-For": "203.0.113.99, 203.0.113.1"}
        assert self.guess(world, PROXY, forged) == 429, "what the client wrote itself is not believed"

    def guess(self, world: World, address: str, headers: dict[str, str]) -> int:
        return ask(world.up, "GET", "/devices", {**self.wrong(), **headers}, address=address)[0]

    def wrong(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {Token.make().text}"}

    def counted(self, world: World) -> float:
        text = world.up.request("GET", "/metrics")[1].decode()
        return float(re.findall(r"^sonde_api_wrong_tokens_total (\S+)$", text, re.MULTILINE)[0])
