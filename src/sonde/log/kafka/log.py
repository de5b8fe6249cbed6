"""The log as a topic of Apache Kafka.

Where a sink says that something is durable, all in-sync copies have it. Many programs may write and read it at the same
time. What is in it is sealed: the brokers see no reading, unless the codec is ``plain``.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import TopicPartition

from sonde.errors import Hold, NotFound, Retry, SondeError
from sonde.log.batch import check_frames
from sonde.log.kafka import clients, topic
from sonde.log.kafka.admin import SECONDS, Absent, Admin
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.ends import Ends
from sonde.log.kafka.failures import closed
from sonde.log.kafka.reader import Reader
from sonde.log.kafka.watch import Watch
from sonde.log.kafka.writer import Writer
from sonde.ports import Record

APPEND_SECONDS: Final = 20.0
BUFFER_BYTES: Final = 64 << 20
GROUP: Final = "sonde"


class KafkaLog:
    """The port ``Log`` on a topic that is there (:func:`sonde.log.kafka.topic.make`). ``id`` is that of the topic.

    An append that not all copies have within ``seconds`` is :class:`Retry`. Reading holds about ``buffer_bytes``. Of the
    group nothing but its name is used, since rights go by it; of the partitions the first ``most``, or all. :class:`Retry`
    if no broker answers, :class:`Hold` if there is no such topic or it may not be used; later :class:`Hold` from every call
    when it was deleted or made anew.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        group: str = GROUP,
        most: int | None = None,
        seconds: float = APPEND_SECONDS,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self.name = name
        self._admin = Admin(connection)
        found = topic.find(self._admin, name, settings=True)
        if found is None:
            raise topic.absent(name, connection.servers)
        self.id = found.id
        self.max_frame_bytes = found.max_frame_bytes
        self._open = True
        self._closing = threading.Lock()
        self._writer = Writer(connection, name, self.max_frame_bytes, seconds)
        self._watch = Watch(self._admin, found, most)
        self._ends = Ends(self._admin, name, lambda: self._watch.partitions)
        self._reader = Reader(
            lambda fetch_bytes, wait: clients.consumer(
                connection, group, self.max_frame_bytes, fetch_bytes, **{"fetch.wait.max.ms": wait}
            ),
            name,
            ends=self._spans,
            appended=lambda partition: self._writer.ends.get(partition, 0),
            check=self._check,
            budget=buffer_bytes,
        )

    @property
    def partitions(self) -> int:
        """How many partitions of the topic there are to use, as of some seconds ago."""
        return self._watch.partitions

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        """See :meth:`sonde.ports.Log.append`; :class:`TooLarge` beyond ``max_frame_bytes``. Where others write too, theirs
        may come between those of one call."""
        check_frames(frames)
        self._known(partition)
        if not frames:
            return self.ends()[partition][1]
        before = self._writer.ends.get(partition, 0)
        try:
            first = self._writer.append(partition, frames)
        except Hold:
            self._watch.look()  # it may know better why
            raise
        if first < before:
            raise self._lost(partition)
        return first

    def append_together(self, frames: Mapping[int, bytes]) -> Mapping[int, int | SondeError]:
        """See :meth:`sonde.ports.AppendsTogether.append_together`."""
        for partition, frame in frames.items():
            check_frames([frame])
            self._known(partition)
        before = self._writer.ends
        found = dict(self._writer.append_together(frames))
        if any(isinstance(outcome, Hold) for outcome in found.values()):
            self._watch.look()
        for partition, outcome in found.items():
            if isinstance(outcome, int) and outcome < before.get(partition, 0):
                found[partition] = self._lost(partition)
        return found

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        """See :meth:`sonde.ports.Log.read`; :class:`Retry` while no broker answers. Offsets may be missing where others
        write in transactions."""
        self._known(partition)
        return self._reader.read(partition, offset, limit_bytes, wait)

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """See :meth:`sonde.ports.Log.ends`. What others appended may be missing for a fifth of a second."""
        if not self._open:
            raise closed()
        self._watch.check()
        return self._spans(False)

    def cut(self, partition: int, below: int) -> None:
        """See :meth:`sonde.ports.Log.cut`; to the frame, once all copies know."""
        self._known(partition)
        first, end = self._spans(True)[partition]
        below = min(below, end)
        if below <= first:
            return
        place = TopicPartition(self.name, partition, below)
        asked = self._admin.client.delete_records([place], request_timeout=SECONDS, operation_timeout=SECONDS)
        try:
            first = self._admin.answer(asked[place], f"cut partition {partition} of {self.name}").low_watermark
        except Absent:
            raise Retry(f"Kafka does not know partition {partition} of {self.name}", after=1.0) from None
        self._ends.forget()
        self._reader.cut(partition, first)

    def held_bytes(self) -> int:
        """What reading holds in memory, beside what the client has fetched and nobody has taken."""
        return self._reader.held_bytes()

    def hurry(self, seconds: float) -> None:
        """It is about to be closed: nothing takes longer than so many seconds any more, and fails with :class:`Retry`."""
        self._writer.hurry(seconds)
        self._admin.hurry(seconds)

    def close(self) -> None:
        """Finish the appends under way and wake everyone who waits."""
        with self._closing:
            if not self._open:
                return
            self._open = False
        self._reader.close()
        self._writer.close()
        self._watch.close()

    def _known(self, partition: int) -> None:
        if not self._open:
            raise closed()
        self._watch.check()
        if not 0 <= partition < self._watch.partitions:
            self._watch.look()  # it may be new
            if not 0 <= partition < self._watch.partitions:
                raise NotFound(f"the log has no partition {partition}")

    def _lost(self, partition: int) -> SondeError:
        """What to raise where an append got an offset that was given out before."""
        self._watch.look()
        return Retry(f"partition {partition} of {self.name} has lost what was confirmed", hint="See sonde doctor")

    def _spans(self, fresh: bool) -> Mapping[int, tuple[int, int]]:
        mine = self._writer.ends
        found = self._ends.get(fresh=fresh)
        return {number: (first, max(end, mine.get(number, 0))) for number, (first, end) in found.items()}

    def _check(self) -> None:
        self._watch.check()
        if away := self._watch.away:
            raise away
