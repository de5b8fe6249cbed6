"""Looks at a topic again and again: it may be gone, made anew, or have more partitions."""

import threading
from typing import Final

from confluent_kafka.admin import AdminClient

from sonde.errors import Hold, Retry, SondeError
from sonde.log.kafka import topic

EVERY: Final = 2.0


class Watch:
    """``partitions`` is how many there are now; ``check`` raises what is wrong."""

    def __init__(self, admin: AdminClient, first: topic.Topic) -> None:
        self.partitions = len(first.partitions)
        self._admin = admin
        self._name = first.name
        self._id = first.id
        self._problem: SondeError | None = None
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sonde-kafka-watch", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """:class:`Hold` if the topic is not the one that it was."""
        if isinstance(self._problem, Hold):
            raise self._problem

    @property
    def away(self) -> Retry | None:
        """Why the brokers do not answer, if they do not."""
        return self._problem if isinstance(self._problem, Retry) else None

    def look_now(self) -> None:
        """Something is odd: do not wait for the next look."""
        self._wanted.set()

    def look(self) -> None:
        """Look, and :meth:`check`."""
        self._problem = self._found()
        self.check()

    def close(self) -> None:
        self._stop.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wanted.wait(EVERY)
            self._wanted.clear()
            if not self._stop.is_set():
                self._problem = self._found()

    def _found(self) -> SondeError | None:
        try:
            found = topic.look(self._admin, self._name)
        except (Retry, Hold) as error:
            return error
        if found is None:
            return Hold(
                f"the topic {self._name} is gone",
                hint="Nothing can be taken in. If that was a mistake, restore it; else start Sonde again, for a new log",
            )
        if found.id != self._id:
            return Hold(
                f"the topic {self._name} was made anew: its id was {self._id} and is {found.id}",
                hint="It is another log now. Start Sonde again; the store must begin anew too, or keep to the old topic",
            )
        self.partitions = len(found.partitions)
        return None
