"""Tokens, sessions and the audit trail with the commands, beside a server that runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sonde.assemble.acts import open_trail
from sonde.assemble.anchors import anchors
from sonde.assemble.tokens import open_people
from sonde.cli.settings import load_settings
from sonde.directory import DataDirectory
from tests.contract.test_audit_trail import NONE, REST
from tests.crash.road import Up, wait_for
from tests.integration.test_whole_secrets import sign_in

QUIET = ("--no-host", "--no-simulator")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up"), *QUIET) as up:
        yield up


def result(up: Up, *arguments: str) -> str:
    done = up.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(up: Up, *arguments: str) -> str:
    done = up.command(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done
    return done.stderr


def anchored(up: Up) -> None:
    """Wait until the log holds the newest act of the trail."""
    directory, settings = DataDirectory.open(up.data), load_settings(None, up.data, None).settled()

    def agree() -> bool:
        with open_trail(directory) as trail:
            return list(anchors(directory, settings))[-1:] == [trail.head()]

    wait_for(agree, "an anchor in the log", 60)


def create(up: Up, *names: str) -> None:
    with open_people(DataDirectory.open(up.data)) as people:
        for name in names:
            people.create_token(name, ["admin"])


def test_a_person_signs_in_and_is_signed_out(up: Up) -> None:
    create(up, "alice")
    cookie = sign_in(up, result(up, "token", "link", "alice").strip())
    headers = {"Cookie": f"sonde_session={cookie}"}
    up.token, admin = "", up.token
    assert up.request("GET", "/devices", None, headers)[0] == 200
    (session,) = [s for s in json.loads(result(up, "session", "list", "--json")) if s["name"] == "alice"]
    assert (session["kind"], session["address"]) == ("browser", "127.0.0.1")
    assert "alice" in result(up, "session", "list")
    assert "ended 1 session" in up.command("session", "revoke", session["id"]).stderr
    wait_for(lambda: up.request("GET", "/devices", None, headers)[0] == 401, "the session's end being seen")
    assert "sonde session list" in refusal(up, "session", "revoke", session["id"])
    up.token = admin
    shown = json.loads(result(up, "audit", "show", "--who", "alice", "--json"))
    assert [(a["what"], a["address"]) for a in shown] == [("session.open", "127.0.0.1")]
    local = json.loads(result(up, "audit", "show", "--what", "session.revoke", "--json"))
    assert [(a["who"], a["on"], bool(a["detail"]["user"])) for a in local] == [("local", "alice", True)]
    assert up.get("/audit?who=alice") == shown


def test_all_sessions_of_a_name(up: Up) -> None:
    create(up, "carol")
    with open_people(DataDirectory.open(up.data)) as people:
        for _ in range(2):
            people.make_link("carol")
    assert "ended 2 sessions" in up.command("session", "revoke", "carol").stderr


def test_the_trail_of_a_server_is_verified_while_it_runs(up: Up) -> None:
    anchored(up)
    found = json.loads(result(up, "audit", "verify", "--json"))
    assert found["acts"] == found["number"] >= 2
    assert found["anchors"] >= 1
    noted = f"{found['number']}:{found['hash']}"
    create(up, "bob")
    assert noted not in result(up, "audit", "verify", "--anchor", noted)
    assert "written anew" in refusal(up, "audit", "verify", "--no-log", "--anchor", f"1:{'0' * 64}")
    assert "--anchor" in refusal(up, "audit", "verify", "--anchor", "1:xyz")


@pytest.mark.parametrize("dropped", ["the newest", pytest.param("all", marks=pytest.mark.all)])
def test_who_takes_the_newest_acts_out_is_found_by_what_the_log_says(tmp_path: Path, dropped: str) -> None:
    with Up(tmp_path, *QUIET) as up:
        create(up, "alice", "mallet")
        anchored(up)
        take_out(up, dropped)
        wait_for(lambda: b"audit trail" in up.request("GET", "/health")[1], "the problem being named")
        assert up.stop() == 0
        assert "ok" in up.command("audit", "verify", "--no-log").stderr, "by itself the trail looks whole"
        assert "taken out" in refusal(up, "audit", "verify")
        up.start()  # acts in their place, and anchors of those, hide nothing
        create(up, "one", "two", "three", "four")
        anchored(up)
        assert "written anew" in refusal(up, "audit", "verify")
        change(up, "update audit set act = replace(cast(act as text), 'local', 'mallet') where number = 2")
        said = refusal(up, "audit", "verify")
        assert "number 2" in said
        assert "control.db" in said


def take_out(up: Up, dropped: str) -> None:
    if dropped == "all":
        change(up, f"delete from audit;{NONE}")
    else:
        change(up, f"delete from audit where number = (select max(number) from audit);{REST}")


def change(up: Up, statements: str) -> None:
    db = apsw.Connection(str(up.data / "control.db"))
    db.set_busy_timeout(30_000)
    db.execute(statements)
    db.close()
