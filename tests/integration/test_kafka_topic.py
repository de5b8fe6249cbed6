"""Topics that Sonde makes, users with and without rights, encryption, and what the doctor says of all that."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from sonde.clock import DAY, SECOND
from sonde.errors import Hold, NotFound, Retry
from sonde.log.kafka.admin import Admin
from sonde.log.kafka.checks import Remark, checks
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.log import KafkaLog
from sonde.log.kafka.membership import KafkaMembership
from sonde.log.kafka.topic import Plan, find, make
from sonde.testing.log_contract import everything, frames
from tests.certificates import Authorities
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.all

USER, PASSWORD = "sonde", "a-secret-of-the-tests"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Connection]]:
    """A broker that wants TLS and a user who has signed in, and a connection that has both. The user has no rights."""
    folder = tmp_path_factory.mktemp("guarded")
    authorities = Authorities.make(folder)
    pem = authorities.server()
    kafka = Kafka(
        folder,
        more=("SASL_SSL",),
        settings={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(_as_java_wants(pem)),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )
    try:
        kafka.start()
        user = UserScramCredentialUpsertion(
            USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
        )
        kafka.admin().alter_user_scram_credentials([user])[USER].result(60)
        yield (
            kafka,
            Connection(
                kafka.servers_of("SASL_SSL"),
                protocol="SASL_SSL",
                mechanism="SCRAM-SHA-512",
                username=USER,
                password=PASSWORD,
                ca=authorities.ca.read_text(),
            ),
        )
    finally:
        kafka.close()


def _as_java_wants(pem: Path) -> Path:
    """The same certificate and key, the key in the one form that Kafka reads."""
    text = pem.read_bytes()
    key = load_pem_private_key(text, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(
        b"-----BEGIN CERTIFICATE-----" + part.split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
        for part in text.split(b"-----BEGIN CERTIFICATE-----")[1:]
    )
    path = pem.with_name("keystore.pem")
    path.write_bytes(key + chain)
    return path


def allow(kafka: Kafka, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    rules = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", one, AclPermissionType.ALLOW)
        for one in operations
    ]
    for done in kafka.admin().create_acls(rules).values():
        done.result(60)


def said(remarks: Iterator[Remark], level: str) -> str:
    return "\n".join(f"{one.message}. {one.hint}" for one in remarks if one.level == level)


def test_a_topic_is_made_with_settings_that_make_sense(kafka_of_three: Kafka) -> None:
    plan = Plan("made.by.sonde", partitions=5, retention=2 * DAY)
    assert make(kafka_of_three.connection, [plan]) == [plan.name]
    assert make(kafka_of_three.connection, [plan]) == []
    found = find(Admin(kafka_of_three.connection), plan.name, settings=True)
    assert found is not None
    assert len(found.partitions) == 5
    assert all(len(p.copies) == 3 for p in found.partitions)
    assert {key: found.settings[key] for key in plan.settings(3)} == plan.settings(3)
    assert found.settings["min.insync.replicas"] == "2"
    assert found.settings["retention.ms"] == str(2 * 86_400_000)
    remarks = list(checks(kafka_of_three.connection, plan))
    assert [one.level for one in remarks] == ["ok", "ok"], remarks


def test_only_the_first_partitions_of_a_topic_that_grew_are_used(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    kafka.add_partitions(topic, 3)
    log = KafkaLog(kafka.connection, topic, most=2)
    member = KafkaMembership(kafka.connection, topic, topic, most=2)
    try:
        kafka.until(lambda: _has(member) == {0, 1}, "the member has both partitions")
        assert set(log.ends()) == {0, 1}
        with pytest.raises(NotFound):
            log.append(2, frames(1))
    finally:
        member.close()
        log.close()
    told = said(checks(kafka.connection, Plan(topic, used=2)), "warning")
    assert "3 partitions, and [kafka] use_partitions is 2" in told


def test_without_rights_it_says_what_to_ask_for(guarded: tuple[Kafka, Connection]) -> None:
    kafka, connection = guarded
    with pytest.raises(Hold, match="rights") as refused:
        make(connection, [Plan("telemetry.wanted")])
    assert "kafka-topics.sh" in str(refused.value)
    assert PASSWORD not in str(refused.value)
    topic = kafka.topic(name="telemetry.hidden")
    with pytest.raises(Hold):
        KafkaLog(connection, topic)


def test_a_user_with_rights_writes_and_reads_over_tls(guarded: tuple[Kafka, Connection]) -> None:
    kafka, connection = guarded
    topic, group = kafka.topic(2, name="telemetry.events"), "sonde"
    rights = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS
    allow(kafka, ResourceType.TOPIC, topic, *rights)
    allow(kafka, ResourceType.GROUP, group, AclOperation.READ)
    log = KafkaLog(connection, topic, group=group)
    written = frames(3)
    assert log.append(1, written) == 0
    assert [r.frame for r in everything(log, 1)] == written
    member = KafkaMembership(connection, topic, group)
    kafka.until(lambda: _has(member) == {0, 1}, "the member has both partitions")
    member.close()
    log.close()
    remarks = list(checks(connection, Plan(topic)))
    assert "may not Delete" in said(iter(remarks), "warning")
    assert not said(iter(remarks), "wrong")


def test_a_group_that_may_not_be_joined_is_said(guarded: tuple[Kafka, Connection]) -> None:
    kafka, connection = guarded
    topic = kafka.topic(name="telemetry.lonely")
    allow(kafka, ResourceType.TOPIC, topic, AclOperation.READ)
    member = KafkaMembership(connection, topic, "another-group")

    def refused() -> bool:
        try:
            member.partitions()
            return False
        except Retry:
            return False
        except Hold as error:
            return "another-group" in str(error)

    kafka.until(refused, "it says that the group may not be joined")
    member.close()


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "nobody"}, {"ca": ""}])
def test_who_cannot_sign_in_hears_so(guarded: tuple[Kafka, Connection], wrong: dict[str, str]) -> None:
    _, connection = guarded
    with pytest.raises(Hold, match=r"in \[kafka\]"):
        KafkaLog(replace(connection, **wrong), "telemetry.events")


def test_what_the_doctor_says_of_a_topic_that_is_not_well(kafka: Kafka) -> None:
    topic = kafka.topic(
        cleanup_policy="compact",
        unclean_leader_election_enable="true",
        compression_type="gzip",
        retention_ms="3600000",
        retention_bytes="1000000",
        max_message_bytes="1000000",
    )
    remarks = list(checks(kafka.connection, Plan(topic)))
    assert "cleanup.policy" in said(iter(remarks), "wrong")
    warnings = said(iter(remarks), "warning")
    for word in ("1 copy", "unclean", "compress", "retention.ms", "retention.bytes", "max.message.bytes"):
        assert word in warnings
    late = list(checks(kafka.connection, Plan(topic), behind=3000 * SECOND))
    assert "will be lost" in said(iter(late), "wrong")


def test_what_the_doctor_says_without_a_topic_or_a_broker(kafka: Kafka) -> None:
    assert "kafka-topics.sh" in said(checks(kafka.connection, Plan("there-is-none")), "wrong")
    assert "Kafka cannot" in said(checks(Connection("127.0.0.1:1"), Plan("there-is-none")), "wrong")


def test_what_the_doctor_says_when_brokers_are_away(kafka_of_three: Kafka) -> None:
    topic = kafka_of_three.topic(3)
    first, *_ = kafka_of_three.brokers
    try:
        first.kill()
        kafka_of_three.until(
            lambda: "not all copies" in said(checks(kafka_of_three.connection, Plan(topic)), "warning"),
            "the doctor sees that a broker is away",
        )
    finally:
        kafka_of_three.start()


def _has(member: KafkaMembership) -> frozenset[int]:
    try:
        return member.partitions()
    except Retry:
        return frozenset()
