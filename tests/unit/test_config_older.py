"""Every name that other installations use is accepted, and says so where it no longer means what it did."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sonde.config import Loaded, load
from sonde.config.older import names

PEM = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----"

KEY = "Y_pZYMdjaCfcxZN3HGFJp9jpDN2N86vR9zVwlwy2OvI="


def from_file(tmp_path: Path, section: str, text: str) -> Loaded:
    (tmp_path / "old.ini").write_text(f"[{section}]\n{text}\n")
    return load(tmp_path / "old.ini")


SAME: dict[str, tuple[str, str, Any]] = {
    "telemetry_sink.endpoint": ("http://10.0.0.5:8080/telemetry", "node.sink", "http://10.0.0.5:8080"),
    "retry.initial_delay": ("2", "node.initial_delay", 2.0),
    "retry.max_delay": ("120", "node.max_delay", 120.0),
    "telemetry_sink_server.bind_address": ("127.0.0.2", "server.host", "127.0.0.2"),
    "telemetry_sink_server.port": ("8123", "server.port", 8123),
    "telemetry_sink_server.protocol": ("http", "server.port", 8000),
    "telemetry_sink_rate_limit.limit_bytes_per_sec": ("1048576", "sink.bytes_per_second", 1048576),
    "telemetry_sink_rate_limit.capacity_bytes": ("2097152", "sink.burst", 2097152),
}


@pytest.mark.parametrize("name", SAME)
def test_an_older_key_that_means_the_same(name: str, tmp_path: Path) -> None:
    text, target, value = SAME[name]
    section, key = name.split(".")
    loaded = from_file(tmp_path, section, f"{key} = {text}")
    new_section, new_key = target.split(".")
    assert getattr(getattr(loaded.settled(), new_section), new_key) == value
    assert not loaded.warnings


def test_the_older_encryption_key(tmp_path: Path) -> None:
    loaded = from_file(tmp_path, "telemetry_sink_logging", f"encryption_key = {KEY}")
    assert loaded.settled().log.encryption_key.get_secret_value() == KEY
    assert not loaded.warnings


def test_the_older_bind_address_with_a_port(tmp_path: Path) -> None:
    for given, host in (("0.0.0.0:9000", "0.0.0.0"), ("[::1]:9000", "::1")):
        server = from_file(tmp_path, "telemetry_sink_server", f"bind_address = {given}").settled().server
        assert (server.host, server.port) == (host, 9000)
    assert from_file(tmp_path, "telemetry_sink_server", "bind_address = ::1").settled().server.host == "::1"


@pytest.mark.parametrize("protocol", ["grpc", "mqtt"])
def test_an_older_protocol_that_is_not_there_yet(protocol: str, tmp_path: Path) -> None:
    loaded = from_file(tmp_path, "telemetry_sink_server", f"protocol = {protocol}")
    assert "is not spoken by this version" in str(loaded.faults[0])


def test_the_older_sensor(tmp_path: Path) -> None:
    sensor = from_file(tmp_path, "sensor", "name = sensor_A\nrate = 10").settled().sensors["sensor_A"]
    assert (sensor.kind, sensor.period, sensor.enabled) == ("device", 0.1, True)
    assert getattr(sensor, "device") == "sensor_A"  # noqa: B009
    assert from_file(tmp_path, "sensor", "rate = 2").settled().sensors["sensor"].period == 0.5
    loaded = load(tmp_path / "old.ini", {}, ["sensor.name=other"])
    assert loaded.settled().sensors["other"].period == 0.5
    assert "there is no section [sensor]" in str(from_file(tmp_path, "sensor", "nam = x").faults[0])


HARMFUL = {
    "retry.max_retries": ("5", "waits in the outbox until a sink has it"),
    "retry.check_interval": ("10", "as fast as the sink takes it"),
    "retry.batch_size": ("50", "as fast as the sink takes it"),
    "telemetry_sink_buffer.size_bytes": ("1024", "nothing waits in memory"),
    "telemetry_sink_buffer.flush_interval": ("5", "on disk before they are confirmed"),
    "telemetry_sink_logging.file_path": ("logs/t.log", "the log is now the folder logs/t.log.segments"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_an_older_key_that_would_do_harm_says_what_happens_instead(name: str, tmp_path: Path) -> None:
    text, expected = HARMFUL[name]
    section, key = name.split(".")
    loaded = from_file(tmp_path, section, f"{key} = {text}")
    loaded.settled()
    assert [expected in warning for warning in loaded.warnings] == [True]
    assert f"old.ini:2: [{section}] {key}" in loaded.warnings[0]


def test_zero_retries_meant_for_ever_and_does(tmp_path: Path) -> None:
    assert not from_file(tmp_path, "retry", "max_retries = 0").warnings


def test_the_older_log_file_is_never_taken_for_the_log(tmp_path: Path) -> None:
    old = tmp_path / "telemetry.log"
    old.write_text("gAAAAA…")
    loaded = from_file(tmp_path, "telemetry_sink_logging", f"file_path = {old}")
    assert loaded.settled().log.url == f"file:{old}.segments"
    assert old.read_text() == "gAAAAA…"


VARIABLES: dict[str, tuple[str, str, Any]] = {
    "EVENTS_PER_SECOND": ("50", "sensors.building.period", 0.02),
    "HOST": ("127.0.0.9", "server.host", "127.0.0.9"),
    "PORT": ("9001", "server.port", 9001),
    "FRONTEND_URL": ("http://localhost:3000/", "server.origin", "http://localhost:3000"),
    "TELEMETRY_INTERVAL": ("0.5", "sensors.device.period", 0.5),
    "MAX_CONNECTIONS": ("50", "server.max_connections", 50),
    "DATABASE_URL": ("duckdb:", "store.url", SecretStr("duckdb:")),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_an_older_variable_that_means_the_same(name: str) -> None:
    text, target, value = VARIABLES[name]
    loaded = load(environment={name: text})
    found: Any = loaded.settled()
    for step in target.split("."):
        found = found[step] if isinstance(found, dict) else getattr(found, step)
    assert found == value
    assert name in loaded.origins.values()
    assert not loaded.warnings


def test_an_address_beyond_this_machine_from_a_common_variable_is_said_aloud() -> None:
    loaded = load(environment={"HOST": "0.0.0.0"})
    assert loaded.settled().server.host == "0.0.0.0"
    assert "beyond this machine" in loaded.warnings[0]


def test_clearing_the_history_on_restart_deletes_nothing() -> None:
    loaded = load(environment={"CLEAR_HISTORY_ON_RESTART": "true"})
    assert loaded.settled().api.clear_history
    assert "deletes nothing" in loaded.warnings[0]
    quiet = load(environment={"CLEAR_HISTORY_ON_RESTART": "false"})
    assert not quiet.settled().api.clear_history
    assert not quiet.warnings


def test_the_size_of_the_history_log_cuts_nothing() -> None:
    loaded = load(environment={"HISTORY_LOG_SIZE": "1000"})
    loaded.settled()
    assert "history is on disk" in loaded.warnings[0]


AT_SCALE: dict[str, tuple[str, str, Any]] = {
    "DATABASE_URL": ("postgresql://u:p@h/db", "database", SecretStr("postgresql://u:p@h/db")),
    "KAFKA_BOOTSTRAP_SERVERS": ("broker:9092", "topic.servers", "broker:9092"),
    "KAFKA_SECURITY_PROTOCOL": ("sasl_ssl", "kafka.protocol", "SASL_SSL"),
    "KAFKA_SASL_MECHANISM": ("SCRAM-SHA-256", "kafka.mechanism", "SCRAM-SHA-256"),
    "KAFKA_SASL_USERNAME": ("user", "kafka.sasl_username", "user"),
    "KAFKA_SASL_PASSWORD": ("password", "kafka.sasl_password", SecretStr("password")),
    "KAFKA_SSL_CA": (PEM, "kafka.ssl_ca", PEM + "\n"),
    "KAFKA_SSL_CERT": (PEM.replace("\n", "\\n"), "kafka.ssl_cert", PEM + "\n"),
    "KAFKA_SSL_KEY": (PEM, "kafka.ssl_key", SecretStr(PEM + "\n")),
    "KAFKA_TOPIC": ("events", "topic.name", "events"),
    "KAFKA_TOPIC_DLQ": ("dead", "kafka.topic_dlq", "dead"),
    "KAFKA_GROUP_ID": ("mine", "kafka.group_id", "mine"),
}


@pytest.mark.parametrize("name", AT_SCALE)
def test_an_older_variable_of_a_containerised_installation_means_the_same(name: str) -> None:
    loaded = load(environment={variable: text for variable, (text, _, _) in AT_SCALE.items()})
    found: Any = loaded.settled()
    _, target, value = AT_SCALE[name]
    for step in target.split("."):
        found = getattr(found, step)
    assert found == value
    assert not loaded.warnings


def test_variables_that_name_the_default_topics_do_no_harm() -> None:
    loaded = load(environment={"KAFKA_TOPIC": "telemetry.events", "KAFKA_TOPIC_DLQ": "telemetry.dlq"})
    assert loaded.settled().topic is None
    assert not loaded.warnings


def test_a_secret_of_an_older_name_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:canary@h/db\n")
    loaded = load(environment={"DATABASE_URL_FILE": str(tmp_path / "url"), "KAFKA_BOOTSTRAP_SERVERS": "broker"})
    assert loaded.settled().database == SecretStr("postgresql://u:canary@h/db")


def test_every_older_name_is_tested_here() -> None:
    tested = {*SAME, *HARMFUL, *VARIABLES, *AT_SCALE, "HISTORY_LOG_SIZE", "CLEAR_HISTORY_ON_RESTART"}
    assert names() == tested | {"telemetry_sink_logging.encryption_key", "sensor.name", "sensor.rate"}


def test_a_key_by_its_own_name_comes_before_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "both.ini").write_text("[telemetry_sink_server]\nport = 1\n[server]\nport = 2\n")
    loaded = load(tmp_path / "both.ini")
    assert loaded.settled().server.port == 2
    assert "[telemetry_sink_server] port is not used" in loaded.warnings[0]
    assert load(environment={"PORT": "1", "SONDE_SERVER_PORT": "2"}).settled().server.port == 2
