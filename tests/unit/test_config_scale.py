"""Kafka as the log and PostgreSQL as the store: what may be said, what goes together, and what is never shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from sonde.config import Loaded, Topic, as_rows, load

KAFKA = "kafka://broker:9092/events"
POSTGRES = "postgresql://sonde@db/sonde"


def said(**given: str) -> Loaded:
    return load(options=[f"{name.replace('__', '.')}={text}" for name, text in given.items()])


def faults(loaded: Loaded) -> str:
    return "\n".join(map(str, loaded.faults))


@pytest.mark.parametrize(
    ("url", "topic"),
    [
        (KAFKA, Topic("broker:9092", "events")),
        ("kafka://one:1,two:2/events", Topic("one:1,two:2", "events")),
        ("kafka://one, two:2/events", Topic("one:9092,two:2", "events")),
        ("kafka://[::1]:9093/events", Topic("[::1]:9093", "events")),
        ("kafka://broker", Topic("broker:9092", "telemetry.events")),
        ("kafka://broker/", Topic("broker:9092", "telemetry.events")),
    ],
)
def test_the_address_of_a_topic(url: str, topic: Topic) -> None:
    assert said(log__url=url, store__url=POSTGRES).settled().topic == topic


@pytest.mark.parametrize(
    ("given", "topic"),
    [
        ({"kafka__bootstrap_servers": "broker"}, Topic("broker:9092", "telemetry.events")),
        ({"kafka__bootstrap_servers": "broker", "kafka__topic": "t"}, Topic("broker:9092", "t")),
        ({"kafka__bootstrap_servers": "broker", "log__url": "kafka:///t"}, Topic("broker:9092", "t")),
        ({"kafka__bootstrap_servers": "broker", "log__url": "kafka://broker:9092/t"}, Topic("broker:9092", "t")),
        ({"kafka__topic": "t", "log__url": "kafka://broker"}, Topic("broker:9092", "t")),
    ],
)
def test_brokers_and_topic_by_keys_of_their_own(given: dict[str, str], topic: Topic) -> None:
    loaded = said(**given, store__url=POSTGRES)
    assert loaded.settled().topic == topic
    assert not loaded.warnings


def test_where_the_log_is_comes_before_brokers_that_are_just_named() -> None:
    loaded = said(log__url="file:", kafka__bootstrap_servers="broker")
    assert loaded.settled().topic is None
    assert "--set kafka.bootstrap_servers is not used: the log is in files" in loaded.warnings[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"log__url": KAFKA}, "DuckDB lets one process in; set [store] url = postgresql://"),
        ({"kafka__bootstrap_servers": "broker"}, "--set kafka.bootstrap_servers: a log in Kafka needs PostgreSQL"),
        ({"store__url": POSTGRES}, "--set store.url: PostgreSQL as the store needs a log in Kafka"),
        ({"log__url": "kafka:///t", "store__url": POSTGRES}, "names no broker"),
        ({"log__url": KAFKA, "kafka__bootstrap_servers": "other:1"}, "names other brokers than [log] url"),
        ({"log__url": KAFKA, "kafka__topic": "other"}, "names another topic than [log] url"),
        ({"log__url": "kafka://b/telemetry.dlq", "store__url": POSTGRES}, "the topic of what was set aside"),
        ({"kafka__topic": "t", "kafka__topic_dlq": "t"}, "topic and topic_dlq are the same"),
        ({"log__url": "kafka://u:secret@broker/t"}, "put it into [kafka] sasl_username and sasl_password"),
        ({"log__url": "amqp://broker"}, "should begin with file: or kafka://"),
        ({"log__url": "kafka://broker:99999/t"}, "should be brokers such as"),
        ({"log__url": "kafka://bro ker/t"}, "should be brokers such as"),
        ({"log__url": "kafka://broker/a/b"}, "should be a topic's name"),
        ({"kafka__topic": "two words"}, "should be a topic's name"),
        ({"kafka__bootstrap_servers": "http://broker"}, "should be brokers such as"),
        ({"store__url": "mysql://u@h/d"}, "should be duckdb: or begin with postgresql://"),
        ({"store__url": "duckdb:/elsewhere"}, "should be duckdb: alone"),
        ({"store__url": "postgresql://u@h:port/d"}, "should have a number as its port"),
        ({"kafka__security_protocol": "TLS"}, "should be '', 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ({"kafka__sasl_mechanism": "GSSAPI"}, "'SCRAM-SHA-512'"),
        ({"kafka__sasl_username": "u"}, "sasl_username is set without sasl_password"),
        ({"kafka__sasl_password": "p"}, "sasl_password is set without sasl_username"),
        ({"kafka__security_protocol": "SASL_SSL"}, "and sasl_username is missing"),
        (
            {"kafka__security_protocol": "SSL", "kafka__sasl_username": "u", "kafka__sasl_password": "p"},
            "set SASL_SSL, or take one out",
        ),
        ({"kafka__ssl_cert": "/a.pem"}, "ssl_cert and ssl_key go together"),
        ({"kafka__partitions": "0"}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_is_refused_with_what_would(given: dict[str, str], expected: str) -> None:
    loaded = said(**given)
    assert expected in faults(loaded)
    assert "secret" not in faults(loaded)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h/d",
        "postgres://u:p@h/d",
        "postgresql+psycopg://u:p@h/d",
        "postgresql+asyncpg://u:p@h/d",
    ],
)
def test_the_address_of_a_database_as_other_programs_write_it(url: str) -> None:
    assert said(log__url=KAFKA, store__url=url).settled().database == SecretStr("postgresql://u:p@h/d")


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("postgresql://sonde@db:5433/d?sslmode=require", "postgresql://sonde:it%27s%2Fso@db:5433/d?sslmode=require"),
        ("postgresql://sonde:old@db/d", "postgresql://sonde:it%27s%2Fso@db/d"),
    ],
)
def test_the_password_of_the_database_may_be_said_apart(url: str, whole: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("it's/so\n")
    loaded = said(log__url=KAFKA, store__url=url, store__password_file=str(tmp_path / "password"))
    assert loaded.settled().database == SecretStr(whole)


@pytest.mark.parametrize(
    ("given", "protocol", "mechanism"),
    [
        ({}, "PLAINTEXT", ""),
        ({"kafka__ssl_ca": "/ca.pem"}, "SSL", ""),
        ({"kafka__sasl_username": "u", "kafka__sasl_password": "p"}, "SASL_SSL", "SCRAM-SHA-512"),
        (
            {
                "kafka__sasl_username": "u",
                "kafka__sasl_password": "p",
                "kafka__sasl_mechanism": "plain",
                "kafka__security_protocol": "sasl_plaintext",
            },
            "SASL_PLAINTEXT",
            "PLAIN",
        ),
    ],
)
def test_how_to_connect_follows_from_what_is_named(given: dict[str, str], protocol: str, mechanism: str) -> None:
    kafka = said(**given).settled().kafka
    assert (kafka.protocol, kafka.mechanism) == (protocol, mechanism)


def test_no_password_is_shown_and_all_else_is() -> None:
    canary = "canary-91"
    loaded = said(
        log__url=KAFKA,
        store__url=f"postgresql://sonde:{canary}@db:5432/d?sslmode=verify-full&sslpassword={canary}",
        kafka__sasl_username="u",
        kafka__sasl_password=canary,
        kafka__ssl_cert="-----BEGIN CERTIFICATE-----",
        kafka__ssl_key=f"-----BEGIN PRIVATE KEY-----\n{canary}",
    )
    rows = {(row.section, row.key): row.value for row in as_rows(loaded)}
    assert canary not in repr(rows) + repr(loaded) + str(loaded.settled().database)
    assert rows["store", "url"] == "postgresql://sonde:********@db:5432/d?sslmode=verify-full&sslpassword=********"
    assert rows["log", "url"] == KAFKA
    assert rows["kafka", "ssl_cert"] == "(PEM)"
    assert rows["kafka", "ssl_key"] == "********"


def test_pem_in_a_file_goes_over_several_lines(tmp_path: Path) -> None:
    file = tmp_path / "c.ini"
    file.write_text("[kafka]\nssl_ca = -----BEGIN CERTIFICATE-----\n  YWJj\n  -----END CERTIFICATE-----\n")
    text = load(file).settled().kafka.ssl_ca
    assert text == "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
