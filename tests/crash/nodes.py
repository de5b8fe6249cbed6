"""Nodes: the real program beside a sensor that counts, and one made by hand that may lie."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonde.entry import EntryKind, Lane
from sonde.ports import Outgoing, StreamId
from sonde.reading import Batch, encode
from sonde.transport.uplink_wire import CONTENT_ENCODING, CONTENT_TYPE, LENGTH, pack
from tests.crash.bounds import MEGABYTE, Bounds, highest_memory
from tests.crash.road import START_TIME, Stored, Up, create_token, wait_for
from tests.crash.test_crash_up import NODE_CONFIG, SENSOR, drain, start_node

OUTBOX = 4 << 20
QUICK = f"[node]\ninitial_delay = 100ms\nmax_delay = 500ms\noutbox = {OUTBOX}\n"
BOUNDS = Bounds(memory=160 * MEGABYTE, files=OUTBOX + 6 * MEGABYTE, said=64 << 10)
"""Besides what waits, an outbox has what it has not given back yet, and a write-ahead log that SQLite lets grow to 4 MB."""
ROWS = 10


@contextlib.contextmanager
def counting_node(folder: Path, up: Up, port: int) -> Iterator[str]:
    """A node whose sensor counts, and which sends to ``port``; its token."""
    token = create_token(up.data, "edge", "--scope", "ingest", "--node", "edge")
    with counting(folder, up, port, token):
        yield token


@contextlib.contextmanager
def counting(folder: Path, up: Stored, port: int, token: str) -> Iterator[None]:
    """The same with a token that is there. At the end it is stopped, and drained, and has kept within its bounds (I6)."""
    (folder / "counting.py").write_text(SENSOR)
    (folder / "node.ini").write_text(NODE_CONFIG.replace("[node]\n", QUICK).format(port=port))
    node = start_node(folder, token)
    try:
        yield
        BOUNDS.check("the node", highest_memory(node.pid), folder / "edge", folder / "node.log")
        node.terminate()
        assert node.wait(15) == 0
    finally:
        node.kill()
        node.wait()
    drain(folder, token, up)


def stored_of(up: Up, source: str) -> dict[str, int]:
    """The lines of the ledger of one source, added up."""
    lines = up.get("/ledger")
    rows = lines if isinstance(lines, list) else lines["ledger"]
    columns = ("sent", "stored", "duplicate", "refused", "set_aside", "lost", "missing")
    return {column: sum(row[column] for row in rows if row["source"] == source) for column in columns}


@dataclass
class HandMadeNode:
    """Speaks the node's wire itself. Entry ``seq`` has :data:`ROWS` readings of ``device``, with values that follow from
    ``seq`` and ``offset``."""

    up: Up
    token: str
    device: str
    epoch: str = "0123456789abcdef"
    offset: int = 0
    skipped: int = 0  # readings that the stream counts before its entries, besides theirs

    def entry(self, seq: int) -> Outgoing:
        values = [float(self.offset + seq * ROWS + i) for i in range(ROWS)]
        times = [START_TIME + (seq % 1000) * ROWS + i for i in range(ROWS)]
        content = encode(Batch.build(device=self.device, metric="m", time=times, value=values))
        digest = hashlib.sha256(content).digest()[:16]
        return Outgoing(EntryKind.READINGS, seq, seq, ROWS, self.skipped + seq * ROWS, digest, content)

    def send(self, first: int, last: int, *, confirmed: int | None = None, lane: int = Lane.LIVE) -> tuple[int, Any]:
        """Entries ``first`` to ``last``; status and answer. ``confirmed`` is up to where it claims to hold receipts."""
        claimed = first - 1 if confirmed is None else confirmed
        body, length = pack(StreamId(self.epoch, lane), claimed, [self.entry(seq) for seq in range(first, last + 1)])
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": CONTENT_TYPE,
            "Content-Encoding": CONTENT_ENCODING,
            LENGTH: str(length),
        }
        status, answer = self.up.request("POST", "/uplink", body, headers)
        return status, json.loads(answer)

    def stored(self) -> list[int]:
        rows = self.up.sql(f"select cast(value as bigint) from readings where device = '{self.device}' order by 1")
        return [row[0] for row in rows]

    def values(self, first: int, last: int) -> list[int]:
        return [self.offset + n for n in range(first * ROWS, (last + 1) * ROWS)]


def wait_until_stored(up: Up, source: str, readings: int) -> None:
    wait_for(lambda: stored_of(up, source)["sent"] >= readings, f"{readings} readings of {source} in the ledger")
    up.wait_until_all_is_stored()
