"""The outbox in a SQLite file."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import apsw
import structlog

from sonde.clock import Clock, SystemClock
from sonde.entry import EntryKind
from sonde.errors import Damaged, KeyMissing, Retry, SondeError
from sonde.keyring import Keys
from sonde.metrics import Metrics
from sonde.node.outbox import tombstone
from sonde.node.outbox.file import GROUP, OutboxFile, connection_error
from sonde.node.outbox.opening import Opening, lock
from sonde.node.outbox.row import Reader, Row
from sonde.node.outbox.writer import Job, Writer
from sonde.ports import Noted, Outgoing, Stage, Waiting

LIMIT_BYTES: Final = 1 << 30
_LETTERS_AT_ONCE: Final = 64
_SAY_FULL: Final = 60.0  # seconds between two messages that the outbox is full
_log = structlog.get_logger()


class SqliteOutbox:
    """An :class:`sonde.ports.Outbox` in the file at ``path``, sealed with ``ring``.

    One program at a time: :class:`InUse` if another has it. A file that is damaged, or whose key is missing, is set
    aside under a name that ``problems`` tells, and a new epoch starts. Methods may be called from any thread. While the
    disk is full ``put`` raises :class:`Retry`.
    """

    def __init__(
        self,
        path: Path,
        ring: Keys,
        *,
        limit_bytes: int = LIMIT_BYTES,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        epoch: str = "",
    ) -> None:
        self._path, self._limit = path, limit_bytes
        self._clock = clock or SystemClock()
        self._metrics = metrics or Metrics()
        self._reader = Reader(ring, path)
        self._opening = Opening(path, ring, limit_bytes, self._clock)
        self._lock = lock(path)
        self._say_full = self._clock.monotonic()
        try:
            self._file = self._opening.open(epoch)
        except BaseException:
            self._lock.release()
            raise
        self.epoch = self._file.epoch
        self._measure()
        self._writer = Writer(self._group, self._tick, self._end, GROUP)

    @property
    def problems(self) -> Sequence[str]:
        """What went wrong with the file so far, in plain words."""
        return tuple(self._opening.problems)

    def put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        seq = self._writer.do(lambda: self._file.put(lane, kind, content, readings))
        self._metrics.outbox_readings.labels(tombstone.LANES[lane]).inc(readings)
        return seq

    def peek(self, lane: int, limit_bytes: int) -> Sequence[Outgoing]:
        while True:
            file, rows = self._writer.do(lambda: (self._file, self._file.rows(lane, limit_bytes)), change=False)
            found: list[Outgoing] = []
            try:
                for row in rows:
                    found.append(_outgoing(file, row, self._reader.content(row)))
            except KeyMissing as error:
                self._replace(file, error)
            except Damaged as error:
                if found:
                    return found
                self._give_up(file, row, error)
            else:
                return found

    def confirm(self, lane: int, seq: int) -> None:
        if not self._writer.do(lambda: self._file.confirm(lane, seq)):
            self._writer.do(lambda: self._start_epoch(lane, seq))

    def reject(self, lane: int, seq: int, reason: str) -> None:
        self._writer.do(lambda: self._file.reject(lane, seq, reason))

    def retry(self) -> int:
        done = 0
        while some := self._writer.do(lambda: self._put_back(only_asked=False)):
            done += some
        return done

    def waiting(self) -> Sequence[Waiting]:
        return self._writer.do(self._waiting, change=False)

    def last(self, lane: int) -> int:
        """The newest seq that this epoch gave out in a lane; 0 for none."""
        at = self._writer.do(lambda: self._file.lanes[lane], change=False)
        return at.seq - at.base_seq

    def sealing_key(self) -> str:
        """The name of the key that seals from now on."""
        return self._writer.do(self._sealing_key, change=False)

    @property
    def book_epoch(self) -> str:
        return self._file.book.epoch

    def advance(self, epoch: str, noted: Noted, stage: Stage, step: bytes) -> int | None:
        return self._writer.do(lambda: self._file.advance(epoch, noted, stage, step))

    def stage(self, id: str) -> Stage | None:
        return self._writer.do(lambda: self._file.book.stage(id), change=False)

    def running(self) -> Sequence[Noted]:
        return self._writer.do(self._running, change=False)

    def close(self) -> None:
        self._writer.close()

    # -- in the owner thread

    def _sealing_key(self) -> str:
        return self._file.sealing_key()

    def _running(self) -> Sequence[Noted]:
        return self._file.book.running()

    def _waiting(self) -> Sequence[Waiting]:
        return self._file.waiting()

    def _group(self, jobs: list[Job]) -> None:
        self._settle([job for job in jobs if job.change], self._in_one_commit)
        self._settle([job for job in jobs if not job.change], self._one_by_one)

    def _settle(self, jobs: list[Job], run: Callable[[list[Job]], None]) -> None:
        if not jobs:
            return
        try:
            run(jobs)
        except (apsw.CorruptError, apsw.NotADBError, Damaged, KeyMissing) as error:
            self._settle_with(jobs, self._start_over(error))
        except apsw.ConnectionClosedError as error:
            self._settle_with(jobs, self._go_on(error))
        except apsw.Error as error:
            self._settle_with(jobs, connection_error(error))
        except BaseException as error:
            self._settle_with(jobs, error)

    def _settle_with(self, jobs: list[Job], error: BaseException) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)

    def _in_one_commit(self, jobs: list[Job]) -> None:
        file = self._file
        results: list[tuple[Job, object, SondeError | None]] = []
        try:
            file.begin()
            for job in jobs:
                try:
                    results.append((job, job.run(), None))
                except (Damaged, KeyMissing):
                    raise
                except SondeError as error:  # said before anything was changed: only this job fails
                    results.append((job, None, error))
            file.commit()
        except BaseException:
            self._undo(file)
            raise
        self.epoch = file.epoch
        self._measure()
        for job, result, failure in results:
            if failure is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(failure)

    def _one_by_one(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.future.set_result(job.run())

    def _undo(self, file: OutboxFile) -> None:
        try:
            file.rollback()
        except apsw.Error as error:
            _log.warning("outbox_rollback_failed", file=str(self._path), reason=str(error))

    def _start_over(self, error: Exception) -> SondeError:
        """Set the file aside while running, and go on with a new one."""
        self._file.connection.close(True)
        try:
            self._opening.set_aside(error)
        except OSError as worse:
            return Retry(f"{self._path} is damaged and cannot be set aside: {worse}")
        return self._go_on(error)

    def _go_on(self, error: Exception) -> SondeError:
        """Open what is there now, or a new file; if that fails, the next caller tries again."""
        old = self._file
        try:
            self._file = self._opening.open()
        except SondeError as worse:
            return worse
        except OSError as worse:
            return Retry(f"{self._path} is damaged and cannot be set aside: {worse}")
        self._file.take_over(old)
        self.epoch = self._file.epoch
        return Retry(f"the outbox file was opened anew after {error}")

    def _give_up(self, file: OutboxFile, row: Row, error: Damaged) -> None:
        def change() -> None:
            if self._file is file:
                file.give_up(row.lane, row.seq)
                self._opening.problem("outbox_entry_damaged", f"{error}; a tombstone with its readings takes its place")

        self._writer.do(change)

    def _replace(self, file: OutboxFile, error: KeyMissing) -> None:
        def change() -> None:
            if self._file is file:
                raise error

        try:
            self._writer.do(change)
        except Retry:
            return

    def _start_epoch(self, lane: int, seq: int) -> None:
        last = self._file.lanes[lane].seq - self._file.lanes[lane].base_seq
        if seq <= last:
            return
        self._file.new_epoch(secrets.token_hex(8))
        self._opening.problem(
            "outbox_older_than_sink",
            f"a sink has {tombstone.LANES[lane]} {seq} of this outbox, which gave out only {last}: it is an older copy; "
            "a new epoch starts",
        )

    def _put_back(self, *, only_asked: bool) -> int:
        file = self._file
        letters = file.letters(_LETTERS_AT_ONCE, only_asked=only_asked)
        for number, row in letters:
            try:
                content = self._reader.content(row)
            except (Damaged, KeyMissing) as error:
                file.keep_for_good(number)
                self._opening.problem("dead_letter_damaged", str(error))
            else:
                file.put_back(number, row, content)
        return len(letters)

    def _tick(self) -> None:
        """Dead letters that another program asked to send again."""
        version = self._file.connection.data_version()
        if version == self._file.data_version:
            return
        self._file.data_version = version
        job = Job(lambda: self._put_back(only_asked=True), change=True)
        while not job.future.done() or (job.future.exception() is None and job.future.result()):
            job = Job(lambda: self._put_back(only_asked=True), change=True)
            self._group([job])

    def _end(self) -> None:
        try:
            self._file.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            _log.info("outbox_checkpoint_skipped", file=str(self._path), reason=str(error))
        self._file.connection.close(True)
        self._lock.release()

    def _measure(self) -> None:
        for at in self._file.lanes.values():
            name = tombstone.LANES[at.lane]
            self._metrics.outbox_bytes.labels(name).set(at.bytes)
            self._metrics.outbox_entries.labels(name).set(at.entries)
        for lane, readings in self._file.dropped.items():
            self._metrics.outbox_dropped.labels(tombstone.LANES[lane]).inc(readings)
        now = self._clock.monotonic()
        if self._file.dropped and now >= self._say_full:
            self._say_full = now + _SAY_FULL
            _log.warning("outbox_full", file=str(self._path), limit_bytes=self._limit, dropped=self._file.dropped)


def _outgoing(file: OutboxFile, row: Row, content: bytes) -> Outgoing:
    at = file.lanes[row.lane]
    seq, until, digest = row.seq - at.base_seq, row.until - at.base_seq, row.digest
    if row.kind == EntryKind.TOMBSTONE and at.base_seq:
        content = tombstone.encode(until, row.readings, tombstone.reason_of(content))
        digest = tombstone.digest_of(content)
    return Outgoing(row.kind, seq, until, row.readings, row.total - at.base_count, digest, content)
