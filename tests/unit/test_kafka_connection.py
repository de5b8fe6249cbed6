"""How Kafka is reached, and what its errors mean: without a broker."""

import pytest
from confluent_kafka import KafkaError

from sonde.errors import Hold, NotFound, Retry, SondeError, TooLarge
from sonde.log.kafka.connection import Connection, read_servers, read_url
from sonde.log.kafka.failures import failure
from sonde.log.kafka.topic import Plan, command

PEM = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----"
CODES = sorted({value for name in dir(KafkaError) if isinstance(value := getattr(KafkaError, name), int) and value})


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("kafka://broker:9092/telemetry.events", ("broker:9092", "telemetry.events")),
        ("kafka://one:9093,two/t", ("one:9093,two:9092", "t")),
        ("kafka://[::1]:9092/t", ("[::1]:9092", "t")),
        ("kafka://broker", ("broker:9092", "")),
        ("kafka:///t", ("", "t")),
    ],
)
def test_addresses(url: str, found: tuple[str, str]) -> None:
    assert read_url(url) == found


@pytest.mark.parametrize("url", ["file:log", "kafka://a b/t", "kafka://a/t/u", "kafka://a:port/t", "kafka://a/t t"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(Hold, match="kafka://host:9092"):
        read_url(url)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(Hold) as refused:
        read_url("kafka://sonde:hunter2@broker:9092/t")
    assert "hunter2" not in str(refused.value)


def test_a_list_of_servers_has_spaces_and_no_ports_at_times() -> None:
    assert read_servers("one:9093, two") == "one:9093,two:9092"


def test_secrets_are_not_shown() -> None:
    connection = Connection(
        "a:1", "SASL_SSL", "SCRAM-SHA-512", "sonde", "hunter2", certificate=PEM, key=PEM.replace("MIIB", "KEYS")
    )
    assert "hunter2" not in repr(connection)
    assert "KEYS" not in repr(connection)
    settings = connection.settings()
    assert settings["sasl.password"] == "hunter2"
    assert settings["ssl.key.pem"] == "-----BEGIN CERTIFICATE-----\nKEYS\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "given",
    [
        {"protocol": "TLS"},
        {"protocol": "SASL_SSL"},
        {"protocol": "SASL_SSL", "mechanism": "GSSAPI", "username": "a", "password": "b"},
        {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "a"},
        {"username": "a", "password": "b"},
        {"ca": PEM},
        {"protocol": "SSL", "certificate": PEM},
        {"protocol": "SSL", "ca": "/etc/ssl/ca.pem"},
    ],
)
def test_what_makes_no_sense_is_said(given: dict[str, str]) -> None:
    with pytest.raises(Hold, match="kafka"):
        Connection("a:1", **given)


@pytest.mark.parametrize("code", CODES)
def test_every_error_of_kafka_is_one_of_ours(code: int) -> None:
    error = failure(KafkaError(code), "do something")
    assert isinstance(error, SondeError)
    assert "do something" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._ALL_BROKERS_DOWN, Retry),
        (KafkaError._MSG_TIMED_OUT, Retry),
        (KafkaError.NOT_ENOUGH_REPLICAS, Retry),
        (KafkaError.NOT_LEADER_FOR_PARTITION, Retry),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Hold),
        (KafkaError._AUTHENTICATION, Hold),
        (KafkaError.MSG_SIZE_TOO_LARGE, TooLarge),
        (KafkaError.OFFSET_OUT_OF_RANGE, NotFound),
    ],
)
def test_errors_are_named_for_what_to_do(code: int, kind: type[SondeError]) -> None:
    assert type(failure(KafkaError(code), "do something")) is kind


@pytest.mark.parametrize(("copies", "least"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_one_broker_may_be_away(copies: int, least: str) -> None:
    plan = Plan("t", copies=copies)
    assert plan.settings(copies)["min.insync.replicas"] == least
    assert f"--replication-factor {copies} " in command("a:1", plan)
