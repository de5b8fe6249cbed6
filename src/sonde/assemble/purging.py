"""Purges from the command line: over the server that runs on a data directory, or on the directory itself when none does."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

import msgspec

from sonde.access import Access
from sonde.assemble.acts import note_local
from sonde.assemble.embedded.truth import open_truth
from sonde.assemble.keys.rings import check_ring, log_ring
from sonde.assemble.remote import Remote
from sonde.clock import SystemClock
from sonde.config import Settings
from sonde.control.sqlite import SqliteControl
from sonde.directory import DataDirectory
from sonde.errors import Hold
from sonde.frame import Codec, Opener
from sonde.metrics import Metrics
from sonde.moment import format_time
from sonde.process.rebuild import rebuild
from sonde.question import Purgeable
from sonde.removal import PurgeOrder
from sonde.sink.sink import Sink
from sonde.store.identities import SqliteIdentities

_JSON: Final = "application/json"


class Matching(msgspec.Struct, frozen=True):
    """How much an order is about."""

    readings: int
    devices: int


def purge_over(remote: Remote, order: PurgeOrder, *, dry_run: bool) -> Matching:
    """Have a server do it, or only count."""
    body: dict[str, object] = {"note": order.note, "dry_run": dry_run}
    body |= {name: text for name, text in (("device", order.device), ("metric", order.metric)) if text is not None}
    if order.before is not None:
        body["before"] = format_time(order.before)
    return msgspec.json.decode(remote.post("/purges", msgspec.json.encode(body), _JSON), type=Matching)


class Stopped:
    """A data directory that no server runs on, opened for purges; ``close`` when done.

    What the log holds and the store does not is stored first. :class:`InUse` while a server runs.
    """

    def __init__(self, directory: DataDirectory, settings: Settings) -> None:
        self._directory = directory
        metrics, clock = Metrics(), SystemClock()
        with ExitStack() as undo:
            undo.callback(directory.lock().release)
            ring = log_ring(directory, settings)
            truth = open_truth(directory, settings, metrics)
            undo.callback(truth.log.close)
            if truth.store is not None:
                undo.callback(truth.store.close)
            if truth.need is not None or truth.store is None:
                what = truth.need.sentence if truth.need else "there is no store"
                raise Hold(f"the store has to be made again first: {what}", hint="sonde rebuild does it")
            check_ring(ring, truth.log, directory.keys)
            self._store, self._log = truth.store, truth.log
            self._identities = SqliteIdentities(directory.store / "identities.db")
            undo.callback(self._identities.close)
            control = SqliteControl(directory.control)
            undo.callback(control.close)
            access = Access(control, clock)
            self._sink = Sink(truth.log, ring, Codec.named(settings.log.codec), access, clock=clock, metrics=metrics)
            undo.callback(self._sink.close)
            self._opener = Opener(ring)
            self._catch_up()
            self._undo = undo.pop_all()

    def count(self, order: PurgeOrder) -> Matching:
        """How much an order is about."""
        row: Mapping[str, int] = self._store.ask(Purgeable(order)).rows.to_pylist()[0]
        return Matching(row["readings"], row["devices"])

    def purge(self, order: PurgeOrder) -> None:
        """Do it, to the end: what was purged is in no table and no part afterwards."""
        detail = {"note": order.note, "before": "" if order.before is None else format_time(order.before)}
        given = {name: text for name, text in detail.items() if text}
        note_local(self._directory, None, "purge", order.text, readings=str(order.readings), **given)
        self._sink.record_now([order.entry(order.who)])
        self._catch_up()
        while self._store.maintain():
            pass

    def close(self) -> None:
        self._undo.close()

    def _catch_up(self) -> None:
        rebuild(self._log, self._store, self._identities, self._opener, lambda done, end: None)
