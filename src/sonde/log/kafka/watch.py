"""Looks at a topic again and again: it may be gone, made anew, or have more partitions."""

import threading
from typing import Final

from sonde.errors import Hold, Retry, SondeError
from sonde.log.kafka import topic
from sonde.log.kafka.admin import Admin

EVERY: Final = 2.0
_SOON: Final = 0.3
_PROOF: Final = 4  # looks that say the same


class Watch:
    """``partitions`` is how many there are now, and not more than ``most``. Looks at it from a thread of its own."""

    def __init__(self, admin: Admin, first: topic.Topic, most: int | None = None) -> None:
        self._most = most
        self.partitions = self._used(first)
        self._admin = admin
        self._name = first.name
        self._id = first.id
        self._problem: SondeError | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._suspicion = 0
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

    def look(self) -> None:
        """Look, and :meth:`check`."""
        self._see()
        self.check()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SOON if self._suspicion else EVERY):
            self._see()

    def _see(self) -> None:
        """One look. A broker that has just come back may know less than the others: what is told once is no proof."""
        with self._lock:
            found = self._found()
            self._suspicion = self._suspicion + 1 if isinstance(found, Hold) else 0
            if not 0 < self._suspicion < _PROOF:
                self._problem = found

    def _found(self) -> SondeError | None:
        try:
            found = topic.look(self._admin, self._name)
        except (Retry, Hold) as error:
            self._admin.look_around()
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
        self.partitions = self._used(found)
        return None

    def _used(self, found: topic.Topic) -> int:
        there = len(found.partitions)
        return there if self._most is None else min(there, self._most)
