"""Canaries: secrets that the test knows are looked for wherever they must not be. In log lines and errors, in every answer,
in ``/config-summary``, among the processes' arguments and in every file of the data directory."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sonde.keyring import KeyRing
from tests.crash.disks import flip
from tests.crash.nodes import stored_of
from tests.crash.road import JSON, Up, create_token, wait_for
from tests.crash.test_crash_up import start_node

GIVEN_KEY = base64.urlsafe_b64encode(b"canary-key-of-the-configuration!").decode()
REFUSED = (GIVEN_KEY[:-5], GIVEN_KEY + "x", f"{GIVEN_KEY},nonsense", f"{GIVEN_KEY[:-1]}!")
READING = b'{"device": "d", "metric": "m", "value": 1}'
NODE = "[node]\nsink = http://127.0.0.1:{port}\n[sensor.host]\ninterval = 100ms\n[sensor.building]\nenabled = no\n"
COMMANDS = (
    ("token", "list", "--json"),
    ("config", "show"),
    ("log", "tail", "-n", "5"),
    ("token", "list"),
    ("token", "revoke", "nobody"),
    ("sql", "select * from readings limit 5"),
    ("sql", "select * from store.meta"),
    ("log", "verify"),
    ("outbox", "list"),
)


class Canaries:
    """Secrets by name; what was said and answered is shown to it."""

    def __init__(self) -> None:
        self._secrets: dict[str, list[bytes]] = {}
        self.looked_at = 0

    def add(self, name: str, secret: bytes) -> None:
        """``secret`` in all the forms in which it might leak."""
        forms = {secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)}
        with contextlib.suppress(ValueError):
            forms.add(base64.urlsafe_b64decode(secret))
        self._secrets[name] = [form for form in forms if len(form) >= 16]

    def add_token(self, name: str, token: str) -> None:
        """What of it is secret: not its id, which everyone may see."""
        self.add(name, token.split("_")[2].encode())

    def check(self, where: str, text: bytes) -> None:
        self.looked_at += 1
        for name, forms in self._secrets.items():
            assert not any(form in text for form in forms), f"{name} stands in {where}"

    @contextlib.contextmanager
    def watch_arguments(self) -> Iterator[None]:
        """Look at the arguments of every process while this is open."""
        stop = threading.Event()
        found: list[str] = []

        def look() -> None:
            while not stop.wait(0.02):
                for file in Path("/proc").glob("[0-9]*/cmdline"):
                    with contextlib.suppress(OSError):
                        line = file.read_bytes()
                        found.extend(n for n, forms in self._secrets.items() for form in forms if form in line)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not found, f"{found[0]} is among the arguments of a process"


@pytest.mark.parametrize("thorough", [pytest.param(False, id="quick"), pytest.param(True, marks=pytest.mark.all)])
def test_no_secret_stands_where_it_must_not(thorough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONDE_LOG_ENCRYPTION_KEY", GIVEN_KEY)
    canaries = Canaries()
    canaries.add("the key of the configuration", GIVEN_KEY.encode())
    with Up(tmp_path, "--set", "sensor.building.rate=200") as up:
        canaries.add_token("test", up.token)
        token = create_token(up.data, "node", "--scope", "ingest", "--node", "n")
        canaries.add_token("node", token)
        link = up.command("token", "link").stdout.strip()
        canaries.add("the sign-in link", link.rpartition("=")[2].encode())
        cookie = sign_in(up, link)
        canaries.add("the cookie", cookie.encode())
        with canaries.watch_arguments():
            run_commands(up, canaries, COMMANDS if thorough else COMMANDS[:3])
            if thorough:
                run_node(tmp_path, up, token, canaries)
        look_at_answers(up, canaries, cookie)
        look_at_files(up, canaries)  # while it runs
        assert up.stop() == 0
        look_at_files(up, canaries)
        look_at_refusals(up, canaries, REFUSED if thorough else REFUSED[:1])
        canaries.check("the lines of sonde up", shown(up))
    assert canaries.looked_at > 100, "hardly anything was looked at"


def test_the_key_that_was_drawn_stands_in_its_file_alone(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        assert up.request("POST", "/telemetry", READING, JSON)[0] == 202
        assert {file.name for file in up.data.rglob("keys.json")} == {"keys.json"}
        assert up.stop() == 0
        look_at_files(up, Canaries())


def sign_in(up: Up, link: str) -> str:
    """The cookie for a link, which is used up."""
    secret = link.rpartition("=")[2]
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""}
    status, headers, answer = up.ask("POST", "/sign-in", f"link={secret}".encode(), form)
    assert status == 303, answer
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert secret not in cookie
    return cookie.partition("=")[2].partition(";")[0]


def run_commands(up: Up, canaries: Canaries, commands: Sequence[tuple[str, ...]]) -> None:
    for arguments in commands:
        done = up.command(*arguments)
        assert "Traceback" not in done.stderr, done.stderr
        canaries.check(f"sonde {' '.join(arguments)}", (done.stdout + done.stderr).encode())


def run_node(tmp_path: Path, up: Up, token: str, canaries: Canaries) -> None:
    """Once as it should be, and once with a token that is not known, of which it complains."""
    (tmp_path / "node.ini").write_text(NODE.format(port=up.port))
    said = tmp_path / "node.log"
    with_token(tmp_path, token, lambda: stored_of(up, "n")["stored"] > 0)
    with_token(tmp_path, token[:-1] + ("a" if token[-1] != "a" else "b"), lambda: b"uplink_waits" in said.read_bytes())
    canaries.check("the lines of sonde node", said.read_bytes())
    for file in (tmp_path / "edge").rglob("*"):
        if file.is_file():
            canaries.check(str(file), file.read_bytes())


def with_token(folder: Path, token: str, condition: Callable[[], bool]) -> None:
    node = start_node(folder, token)
    try:
        wait_for(condition, "the node sending, or saying why it cannot")
        node.terminate()
        assert node.wait(15) == 0
    finally:
        node.kill()
        node.wait()


def look_at_answers(up: Up, canaries: Canaries, cookie: str) -> None:
    """All routes that can be asked, as all kinds of callers, and requests that fail."""
    document = up.get("/openapi.json")
    paths = [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]
    assert len(paths) > 15
    callers: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": f"Bearer {up.token[:-3]}xyz"},
        {"Cookie": f"sonde_session={cookie}"},
    ]
    for path in [*paths, "/nothing", "/devices/none", f"/devices?site_id={'x' * 300}"]:
        for headers in callers:
            status, head, answer = up.ask("GET", path, None, headers)
            assert status < 500 or path == "/health/ready", (path, answer)
            canaries.check(f"GET {path}", answer + str(head).encode())
    assert "***" in json.dumps(up.get("/config-summary")), "nothing is masked"
    for body in (READING, b"nonsense", b'{"device": "", "metric": "m", "value": 1}'):
        for headers in callers:
            _, head, answer = up.ask("POST", "/telemetry", body, {**JSON, **headers})
            canaries.check("POST /telemetry", answer + str(head).encode())
    for sql in ("select 1", "select", "select * from duckdb_secrets()", "select getenv('SONDE_LOG_ENCRYPTION_KEY')"):
        _, head, answer = up.ask("POST", "/sql", json.dumps({"sql": sql}).encode(), JSON)
        canaries.check(f"POST /sql {sql}", answer + str(head).encode())


def look_at_files(up: Up, canaries: Canaries) -> None:
    """Keys stand in the two key files, and nothing else stands anywhere."""
    for file in up.data.rglob("*"):
        if not file.is_file():
            continue
        content = file.read_bytes()
        canaries.check(str(file), content)
        rings = [up.data / "keys.json", up.data / "node" / "keys.json"]
        for ring in (KeyRing.load(path) for path in rings if path.exists() and path != file):
            for key in ring.keys.values():
                for form in (key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key)):
                    assert form not in content, f"a key stands in {file}"
        if file.name in {"keys.json", "control.db", "server.json"}:
            assert not file.stat().st_mode & 0o077, f"others may read {file}"
    assert not up.data.stat().st_mode & 0o077


def look_at_refusals(up: Up, canaries: Canaries, keys: Sequence[str]) -> None:
    """Errors about secrets do not quote them."""
    for value in keys:
        done = subprocess.run(
            [sys.executable, "-m", "sonde", "up", "--data", str(up.data), "--port", "0", "--plain"],
            env={**os.environ, "SONDE_LOG_ENCRYPTION_KEY": value},
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 1, done
        assert value.encode()[:20] not in done.stdout + done.stderr
        canaries.check("a refusal of a key", done.stdout + done.stderr)
    flip(up.data / "node" / "keys.json", 40)
    canaries.check("a refusal of a key file", up.refuse_to_start().encode())


def shown(up: Up) -> bytes:
    """What it said, without the links of its own that it prints once."""
    return b"\n".join(line for line in up.said().encode().splitlines() if b"sign in" not in line)
