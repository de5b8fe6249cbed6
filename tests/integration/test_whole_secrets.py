"""Canaries: secrets that the test knows are looked for wherever they must not be. In log lines and errors, in every answer,
in ``/config-summary``, ``/metrics``, the audit trail, among the processes' arguments, in every file of the data directory and
of a backup."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sonde.config.key import Section, is_secret
from sonde.config.model import NAMED_CLASSES
from sonde.config.named import KINDS
from sonde.config.sections import SECTIONS
from tests.crash.disks import flip
from tests.crash.nodes import stored_of
from tests.crash.road import JSON, Up, create_token, wait_for
from tests.crash.test_crash_up import start_node
from tests.integration.canaries import GIVEN, GIVEN_KEY, OPEN, Canaries

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
    ("session", "list", "--json"),
    ("audit", "show", "--json"),
    ("audit", "verify"),
    ("keys", "list"),
    ("config", "check"),
)


@pytest.mark.parametrize("thorough", [pytest.param(False, id="quick"), pytest.param(True, marks=pytest.mark.all)])
def test_no_secret_stands_where_it_must_not(thorough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, secret in {**GIVEN, **OPEN}.items():
        monkeypatch.setenv(f"SONDE_{setting.replace('.', '_').upper()}", secret)
    canaries = Canaries()
    canaries.add_given()
    up = Up(tmp_path, "--set", "sensor.building.rate=200")
    make_certificates(up)
    with up:
        canaries.add_token("test", up.token)
        token = create_token(up.data, "node", "--scope", "ingest", "--node", "n")
        canaries.add_token("node", token)
        link = up.command("token", "link").stdout.strip()
        canaries.add("the sign-in link", link.rpartition("=")[2].encode())
        cookie = sign_in(up, link)
        canaries.add("the cookie", cookie.encode())
        canaries.add_token("made over the api", made_over_the_api(up))
        for name, secret in of_a_node(up).items():
            canaries.add_token(name, secret)
        canaries.add_files(up.data)
        with canaries.watch_arguments():
            run_commands(up, canaries, COMMANDS if thorough else COMMANDS[:3])
            if thorough:
                run_node(tmp_path, up, token, canaries)
        raise_an_alert(up)
        look_at_answers(up, canaries, cookie)
        look_at_what_is_recorded(up, canaries)
        look_at_backup(tmp_path, up, canaries)
        canaries.check_files(up.data)  # while it runs
        assert up.stop() == 0
        canaries.check_files(up.data)
        look_at_refusals(up, canaries, REFUSED if thorough else REFUSED[:1])
        canaries.check("the lines of sonde up", shown(up))
    assert canaries.looked_at > 100, "hardly anything was looked at"


def test_the_key_that_was_drawn_stands_in_its_file_alone(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up:
        assert up.request("POST", "/telemetry", READING, JSON)[0] == 202
        canaries = Canaries()
        canaries.add_files(up.data)
        assert up.stop() == 0
        canaries.check_files(up.data)
        flip(up.data / "node" / "keys.json", 40)
        canaries.check("a refusal of a key file", up.refuse_to_start().encode())
    assert canaries.looked_at > 5


def test_every_secret_of_the_configuration_has_a_canary() -> None:
    named: dict[str, type[Section]] = {f"sensor.{kind}": model for kind, model in KINDS.items()}
    named |= {f"{prefix}.night": model for prefix, model in NAMED_CLASSES.items()}
    secrets = {
        f"{section}.{name}"
        for section, model in {**SECTIONS, **named}.items()
        for name, info in model.model_fields.items()
        if is_secret(info)
    }
    assert secrets - {"store.url"} == set(GIVEN), "give the new one a canary in tests/integration/canaries.py"


def make_certificates(up: Up) -> None:
    """An authority and a certificate with their private keys; the server speaks plain HTTP all the same."""
    up.data.mkdir()
    (up.data / "config.ini").touch(mode=0o600)
    done = up.command("init", "--tls")
    assert len(list(up.data.rglob("*.key"))) >= 1, done.stderr


def of_a_node(up: Up) -> dict[str, str]:
    """An invitation that waits, and what came of one that was used."""
    codes = []
    for name in ("waits", "joined"):
        status, answer = up.request("POST", "/nodes/invitations", json.dumps({"node": name}).encode(), JSON)
        assert status == 201, answer
        codes.append(str(json.loads(answer)["code"]).partition(".")[0])
    status, answer = up.request("POST", "/nodes/join", json.dumps({"code": codes[1]}).encode(), JSON)
    assert status == 200, answer
    return {"a code": codes[0], "a code that was used": codes[1], "a node's token": json.loads(answer)["token"]}


def raise_an_alert(up: Up) -> None:
    """Those outside cannot be told of it, and that is recorded."""
    assert up.request("POST", "/telemetry", b'{"device": "d", "metric": "heat", "value": 9}', JSON)[0] == 202

    def tried() -> bool:
        return {n["target"] for n in up.get("/notifications") if n["tries"]} == {"webhook.night", "email.night"}

    wait_for(tried, "both being tried", 60)


def made_over_the_api(up: Up) -> str:
    """A token that no command printed."""
    body = json.dumps({"name": "over-the-api", "scopes": ["read"]}).encode()
    status, answer = up.request("POST", "/tokens", body, JSON)
    assert status == 201, answer
    return str(json.loads(answer)["token"])


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


def look_at_what_is_recorded(up: Up, canaries: Canaries) -> None:
    """What was done with all of them is in the audit trail, and none of them is."""
    acts = up.get("/audit")
    assert {"token.create", "token.link", "session.open"} <= {act["what"] for act in acts}
    assert {session["kind"] for session in up.get("/sessions")} == {"browser", "link"}
    for path in ("/audit", "/sessions", "/tokens", "/metrics", "/config-summary"):
        canaries.check(f"GET {path}", up.request("GET", path)[1])


def look_at_backup(folder: Path, up: Up, canaries: Canaries) -> None:
    """A backup without keys holds none, nor any other secret."""
    done = up.command("backup", str(folder / "backups"), "--without-keys")
    assert done.returncode == 0, done.stderr
    canaries.check("sonde backup", (done.stdout + done.stderr).encode())
    canaries.check_files(folder / "backups")


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


def shown(up: Up) -> bytes:
    """What it said, without the links of its own that it prints once."""
    return b"\n".join(line for line in up.said().encode().splitlines() if b"sign in" not in line)
