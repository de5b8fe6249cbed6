"""The configuration: precedence, origins, what is refused, and what the messages say."""

import configparser
from pathlib import Path

import pytest
from pydantic import SecretStr

from sonde.config import Loaded, as_file, as_rows, load
from sonde.config.write import variables
from sonde.errors import Hold
from sonde.rule import BUILDING_RULES


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def faults(loaded: Loaded) -> str:
    return "\n".join(map(str, loaded.faults))


def test_the_defaults_are_valid() -> None:
    settings = load().settled()
    assert settings.server.host == "127.0.0.1"
    assert settings.server.port == 8000
    assert settings.process.windows == (300.0, 900.0)
    assert settings.sensors["building"].period == 0.2
    assert settings.sensors["host"].enabled
    assert settings.sensors["device"].enabled
    assert tuple(rule.rule(name) for name, rule in settings.rules.items()) == BUILDING_RULES


def test_an_option_comes_before_the_environment_before_the_file_before_the_default(tmp_path: Path) -> None:
    file = write(tmp_path / "config.ini", "[server]\nhost = 127.0.0.2\nport = 1\nmax_connections = 11\n")
    environment = {"SONDE_SERVER_PORT": "2", "SONDE_SERVER_HOST": "127.0.0.3"}
    loaded = load(file, environment, ["server.port=3"])
    server = loaded.settled().server
    assert (server.port, server.host, server.max_connections, server.body_timeout) == (3, "127.0.0.3", 11, 30.0)
    assert [loaded.origin("server", k) for k in ("port", "host", "max_connections", "body_timeout")] == [
        "--set",
        "SONDE_SERVER_HOST",
        f"{file}:4",
        "default",
    ]


@pytest.mark.parametrize("variable", variables())
def test_every_key_is_an_environment_variable(variable: str, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", "unlikely value")
    loaded = load(environment={variable: str(secret) if variable.endswith("_FILE") else "unlikely value"})
    assert "is no setting" not in faults(loaded)
    assert loaded.origins
    assert set(loaded.origins.values()) == {variable}


def test_a_variable_may_name_a_sensor_or_rule_that_the_file_has(tmp_path: Path) -> None:
    file = write(tmp_path / "c.ini", "[sensor.Boiler-2]\nkind = host\n[rule.too_hot]\nmetric = t\nthreshold = 1\n")
    environment = {"SONDE_SENSOR_BOILER_2_RATE": "4", "SONDE_RULE_TOO_HOT_THRESHOLD": "70"}
    settings = load(file, environment).settled()
    assert settings.sensors["Boiler-2"].period == 0.25
    assert settings.rules["too_hot"].threshold == 70


def test_variables_alone_can_make_a_sensor() -> None:
    environment = {"SONDE_SENSOR_ATTIC_KIND": "device", "SONDE_SENSOR_ATTIC_INTERVAL": "5s"}
    assert load(environment=environment).settled().sensors["attic"].period == 5


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert load(environment={"SONDE_SERVER_PORT": "", "DATABASE_URL": " "}).settled().server.port == 8000


def test_variables_that_kubernetes_adds_are_no_settings() -> None:
    environment = {"SONDE_SERVICE_HOST": "10.0.0.1", "SONDE_PORT": "tcp://10.0.0.1:8000", "SONDE_PORT_8000_TCP": "x"}
    assert load(environment=environment).settled().server.port == 8000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[servr]\nport = 1\n", "c.ini:2: [servr] port: there is no section [servr]; did you mean server?"),
        ("[servr]\n", "there is no section [servr]; did you mean server?"),
        ("[server]\nprot = 1\n", "c.ini:2: [server] prot: there is no such key; did you mean port?"),
        ("[DEFAULT]\nport = 1\n", "there is no section [DEFAULT]"),
        ("[sensor.x]\nrate = 1\n", "its kind is missing; there are host, building, device, replay, function"),
        ("[sensor.x]\nkind = bulding\n", "'bulding' is no kind of sensor"),
        ("[sensor.host]\nseed = 1\n", "[sensor.host] seed: there is no such key"),
        ("[sensor.host]\nrate = 1\ninterval = 1s\n", "interval and rate say the same"),
        ("[rule.x]\nmetric = a\n", "c.ini:2: [rule.x] threshold: is missing"),
        ("[rule.x]\ntype = outside\nthreshold = 3\nupper = 2\n", "[rule.x] upper: a level that is not below"),
        ("[rule.x]\nthreshold = 1\nclear = 2\n", "[rule.x] clear: at most the threshold"),
        ("[rule.x]\nthreshold = 1\nmessage = {who}\n", "{who} is not one of"),
        ("[rule.x]\nthreshold = much\n", "should be a number"),
        ("[rule.x]\nmetric = a\nthreshold = nan\n", "finite"),
        ("[server]\nport = 99999\n", "c.ini:2: [server] port = 99999: should be less than or equal to 65535"),
        ("[server]\nport = eighty\n", "should be a valid integer"),
        ("[server]\nheader_timeout = 5 parsecs\n", "'parsecs' is no unit of time"),
        ("[server]\norigin = *\n", "is no origin"),
        ("[sink]\nmax_body = much\n", "a number of bytes such as"),
        ("[process]\nwindows = 7m\n", "whole seconds that divide a day"),
        ("[process]\nwindows =\n", "one width or more"),
        ("[log]\ncodec = rot13\n", "should be 'aes-gcm', 'fernet' or 'plain'"),
        ("[log]\nencryption_key = c2VjcmV0\n", "32 bytes in base64, and has 6"),
        ("[auth]\nanonymous_scopes = reed\n", "'reed' is no scope"),
        ("[auth]\nanonymous_scopes = read\n[server]\nhost = 0.0.0.0\n", "is allowed on loopback only"),
        ("[node]\nsink = ftp://x\n", "should be the address of a sink"),
    ],
)
def test_what_is_wrong_is_refused_with_what_would_be_right(text: str, expected: str, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "c.ini", text))
    assert expected in faults(loaded)
    with pytest.raises(Hold):
        loaded.settled()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port = 1\n", "c.ini:1: a line before the first [section]"),
        ("[server]\nport = 1\nport = 2\n", "c.ini:3: [server] port is there twice"),
        ("[server]\n[server]\n", "c.ini:2: [server] is there twice"),
        ("[server]\nport\n", "c.ini:2: not a line of the form key = value"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(Hold, match=r"c\.ini") as caught:
        load(write(tmp_path / "c.ini", text))
    assert expected in str(caught.value)


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(Hold, match="sonde init"):
        load(tmp_path / "none.ini")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.ini").write_bytes(b"[server]\nhost = \xff\n")
    with pytest.raises(Hold, match="UTF-8"):
        load(tmp_path / "c.ini")


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [("SONDE_SERVER_PROT", "SONDE_SERVER_PORT"), ("SONDE_SENSOR_BUILDING_RAET", "SONDE_SENSOR_BUILDING_RATE")],
)
def test_an_unknown_variable_is_refused_with_the_nearest_one(variable: str, suggestion: str) -> None:
    assert f"{variable}: is no setting; did you mean {suggestion}?" in faults(load(environment={variable: "1"}))


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    assert "--set server.prot: there is no such key; did you mean port?" in faults(load(options=["server.prot=1"]))
    with pytest.raises(Hold, match=r"section\.key=value"):
        load(options=["port=1"])


def test_several_things_wrong_are_all_found(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "c.ini", "[server]\nport = -1\n[log]\ncodec = none\n"))
    assert len(loaded.faults) == 2
    with pytest.raises(Hold, match=r"There is 1 more: sonde config check"):
        loaded.settled()


SECRET = "Y_pZYMdjaCfcxZN3HGFJp9jpDN2N86vR9zVwlwy2OvI="


def test_secrets_may_be_in_files_of_their_own(tmp_path: Path) -> None:
    secret = write(tmp_path / "key", SECRET + "\n")
    by_variable = load(environment={"SONDE_LOG_ENCRYPTION_KEY_FILE": str(secret)})
    by_file = load(write(tmp_path / "c.ini", f"[log]\nencryption_key_file = {secret}\n"))
    by_option = load(options=[f"log.encryption_key_file={secret}"])
    for loaded in (by_variable, by_file, by_option):
        assert loaded.settled().log.encryption_key.get_secret_value() == SECRET
    with pytest.raises(Hold, match="cannot be read"):
        load(environment={"SONDE_NODE_TOKEN_FILE": str(tmp_path / "none")})


def test_no_secret_in_what_is_shown_or_in_errors(tmp_path: Path) -> None:
    canary = "canary-b2f1"
    file = write(tmp_path / "c.ini", f"[node]\ntoken = {canary}\n[log]\nencryption_key = {SECRET}\n")
    loaded = load(file)
    rows = list(as_rows(loaded))
    assert {r.value for r in rows if r.key in {"token", "encryption_key"} and r.origin != "default"} == {"********"}
    assert canary not in repr(rows) + repr(loaded)
    wrong = load(environment={"SONDE_LOG_ENCRYPTION_KEY": canary, "DATABASE_URL": f"mysql://u:{canary}@h/d"})
    assert len(wrong.faults) == 2
    assert canary not in faults(wrong) + repr(wrong)


def test_the_written_file_has_every_setting_and_loads_as_the_defaults(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "config.ini", as_file()))
    settings, defaults = loaded.settled(), load().settled()
    assert not loaded.warnings
    assert settings.log.encryption_key.get_secret_value() != ""
    assert settings.log.encryption_key != settings.node.encryption_key
    blank = {"encryption_key": SecretStr("")}
    assert (
        settings.model_copy(
            update={"log": settings.log.model_copy(update=blank), "node": settings.node.model_copy(update=blank)}
        )
        == defaults
    )
    assert as_file() != as_file()


def test_the_written_file_with_every_default_uncommented_still_loads_as_the_defaults(tmp_path: Path) -> None:
    text = "\n".join(line.removeprefix(";") for line in as_file().splitlines())
    loaded = load(write(tmp_path / "config.ini", text))
    assert loaded.settled().model_dump(exclude={"log": {"encryption_key"}, "node": {"encryption_key"}}) == (
        load().settled().model_dump(exclude={"log": {"encryption_key"}, "node": {"encryption_key"}})
    )
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    written = {(section, key) for section in parser.sections() for key in parser[section]}
    assert written == {(row.section, row.key) for row in as_rows(load())}
