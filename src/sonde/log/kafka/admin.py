"""Asks the brokers of a cluster, and says why they do not answer."""

import time
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from sonde.errors import Hold, Retry, SondeError
from sonde.log.kafka import clients
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.failures import failure, raised

SECONDS: Final = 10.0
"""How long one question may take."""

_LOOK: Final = 0.1
_AROUND: Final = 2.0
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
_SILENT: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})


class Absent(Exception):
    """The topic is not there."""


class Taken(Exception):
    """There is such a topic already."""


class Admin:
    """``client`` is asked; :meth:`answer` waits for what it says."""

    def __init__(self, connection: Connection) -> None:
        self.servers = connection.servers
        self._complained = float("-inf")
        self._complaint: KafkaError | None = None
        self._gives_up = float("inf")
        self.client: AdminClient = clients.admin(connection, error_cb=self._hear)

    def hurry(self, seconds: float) -> None:
        """What is not answered in so many seconds is given up."""
        self._gives_up = time.monotonic() + seconds

    def answer(self, asked: "Future[Any]", doing: str) -> Any:
        """What came of a question. :class:`Absent` if it was about a topic that is not there; :class:`Retry` if no broker
        answers, :class:`Hold` at once if they do not let this client in."""
        began = time.monotonic()
        while True:
            try:
                return asked.result(_LOOK)
            except TimeoutError:
                self.client.poll(0)  # lets it complain
                why = self._why(began, doing)
                if isinstance(why, Hold):
                    raise why from None
                if time.monotonic() > min(
                    began + 2 * SECONDS, self._gives_up
                ):  # the client gives up before, but slowly
                    raise why or Retry(
                        f"Kafka cannot {doing}: no answer in {time.monotonic() - began:.0f} s", after=1.0
                    ) from None
            except KafkaException as error:
                self.client.poll(0)
                code = error.args[0].code()
                if code in _ABSENT:
                    raise Absent from None
                if code == KafkaError.TOPIC_ALREADY_EXISTS:
                    raise Taken from None
                raise (self._why(began, doing) if code in _SILENT else None) or raised(error, doing) from None

    def look_around(self) -> None:
        """See which brokers there are now. A client goes on asking the controller that it knows, though that has gone."""
        try:
            self.client.list_topics(timeout=_AROUND)
        except KafkaException:
            self.client.poll(0)  # they are all away

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # what came before says why
            self._complaint = error
            self._complained = time.monotonic()

    def _why(self, began: float, doing: str) -> SondeError | None:
        """What the client has complained of since a question was asked."""
        complaint = self._complaint
        return failure(complaint, doing) if complaint is not None and self._complained >= began else None
