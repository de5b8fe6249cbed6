"""What Kafka says went wrong, in the errors of Sonde."""

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from sonde.errors import Hold, NotFound, Retry, SondeError, TooLarge

_FORBIDDEN: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_NO_ENTRY: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
_NO_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_NO_COPIES: Final = frozenset(
    {KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError._ISR_INSUFF}
)
_GONE: Final = frozenset({KafkaError.OFFSET_OUT_OF_RANGE})
_NEVER: Final = frozenset(
    {
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._INVALID_ARG,
    }
)


_MEANINGS: Final[tuple[tuple[frozenset[int], type[SondeError], str], ...]] = (
    (_FORBIDDEN, Hold, "Ask the administrator of Kafka for the rights that docs/scaling.md lists"),
    (_NO_ENTRY, Hold, "Check security_protocol, user, password and certificates in [kafka]"),
    (_NO_TOPIC, Hold, "See with sonde doctor whether the topic is there"),
    (_TOO_LARGE, TooLarge, "The topic's max.message.bytes is the bound"),
    (_NO_COPIES, Retry, "Too few brokers have a copy; see min.insync.replicas"),
    (_GONE, NotFound, ""),
    (_NEVER, Hold, "Check the topic's settings and the version of the brokers: sonde doctor"),
)


def failure(error: KafkaError, doing: str) -> SondeError:
    """What to raise when Kafka refused ``doing``. What nobody has thought of may be tried again: nothing is lost by it."""
    what = f"Kafka cannot {doing}: {error.str()}"
    code = error.code()
    for codes, kind, hint in _MEANINGS:
        if code in codes:
            return kind(what, hint=hint)
    return Retry(what, hint="It is tried again by itself; nothing is lost", after=1.0)


def raised(error: KafkaException | RuntimeError, doing: str) -> SondeError:
    """The same for an exception of the client; a ``RuntimeError`` is one that was closed."""
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return failure(error.args[0], doing)
    return Retry(f"Kafka cannot {doing}: {error}", hint="It is tried again by itself; nothing is lost", after=1.0)


def closed() -> Retry:
    return Retry("the log is closed", hint="Its program is shutting down")
