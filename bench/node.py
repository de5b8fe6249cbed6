"""What a node can do: commit to its outbox with power-loss safety, and drain it after an outage.

python -m bench.node outbox      readings a second committed, 100 a put; ratio to bare SQLite doing the same inserts
python -m bench.node drain       readings a second from a full outbox through HTTP until all are in an answer
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw

from bench.readings import METRICS, Readings
from bench.up import create_token, sonde, wait_until_stored
from sonde.entry import EntryKind, Lane
from sonde.keyring import KeyRing
from sonde.node.outbox.sqlite import SqliteOutbox
from sonde.node.uplink import Uplink
from sonde.reading import Batch, encode
from sonde.transport.uplink_wire import HttpWire

PUTTERS = 8


def contents(rows: int, each: int) -> list[bytes]:
    """Batches of ``each`` readings as a node encodes them."""
    readings = Readings(rows)
    device = [f"device-{d:03d}" for d in readings.device]
    metric = [METRICS[m] for m in readings.metric]
    times, values = readings.time.tolist(), readings.value.tolist()
    return [
        encode(
            Batch.build(
                device=device[i : i + each],
                metric=metric[i : i + each],
                time=times[i : i + each],
                value=values[i : i + each],
            )
        )
        for i in range(0, rows, each)
    ]


def fill(outbox: SqliteOutbox, lane: Lane, batches: list[bytes], each: int) -> float:
    """Put all batches, several threads at a time; seconds."""
    start = time.perf_counter()
    with ThreadPoolExecutor(PUTTERS) as pool:
        list(pool.map(lambda content: outbox.put(lane, EntryKind.READINGS, content, each), batches))
    return time.perf_counter() - start


def bare(path: Path, batches: list[bytes]) -> float:
    """The least that such a thing can cost: one insert a batch, eight a transaction, synced; seconds."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("create table entries (seq integer primary key, frame blob)")
    start = time.perf_counter()
    for first in range(0, len(batches), PUTTERS):
        with connection:
            connection.executemany(
                "insert into entries (frame) values (?)", [(b,) for b in batches[first : first + PUTTERS]]
            )
    return time.perf_counter() - start


def outbox_rate(rows: int, each: int, rounds: int) -> None:
    batches = contents(rows, each)
    ratios = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            outbox = SqliteOutbox(Path(directory) / "outbox.db", KeyRing.generate())
            own = fill(outbox, Lane.LIVE, batches, each)
            outbox.close()
            peer = bare(Path(directory) / "bare.db", batches)
        ratios.append(peer / own)
        print(
            f"outbox {rows / own:,.0f} readings/s   bare SQLite {rows / peer:,.0f}   ratio {peer / own:.2f}", flush=True
        )
    print(f"median ratio {sorted(ratios)[len(ratios) // 2]:.2f}")


def drain_rate(rows: int, each: int) -> None:
    batches = contents(rows, each)
    with tempfile.TemporaryDirectory() as name, sonde(Path(name)) as server:
        token = create_token(server.directory, "edge", "--scope", "ingest", "--node", "edge")
        outbox = SqliteOutbox(Path(name) / "outbox.db", KeyRing.generate())
        filled = fill(outbox, Lane.BACKLOG, batches, each)
        wire = HttpWire(f"http://127.0.0.1:{server.port}", token)
        uplink = Uplink(outbox, wire)
        start = time.perf_counter()
        uplink.start()
        until(lambda: not any(lane.entries for lane in outbox.waiting()))
        drained = time.perf_counter() - start
        wait_until_stored(server, rows)
        stored = time.perf_counter() - start
        uplink.stop(10)
        outbox.close()
        wire.close()
    print(
        f"filled at {rows / filled:,.0f} readings/s, drained at {rows / drained:,.0f}, all in an answer at "
        f"{rows / stored:,.0f} ({each} a batch)"
    )


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["outbox", "drain"])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.what == "outbox":
        outbox_rate(options.rows, options.each, options.rounds)
    else:
        drain_rate(options.rows, options.each)


if __name__ == "__main__":
    main()
