"""The command line as a user sees it: each command a process."""

import json
import resource
import stat
from pathlib import Path

import pytest

from sonde.cli.app import VERBS
from tests.integration.commands import sonde

TOKEN = r"sonde_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}"


def test_help_lists_every_verb(tmp_path: Path) -> None:
    text = sonde("--help", cwd=tmp_path).stdout
    for verb, about in VERBS.items():
        assert f"  {verb} " in text
        assert about[:20] in text
    assert sonde("--version", cwd=tmp_path).stdout.startswith("sonde ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, tmp_path: Path) -> None:
    assert "Usage:" in sonde(verb, "--help", cwd=tmp_path).stdout


def test_help_is_quick(tmp_path: Path) -> None:
    """Of the processor: what else the machine does is another matter."""
    best = 9.0
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        sonde("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert best < 0.3


def test_a_verb_that_does_not_exist(tmp_path: Path) -> None:
    assert "Did you mean 'token'?" in sonde("tokn", cwd=tmp_path, code=2).stderr


# -- tokens


def test_a_token_is_printed_alone(tmp_path: Path) -> None:
    done = sonde("token", "create", "me", "--data", "d", "--scope", "ingest", "--scope", "read", cwd=tmp_path)
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("sonde_")
    assert "not shown again" in done.stderr
    assert stat.S_IMODE((tmp_path / "d" / "control.db").stat().st_mode) == 0o600


def test_tokens_are_listed_and_revoked(tmp_path: Path) -> None:
    secret = sonde(
        "token", "create", "edge", "--data", "d", "--scope", "ingest", "--device", "boiler-*", "--node", "attic",
        "--expires", "90d", cwd=tmp_path,
    ).stdout.strip()  # fmt: skip
    listed = sonde("token", "list", "--data", "d", "--json", cwd=tmp_path).stdout
    (token,) = json.loads(listed)
    assert (token["name"], token["scopes"], token["devices"], token["node"], token["state"]) == (
        "edge", ["ingest"], ["boiler-*"], "attic", "valid",
    )  # fmt: skip
    assert token["expires"].endswith("Z")
    assert secret.split("_")[2] not in listed
    assert "edge" in sonde("token", "list", "--data", "d", cwd=tmp_path).stdout
    assert "revoked 1 token" in sonde("token", "revoke", "edge", "--data", "d", cwd=tmp_path).stderr
    assert json.loads(sonde("token", "list", "--data", "d", "--json", cwd=tmp_path).stdout)[0]["state"] == "revoked"
    assert "no token that is valid" in sonde("token", "revoke", "edge", "--data", "d", cwd=tmp_path, code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["me", "--scope", "reed"], "'reed' is no scope; the scopes are ingest, read, command, admin"),
        (["", "--scope", "read"], "name: should be 1 to 256 printable characters"),
        (["a\x00b"[:1] + "\n", "--scope", "read"], "printable"),
        (["me", "--scope", "read", "--expires", "soon"], "neither a span such as 90d nor a moment"),
        (["me", "--scope", "read", "--expires", "2020-01-01T00:00:00Z"], "that moment has passed"),
    ],
)
def test_what_no_token_can_be(arguments: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in sonde("token", "create", *arguments, "--data", "d", cwd=tmp_path, code=1).stderr


def test_two_valid_tokens_may_share_a_name_and_a_third_may_not(tmp_path: Path) -> None:
    for _ in range(2):
        sonde("token", "create", "me", "--scope", "read", cwd=tmp_path)
    assert "me" in sonde("token", "create", "me", "--scope", "read", cwd=tmp_path, code=1).stderr


def test_a_token_without_scope_is_a_wrong_call(tmp_path: Path) -> None:
    assert "--scope" in sonde("token", "create", "me", cwd=tmp_path, code=2).stderr


def test_a_link_needs_a_server(tmp_path: Path) -> None:
    sonde("token", "create", "me", "--data", "d", "--scope", "admin", cwd=tmp_path)
    assert "no server runs on d. Start one" in sonde("token", "link", "me", "--data", "d", cwd=tmp_path, code=1).stderr


@pytest.mark.parametrize("command", [["token", "list"], ["sql", "select 1"], ["outbox", "list"], ["log", "verify"]])
def test_a_directory_that_is_none_of_ours_is_refused_in_one_line(command: list[str], tmp_path: Path) -> None:
    done = sonde(*command, "--data", "nowhere", cwd=tmp_path, code=1)
    assert (
        done.stderr
        == "sonde: nowhere is not a data directory of Sonde. Name another with --data, or start one: sonde up\n"
    )


# -- configuration


def test_init_writes_every_setting_once(tmp_path: Path) -> None:
    assert "config.ini" in sonde("init", cwd=tmp_path).stderr
    written = tmp_path / "config.ini"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    text = written.read_text()
    assert "nothing is overwritten" in sonde("init", cwd=tmp_path, code=1).stderr
    assert written.read_text() == text
    assert "nothing is wrong" in sonde("config", "check", cwd=tmp_path).stderr
    sonde("init", "--data", "d", cwd=tmp_path)
    assert (tmp_path / "d" / "config.ini").read_text() != text
    sonde("token", "create", "me", "--data", "d", "--scope", "read", cwd=tmp_path)  # it may be there before all else


def test_check_says_everything_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "bad.ini").write_text("[server]\nprot = 1\n[sensor.x]\nkind = bulding\n")
    done = sonde("config", "check", "--config", "bad.ini", cwd=tmp_path, code=1)
    assert done.stdout.splitlines() == [
        "bad.ini:2: [server] prot: there is no such key; did you mean port?",
        "bad.ini:4: [sensor.x] kind: 'bulding' is no kind of sensor; there are host, building, device, replay, function",
    ]
    assert "did you mean" in sonde("config", "check", cwd=tmp_path, code=1, SONDE_SERVER_PROT="1").stdout


def test_show_says_where_each_value_came_from_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[server]\nport = 1\n[node]\ntoken = canary-77\n")
    done = sonde("config", "show", "--json", "--set", "sink.burst=5MB", cwd=tmp_path, SONDE_SERVER_HOST="127.0.0.3")
    assert "canary-77" not in done.stdout
    rows = {f"{row['section']}.{row['key']}": (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert rows["server.port"] == ("1", "config.ini:2")
    assert rows["server.host"] == ("127.0.0.3", "SONDE_SERVER_HOST")
    assert rows["sink.burst"] == ("5MB", "--set")
    assert rows["node.token"] == ("********", "config.ini:4")
    assert rows["log.codec"] == ("aes-gcm", "default")
    assert "127.0.0.3" in sonde("config", "show", cwd=tmp_path, SONDE_SERVER_HOST="127.0.0.3").stdout


def test_the_configuration_of_the_data_directory_comes_before_the_one_here(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[server]\nport = 1\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "config.ini").write_text("[server]\nport = 2\n")
    done = sonde("config", "show", "--data", "d", cwd=tmp_path)
    assert "d/config.ini:2" in done.stdout
    assert "config.ini is not read, because d/config.ini is there" in done.stderr


def test_older_names_are_taken_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[retry]\nmax_retries = 3\n")
    assert "warning: config.ini:2: [retry] max_retries no longer" in sonde("config", "check", cwd=tmp_path).stderr
