"""``sonde log import``: the line log of an older sink, taken into the log of this installation."""

import asyncio
import hashlib
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from cryptography.fernet import Fernet

from sonde.access import Access
from sonde.assemble.acts import note_local
from sonde.assemble.embedded.reserve import ReservingLog
from sonde.assemble.embedded.truth import open_truth
from sonde.assemble.keys.rings import check_ring, log_ring
from sonde.assemble.log.line_log import (
    Bad,
    Done,
    Line,
    Opened,
    check_key,
    digest_of,
    line_at,
    lines,
    read_done,
    record_of,
    together,
    write_done,
)
from sonde.assemble.replay import local_sink, open_wire
from sonde.assemble.server import find_running
from sonde.clock import SystemClock
from sonde.config import Settings
from sonde.control.sqlite import SqliteControl
from sonde.directory import DataDirectory
from sonde.entry import EntryKind, Lane
from sonde.errors import Hold, NotFound, Retry
from sonde.frame import Codec
from sonde.metrics import Metrics
from sonde.ports import Credential, Outgoing, StreamId, Wire
from sonde.reading import Batch, encode
from sonde.sink.sink import Sink
from sonde.transport.memory import MemoryWire

NODE: Final = "import"
_AT_ONCE: Final = 5_000  # readings
_PATIENCE: Final = 300.0  # seconds for a sink that is busy
_WHO: Final = Credential(NODE, NODE, frozenset({"ingest"}), node=NODE)
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Imported:
    """What came of it: lines and readings taken in now, lines that had been taken in before, and lines that could not be."""

    lines: int = 0
    readings: int = 0
    before: int = 0
    bad: list[Bad] = field(default_factory=list)


def import_lines(
    directory: DataDirectory, settings: Settings, path: Path, keys: Mapping[str, bytes], progress: Progress
) -> Imported:
    """Take in every line of ``path`` that was not taken in before. A server may be running or not. :class:`Hold` if the key
    opens none of the first lines, :class:`NotFound`. What was interrupted goes on."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    opened = Opened([Fernet(urlsafe_b64encode(key)) for key in keys.values()])
    check_key(path, opened)
    folder = directory.path / NODE
    folder.mkdir(mode=0o700, exist_ok=True)
    record = record_of(folder, path)
    done = read_done(record, path)
    made = Imported(before=done.taken)
    with _wire(directory, settings) as wire:
        note_local(directory, settings, "log.import", path.name, from_byte=str(done.bytes))
        _Import(path, record, done, opened, _Stream(wire), made, progress).run()
    return made


class _Stream:
    """A stream of its own for each run: which readings came before is known by their ``event_id``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._id = StreamId(secrets.token_hex(8), Lane.BACKLOG)
        self._seq = self._count = 0

    def send(self, batch: Batch) -> None:
        """Returns when it is durable. :class:`Retry` when the sink stays busy for minutes."""
        content = encode(batch)
        seq, count = self._seq + 1, self._count + len(batch)
        digest = hashlib.sha256(content).digest()[:16]
        entry = Outgoing(EntryKind.READINGS, seq, seq, len(batch), count, digest, content)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._wire.send(self._id, self._seq, [entry])
                break
            except Retry as error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(min(error.after or 0.5, 5.0))
        self._seq, self._count = seq, count


@dataclass(slots=True)
class _Import:
    path: Path
    record: Path
    done: Done
    opened: Opened
    stream: _Stream
    made: Imported
    progress: Progress

    def run(self) -> None:
        self._again()
        digest = digest_of(self.path, self.done.bytes)
        place, size = self.done.bytes, self.path.stat().st_size
        for group, end in self._groups(lines(self.path, self.done.bytes, self.done.lines + 1)):
            with self.path.open("rb") as file:
                file.seek(place)
                while place < end:
                    block = file.read(min(1 << 20, end - place))
                    digest.update(block)
                    place += len(block)
            bad = [*self.done.bad, *((b.number, b.start) for b in group.bad)]
            self._take(group)
            self.done = Done(end, group.last, self.done.taken + group.lines, digest.hexdigest(), bad)
            write_done(self.record, self.done)
            self.progress(end, size)

    def _again(self) -> None:
        """What could not be taken in last time, with other keys perhaps."""
        if not self.done.bad:
            return
        group = _Group()
        for number, start in self.done.bad:
            line = line_at(self.path, number, start)
            if line is not None:
                group.add(self.opened, line)
        self._take(group)
        bad = [(bad.number, bad.start) for bad in group.bad]
        self.done = msgspec.structs.replace(self.done, taken=self.done.taken + group.lines, bad=bad)
        write_done(self.record, self.done)

    def _groups(self, found: Iterable[Line]) -> "Iterator[tuple[_Group, int]]":
        """Lines that are sent together, and the byte after the last of them."""
        group, end = _Group(), self.done.bytes
        for line in found:
            group.add(self.opened, line)
            if not line.ended and group.bad and group.bad[-1].number == line.number:
                group.unfinished(line)
                break
            end = line.end
            if group.readings >= _AT_ONCE:
                yield group, end
                group = _Group()
        if group.last or group.torn:
            yield group, end

    def _take(self, group: "_Group") -> None:
        if group.batches:
            self.stream.send(together(group.batches))
        self.made.lines += group.lines
        self.made.readings += group.readings
        self.made.bad += group.bad
        if group.torn is not None:
            self.made.bad.append(group.torn)


@dataclass(slots=True)
class _Group:
    batches: list[Batch] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    lines: int = 0
    readings: int = 0
    last: int = 0
    torn: Bad | None = None

    def add(self, opened: Opened, line: Line) -> None:
        try:
            batch = opened.readings(line)
        except ValueError as error:
            self.bad.append(Bad(line.number, line.start, str(error)))
        else:
            self.batches.append(batch)
            self.lines += 1
            self.readings += len(batch)
        self.last = line.number

    def unfinished(self, line: Line) -> None:
        """The last line of the file has no end, and cannot be opened: it may be whole the next time."""
        self.bad.pop()
        self.torn = Bad(line.number, line.start, "the file ends in the middle of it")
        self.last = line.number - 1


@contextmanager
def _wire(directory: DataDirectory, settings: Settings) -> Iterator[Wire]:
    """The way into the log: through the server if one runs, else straight."""
    if find_running(directory) is not None or settings.topic is not None:
        with local_sink(directory, settings, NODE) as sink:
            wire = open_wire(sink)
            try:
                yield wire
            finally:
                wire.close()
        return
    with ExitStack() as stack:
        lock = directory.lock()
        stack.callback(lock.release)
        yield MemoryWire(*_sink_of(directory, settings, stack))


def _sink_of(
    directory: DataDirectory, settings: Settings, stack: ExitStack
) -> tuple[Sink, Credential, asyncio.AbstractEventLoop]:
    """A sink in front of the log, without a server."""
    clock, metrics = SystemClock(), Metrics()
    ring = log_ring(directory, settings)
    truth = open_truth(directory, settings, metrics)
    stack.callback(truth.log.close)
    if truth.store is not None:
        truth.store.close()
    check_ring(ring, truth.log, directory.keys)
    control = SqliteControl(directory.control)
    stack.callback(control.close)
    log = ReservingLog(truth.log, directory.path, settings.log.reserve)
    if log.problem:
        raise Hold(log.problem, hint="Free some space")
    sink = Sink(log, ring, Codec.named(settings.log.codec), Access(control, clock), clock=clock, metrics=metrics)
    stack.callback(sink.close)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="import", daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    stack.callback(stop)
    return sink, _WHO, loop
