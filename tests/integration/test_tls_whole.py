"""TLS from end to end: real servers, real nodes that join with a code, certificates that are renewed while it runs."""

import contextlib
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sonde.certificate import LEAF_LASTS, Authority, fingerprint_text, key_pem, new_key, read_certificates, request_pem
from sonde.clock import DAY
from sonde.files import write_file
from sonde.moment import parse_time
from sonde.token import Token, digest
from tests.certificates import Authorities, long_ago, now, trusting
from tests.crash.road import JSON, Up, create_token, wait_for
from tests.integration.commands import environment, sonde

QUIET = ("--no-host", "--no-simulator")
SENSOR = ("--set", "sensor.host.enabled=no", "--set", "sensor.device.device=attic-1")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server that wants the certificates of nodes."""
    with Up(tmp_path_factory.mktemp("tls"), *QUIET, "--set", "tls.require_client=yes", tls=True) as running:
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.said()


def invite(up: Up, name: str, *options: str) -> str:
    done = up.command("node", "invite", name, "--json", *options)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["node"], made["url"]) == (name, up.url)
    return str(made["code"])


def join(up: Up, code: str, folder: Path, fails: bool = False) -> str:
    """What joining says."""
    return sonde("node", "join", up.url, code, "--data", "node", cwd=folder, code=1 if fails else 0).stderr


class Node:
    """``sonde node`` on the directory ``node`` of a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "sonde", "node", "--data", "node", "--plain", *options]
        self.log = folder / "node.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    @property
    def identity(self) -> Path:
        return self.folder / "node" / "node" / "identity.pem"


def stored(up: Up, device: str) -> int:
    return int(up.sql(f"select count(*) from readings where device = '{device}'")[0][0])


# -- joining


def test_a_node_joins_sends_and_is_shut_out(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET, "--set", "tls.require_client=yes", tls=True) as up:
        _join_and_shut_out(up, tmp_path)
        assert up.stop() == 0


def _join_and_shut_out(up: Up, tmp_path: Path) -> None:
    code = invite(up, "attic", "--device", "attic-*")
    assert "joined" in join(up, code, tmp_path)
    kept = tmp_path / "node" / "node"
    assert {(kept / name).stat().st_mode & 0o777 for name in ("joined.json", "identity.pem")} == {0o600}
    with Node(tmp_path, *SENSOR) as node:
        wait_for(lambda: stored(up, "attic-1") > 0, "readings of the node arriving", 60)
        assert up.command("token", "revoke", "attic").returncode == 0
        wait_for(lambda: "revoked" in node.log.read_text(), "the node saying that it was shut out", 60)
    assert not up_takes(up, kept)
    assert not up_takes(up, kept, with_token=False)


def up_takes(up: Up, kept: Path, *, with_token: bool = True, with_certificate: bool = True) -> bool:
    """Whether a reading sent with what a node keeps is taken."""
    context = trusting(up.ca)
    if with_certificate:
        context.load_cert_chain(kept / "identity.pem")
    token = json.loads((kept / "joined.json").read_text())["token"]
    headers = {**JSON, **({"Authorization": f"Bearer {token}"} if with_token else {})}
    connection = http.client.HTTPSConnection("127.0.0.1", up.port, timeout=30, context=context)
    try:
        connection.request("POST", "/telemetry", b'{"device": "attic-9", "metric": "m", "value": 1}', headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in {202, 401, 403, 429}
        return answer.status == 202
    finally:
        connection.close()


@pytest.mark.all
def test_token_and_certificate_belong_together(up: Up, tmp_path: Path) -> None:
    join(up, invite(up, "pair"), tmp_path)
    kept = tmp_path / "node" / "node"
    assert up_takes(up, kept)
    assert up_takes(up, kept, with_token=False), "the certificate is a credential"
    assert not up_takes(up, kept, with_certificate=False), "the token alone is none here"
    (tmp_path / "other").mkdir()
    join(up, invite(up, "other"), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "node" / "node" / "identity.pem", kept / "identity.pem")
    assert not up_takes(up, kept), "the certificate of another node"


def test_the_token_of_a_node_watches_beside_its_certificate(up: Up, tmp_path: Path) -> None:
    token = create_token(up.data, "gate", "--scope", "read", "--node", "gate")
    authority, key = (
        Authority.from_pem(up.ca.read_bytes(), up.ca.with_suffix(".key").read_bytes(), "authority"),
        new_key(),
    )
    made = authority.node(request_pem(key), "gate", digest(token), now())
    write_file(tmp_path / "identity.pem", key_pem(key) + made.encode(), mode=0o600)
    with_certificate = trusting(up.ca)
    with_certificate.load_cert_chain(tmp_path / "identity.pem")
    bearer = {"Authorization": f"Bearer {token}"}
    assert watches(up, with_certificate, bearer) == 101
    assert watches(up, with_certificate, {}) == 101
    assert watches(up, trusting(up.ca), bearer) == 403
    assert watches(up, trusting(up.ca), {}) == 401


def watches(up: Up, context: ssl.SSLContext, headers: dict[str, str]) -> int:
    """What the live feed answers to who asks to watch; 101: come in."""
    try:
        with connect(
            f"wss://127.0.0.1:{up.port}/ws", ssl=context, additional_headers=headers, open_timeout=60, compression=None
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.all
def test_codes_that_are_no_good(up: Up, tmp_path: Path) -> None:
    code = invite(up, "once")
    join(up, code, tmp_path)
    assert "used before" in join(up, code, tmp_path, fails=True)
    brief = json.loads(up.command("node", "invite", "brief", "--json", "--lasts", "1s").stdout)
    wait_for(lambda: now() > parse_time(brief["expires"]), "the code ending")
    assert "too old" in join(up, brief["code"], tmp_path, fails=True)
    assert "its end is missing" in join(up, code[:-3], tmp_path, fails=True)
    unknown = f"{Token.make().text}.{code.partition('.')[2]}"
    assert "not known" in join(up, unknown, tmp_path, fails=True)
    assert "no span" in up.command("node", "invite", "x", "--lasts", "soon").stderr


@pytest.mark.all
def test_a_code_for_another_server_is_not_shown_to_this_one(up: Up, tmp_path: Path) -> None:
    """As if somebody stood between: what answers has another authority than the code says."""
    code = invite(up, "careful")
    other = Authority.make(now()).description.fingerprint
    forged = f"{code.partition('.')[0]}.{fingerprint_text(other)}"
    assert "somebody is between" in join(up, forged, tmp_path, fails=True)
    assert not (tmp_path / "node" / "node" / "joined.json").exists()
    join(up, code, tmp_path)


@pytest.mark.all
def test_an_administrator_invites_over_the_api(up: Up, tmp_path: Path) -> None:
    options = ("--url", up.url, "--ca", str(up.ca))
    made = sonde("node", "invite", "far", *options, cwd=tmp_path, SONDE_TOKEN=up.token).stdout.split()
    assert made[:4] == ["sonde", "node", "join", up.url]
    command = [sys.executable, "-m", "sonde", *made[1:4], "-", "--data", "node"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), input=made[4], text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refused = sonde("node", "invite", "far", "--url", up.url, cwd=tmp_path, code=1, SONDE_TOKEN=up.token)
    assert "authority" in refused.stderr
    acts = [act["what"] for act in up.get("/audit?limit=10")]
    assert acts[:2] == ["node.join", "node.invite"]


def test_what_the_routes_refuse(up: Up) -> None:
    for body, status in (
        (b'{"code": "x"}', 401),
        (b'{"code": "x", "more": 1}', 422),
        (b"{}", 422),
        (b"{", 400),
        (b'{"code": "' + b"x" * 300 + b'"}', 422),
    ):
        assert up.request("POST", "/nodes/join", body, JSON)[0] == status
    assert up.request("POST", "/nodes/renew", b'{"request": "x"}', JSON)[0] == 403, "an administrator is no node"
    assert up.request("POST", "/nodes/invitations", b'{"node": "a", "lasts": "never"}', JSON)[0] == 422
    assert up.request("GET", "/nodes/authority") == (200, up.ca.read_bytes())


def test_a_node_renews_its_certificate_before_it_ends(up: Up, tmp_path: Path) -> None:
    join(up, invite(up, "old"), tmp_path)
    kept = tmp_path / "node" / "node"
    ends_soon = identity_of(up, kept, now() - LEAF_LASTS + 10 * DAY)
    with Node(tmp_path, *SENSOR) as node:
        wait_for(lambda: ends(node.identity) > ends_soon + 300 * DAY, "the certificate being renewed", 60)
    assert node.identity.stat().st_mode & 0o777 == 0o600
    assert up_takes(up, kept)


def identity_of(up: Up, kept: Path, at: int) -> int:
    """Put a certificate in place of the node's, as if it had been made ``at``; when it ends."""
    authority = Authority.from_pem(up.ca.read_bytes(), up.ca.with_suffix(".key").read_bytes(), "authority")
    key = new_key()
    token = json.loads((kept / "joined.json").read_text())["token"]
    made = authority.node(request_pem(key), "old", digest(token), at)
    write_file(kept / "identity.pem", key_pem(key) + made.encode(), mode=0o600)
    return ends(kept / "identity.pem")


def ends(file: Path) -> int:
    return read_certificates(file.read_bytes(), str(file))[0].ends


@pytest.mark.all
def test_a_node_whose_certificate_has_ended_says_what_to_do(up: Up, tmp_path: Path) -> None:
    join(up, invite(up, "late"), tmp_path)
    identity_of(up, tmp_path / "node" / "node", long_ago())
    with Node(tmp_path, *SENSOR) as node:
        wait_for(lambda: "sonde node join" in node.log.read_text(), "the node saying it", 60)


# -- certificates of the server


@pytest.mark.all
def test_commands_on_the_machine_know_the_server(up: Up, tmp_path: Path) -> None:
    assert up.command("sql", "select 1 as one").stdout.split() == ["one", "1"]
    (tmp_path / "a.csv").write_text("time,temperature\n2026-01-01T00:00:00Z,5\n")
    done = up.command("replay", str(tmp_path / "a.csv"), "--device", "replayed")
    assert done.returncode == 0, done.stderr
    up.wait_until_all_is_stored()
    assert stored(up, "replayed") == 1
    assert up.command("token", "link", "test").stdout.startswith(f"{up.url}/sign-in?link=")


def test_commands_elsewhere_are_told_whom_to_trust(up: Up, tmp_path: Path) -> None:
    ask = ("sql", "select 1 as one", "--url", up.url)
    said = sonde(*ask, cwd=tmp_path, code=1, SONDE_TOKEN=up.token).stderr
    assert "--ca" in said
    named = sonde(*ask, "--ca", str(up.ca), cwd=tmp_path, SONDE_TOKEN=up.token)
    given = sonde(*ask, cwd=tmp_path, SONDE_TOKEN=up.token, SONDE_CA=str(up.ca))
    assert named.stdout.split() == given.stdout.split() == ["one", "1"]
    plain = up.url.replace("https:", "http:")
    said = sonde("sql", "select 1", "--url", plain, cwd=tmp_path, code=1, SONDE_TOKEN=up.token).stderr
    assert "https://" in said


def test_browsers_are_treated_as_https_wants_it(up: Up) -> None:
    secret = up.command("token", "link", "test").stdout.strip().rpartition("=")[2]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = up.ask("POST", "/sign-in", f"link={secret}".encode(), form)
    assert status == 303
    assert "secure" in headers["Set-Cookie"].lower()
    assert "Strict-Transport-Security" not in headers, "not for names of this machine"


def test_a_renewed_certificate_is_shown_without_a_restart(up: Up) -> None:
    old = up.connection()
    old.connect()
    before = shown(old)
    done = up.command("cert", "renew", "--host", "sonde.example.org")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: shown_now(up) != before, "the new one being shown")
    assert shown(old) == before
    old.request("GET", "/health/live")
    assert old.getresponse().read() == b'{"status":"ok"}'
    old.close()
    rows = {row["role"]: row for row in json.loads(up.command("cert", "show", "--json").stdout)}
    assert rows["server"]["names"] == ["sonde.example.org", "localhost", "127.0.0.1", "::1"]
    assert rows["server"]["days_left"] in {396, 397}
    assert rows["authority"]["days_left"] > 3600


def shown_now(up: Up) -> Any:
    """What a new connection is shown."""
    with contextlib.closing(up.connection()) as connection:
        return shown(connection)


def shown(connection: http.client.HTTPConnection) -> Any:
    if connection.sock is None:
        connection.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    return connection.sock.getpeercert(binary_form=True)


@pytest.mark.all
def test_a_certificate_that_is_none_does_not_take_the_place_of_a_good_one(up: Up) -> None:
    file = up.ca.with_name("server.pem")
    good, before = file.read_bytes(), shown_now(up)
    write_file(file, b"nonsense", mode=0o600)
    wait_for(lambda: "cannot be used" in health(up), "the trouble being said")
    assert shown_now(up) == before
    assert up.request("GET", "/health/ready")[0] == 200
    write_file(file, good, mode=0o600)
    wait_for(lambda: "cannot be used" not in health(up), "the trouble being over")


def health(up: Up) -> str:
    return str(up.get("/health")["message"])


@pytest.mark.all
def test_files_of_a_fresh_start(tmp_path: Path) -> None:
    said = sonde("init", "--tls", "--data", "d", "--host", "Sonde.Example.ORG", cwd=tmp_path).stderr
    assert "sonde.example.org" in said
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "d" / "tls").iterdir()}
    assert modes == {"authority.key": 0o600, "authority.pem": 0o644, "server.pem": 0o600}
    assert "\nenabled = yes\n" in (tmp_path / "d" / "config.ini").read_text()
    sonde("config", "check", "--data", "d", cwd=tmp_path)
    again = sonde("init", "--tls", "--data", "d", cwd=tmp_path, code=1).stderr
    assert "sonde cert renew" in again
    assert "neither" in sonde("init", "--tls", "--data", "e", "--host", "http://x", cwd=tmp_path, code=1).stderr
    sonde("init", "--host", "x", cwd=tmp_path, code=2)
    os.remove(tmp_path / "d" / "tls" / "server.pem")
    assert "sonde init --tls" in sonde("up", "--data", "d", "--port", "0", cwd=tmp_path, code=1).stderr


@pytest.mark.all
def test_a_configuration_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "config.ini").write_text("[server]\nport = 0\n")
    assert "enabled = yes" in sonde("init", "--tls", "--data", "d", cwd=tmp_path).stderr
    assert (tmp_path / "d" / "config.ini").read_text() == "[server]\nport = 0\n"
    said = sonde("config", "check", "--data", "d", "--set", "tls.certificate=x.pem", cwd=tmp_path, code=1).stdout
    assert "enabled = yes" in said


def test_options_before_the_name_of_a_command_are_not_lost(tmp_path: Path) -> None:
    said = sonde("node", "--data", "n", "join", "https://localhost", "code", cwd=tmp_path, code=2).stderr
    assert "behind join" in said


@pytest.mark.all
def test_a_certificate_of_its_own_is_renewed_before_it_ends(tmp_path: Path) -> None:
    up = Up(tmp_path, *QUIET, tls=True)
    sonde("init", "--tls", "--data", str(up.data), cwd=tmp_path)
    authority = Authority.from_pem(up.ca.read_bytes(), up.ca.with_suffix(".key").read_bytes(), "authority")
    file = up.ca.with_name("server.pem")
    write_file(file, authority.server(["a.example", "127.0.0.1"], now() - LEAF_LASTS + 5 * DAY), mode=0o600)
    with up:
        wait_for(lambda: ends(file) > now() + 300 * DAY, "the certificate being renewed")
        assert read_certificates(file.read_bytes(), "server")[0].names[0] == "a.example"
        wait_for(lambda: "ends in" not in health(up), "nothing being wrong")
        assert up.stop() == 0


@pytest.mark.all
def test_a_certificate_from_elsewhere_is_warned_of(tmp_path: Path) -> None:
    """Ended, it is a problem; replaced, all is well: its files are watched, too."""
    world = Authorities.make(tmp_path / "elsewhere")
    file = world.server(at=now() - LEAF_LASTS + 5 * DAY)
    up = Up(tmp_path, *QUIET, "--set", "tls.enabled=yes", "--set", f"tls.certificate={file}", tls=True)
    (up.data / "tls").mkdir(parents=True)
    shutil.copy(world.ca, up.ca)
    with up:
        assert "ends in" in health(up)
        assert up.request("GET", "/health/ready")[0] == 200
        at = int(metric(up, 'sonde_tls_certificate_expires_seconds{certificate="server"}'))
        assert abs(at - ends(file) // 1_000_000) <= 1
        write_file(file, world.authority.server(["127.0.0.1"], now()), mode=0o600)
        wait_for(lambda: "ends in" not in health(up), "the new one being taken")
        assert up.stop() == 0


def metric(up: Up, name: str) -> float:
    lines = up.request("GET", "/metrics")[1].decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).rpartition(" ")[2])


@pytest.mark.all
def test_without_tls_a_node_gets_a_token_alone(tmp_path: Path) -> None:
    with Up(tmp_path, *QUIET) as up:
        code = invite(up, "near")
        assert "." not in code
        join(up, code, tmp_path)
        assert sorted(path.name for path in (tmp_path / "node" / "node").iterdir()) == ["joined.json"]
        with Node(tmp_path, *SENSOR):
            wait_for(lambda: stored(up, "attic-1") > 0, "readings of the node arriving", 60)
        far = sonde("node", "join", "http://192.0.2.1:8000", code, "--data", "x", cwd=tmp_path, code=1).stderr
        assert "everyone on the way" in far
        assert up.stop() == 0
