"""The sections that say where things are kept: ``[log]``, ``[store]``, ``[kafka]``."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from sonde.config.address import DATABASE, checked_log, checked_servers, checked_store, checked_topic
from sonde.config.key import Section, key
from sonde.config.values import Flag, Keys, MaybeCount, Pem, SecretPem, Size, Span

_NONE: Final = SecretStr("")
_DAY: Final = 86_400.0


def _capitals(given: object) -> str:
    return str(given).strip().upper()


class Log(Section):
    """The log: the truth, encrypted."""

    url: Annotated[str, AfterValidator(checked_log)] = key(
        "file:",
        "Where the log is. file: is the folder log of the data directory, file:/path another one; "
        "kafka://host:9092,host:9092/topic is a topic of Apache Kafka.",
    )
    codec: Literal["aes-gcm", "fernet", "plain"] = key("aes-gcm", "How frames are sealed.")
    encryption_key: Keys = key(
        _NONE,
        "Master key, 32 bytes in base64; several separated by commas: the first seals, all open. "
        "command:… is a command that prints them. "
        "Empty: keys.json in the data directory, made on the first start of a log in files.",
        older=("telemetry_sink_logging.encryption_key",),
    )
    segment: Size = key(
        64 << 20, "Size at which a new segment file begins, of a log in files.", ge=64 << 10, le=1 << 30
    )
    reserve: Size = key(256 << 20, "Free disk space below which a log in files takes nothing more in (503).", ge=0)


class Store(Section):
    """The store: what questions are answered from. It can be made again from the log."""

    url: Annotated[SecretStr, AfterValidator(checked_store), DATABASE] = key(
        SecretStr("duckdb:"),
        "Where the store is. duckdb: is the folder store of the data directory; postgresql://user@host/database is "
        "PostgreSQL, and goes with a log in Kafka.",
        older=("DATABASE_URL",),
    )
    password: SecretStr = key(
        _NONE, "Password of the database's user. Empty: that of the address, else what PostgreSQL's own ways say."
    )
    memory: Size = key(200 << 20, "Memory that DuckDB may use.", ge=64 << 20)
    hot_readings: int = key(2_000_000, "Readings kept in DuckDB before they are sealed into a part.", ge=1000)
    hot_time: Span = key(600.0, "Time after which DuckDB's readings are sealed into a part.", ge=1, le=_DAY)


class Kafka(Section):
    """Apache Kafka as the log, where `[log] url` begins with kafka: or `bootstrap_servers` is set. Needs the extra
    `sonde[kafka]`."""

    bootstrap_servers: Annotated[str, AfterValidator(checked_servers)] = key(
        "",
        "Brokers, if [log] url does not name them. Set without [log] url, they make the topic the log.",
        older=("KAFKA_BOOTSTRAP_SERVERS",),
        example="broker-1:9092,broker-2:9092",
    )
    security_protocol: Annotated[
        Literal["", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_capitals)
    ] = key(
        "",
        "How to connect. Empty: SASL_SSL if a user is named, SSL if a certificate is, else PLAINTEXT.",
        older=("KAFKA_SECURITY_PROTOCOL",),
    )
    sasl_mechanism: Annotated[Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], BeforeValidator(_capitals)] = key(
        "", "How to sign in. Empty: SCRAM-SHA-512 if a user is named.", older=("KAFKA_SASL_MECHANISM",)
    )
    sasl_username: str = key("", "User.", older=("KAFKA_SASL_USERNAME",))
    sasl_password: SecretStr = key(_NONE, "The user's password.", older=("KAFKA_SASL_PASSWORD",))
    ssl_ca: Pem = key(
        "",
        "Authorities to trust, in PEM: the text itself, or a file. Empty: those of the system.",
        older=("KAFKA_SSL_CA",),
        example="/etc/sonde/kafka-ca.pem",
    )
    ssl_cert: Pem = key("", "Certificate to show, in PEM: the text itself, or a file.", older=("KAFKA_SSL_CERT",))
    ssl_key: SecretPem = key(_NONE, "Its private key, in PEM: the text itself, or a file.", older=("KAFKA_SSL_KEY",))
    topic: Annotated[str, AfterValidator(checked_topic)] = key(
        "telemetry.events", "Topic of the log, if [log] url does not name it.", older=("KAFKA_TOPIC",)
    )
    topic_dlq: Annotated[str, AfterValidator(checked_topic)] = key(
        "telemetry.dlq", "Topic of what was set aside.", older=("KAFKA_TOPIC_DLQ",)
    )
    group_id: str = key(
        "sonde", "Group in which processors share the partitions out.", older=("KAFKA_GROUP_ID",), min_length=1
    )
    plain_events: Flag = key(
        True,
        "Whether JSON events that other programs write to the topic are taken as anonymous readings. They are not "
        "encrypted, nor authenticated by Sonde: whoever may write to the topic may send them.",
    )
    partitions: int = key(64, "Partitions of a topic that is made.", ge=1, le=10_000)
    use_partitions: MaybeCount = key(
        None,
        "How many partitions of the topic are used, the first ones. Empty: all. To be set for all processes, to what there "
        "were, when a topic in use was given more.",
        ge=1,
    )
    replication: MaybeCount = key(
        None, "Copies of a topic that is made. Empty: 3, or as many as there are brokers.", ge=1, le=15
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Kafka":
        if self.sasl_username and not self.sasl_password.get_secret_value():
            raise ValueError("sasl_username is set without sasl_password; name both")
        if self.sasl_password.get_secret_value() and not self.sasl_username:
            raise ValueError("sasl_password is set without sasl_username; name both")
        if self.security_protocol.startswith("SASL") and not self.sasl_username:
            raise ValueError(f"security_protocol is {self.security_protocol}, and sasl_username is missing")
        if self.sasl_username and self.security_protocol in {"PLAINTEXT", "SSL"}:
            raise ValueError(
                f"sasl_username is set, and security_protocol is {self.security_protocol}: set SASL_SSL, or take one out"
            )
        if bool(self.ssl_cert) != bool(self.ssl_key.get_secret_value()):
            raise ValueError("ssl_cert and ssl_key go together; name both")
        if self.topic == self.topic_dlq:
            raise ValueError("topic and topic_dlq are the same; what was set aside needs a topic of its own")
        return self

    @property
    def protocol(self) -> str:
        """How to connect, decided."""
        if self.security_protocol:
            return self.security_protocol
        if self.sasl_username:
            return "SASL_SSL"
        return "SSL" if self.ssl_ca or self.ssl_cert else "PLAINTEXT"

    @property
    def mechanism(self) -> str:
        """How to sign in, decided; empty without a user."""
        return self.sasl_mechanism or "SCRAM-SHA-512" if self.sasl_username else ""
