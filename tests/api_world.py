"""A small world whose every number is known, in a real store, and the api over it on a real socket."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import uvicorn
from fastapi import FastAPI

from sonde.access import Access
from sonde.api.app import create_app
from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.parts import Parts
from sonde.changes import LATEST, READINGS, Alert, Changes, Definition, LedgerLine, Mark, Progress, Series
from sonde.clock import SECOND, Micros, SystemClock
from sonde.control.audit import MemoryAuditTrail
from sonde.control.memory import MemoryControl
from sonde.control.notices import MemoryNotices
from sonde.entry import Body, Entry, Lane
from sonde.errors import SondeError
from sonde.frame import Opener, Sealer, read_header
from sonde.keyring import KeyRing
from sonde.log.memory import MemoryLog
from sonde.metrics import Metrics
from sonde.ports import Credential, Notices, Store
from sonde.process.folding import Folding
from sonde.process.gather import Opened
from sonde.profile import Command, Metric, Parameter, Profile
from sonde.reading import TIME, Kind, Quality
from sonde.status import Status
from sonde.store.duckdb import DuckStore
from sonde.testing.notices_contract import notice
from sonde.testing.plain_store import PlainIdentities
from sonde.token import Token
from sonde.window import fold

NOW: Micros = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
MINUTE = 60 * SECOND
LOG = "world"
ROOMS = (("Site-01", "Zone-01"), ("Site-01", "Zone-02"), ("Site-02", "Zone-01"))
CO2 = {room: 500.0 + 100 * number for number, room in enumerate(ROOMS)}
ODD = "=cmd|' /C calc'!A0"
READINGS_A_SERIES = 120


class StoppedClock(SystemClock):
    """Always the same moment; waiting goes on as usual."""

    def now(self) -> Micros:
        return NOW


def _rooms() -> Iterator[tuple[Series, list[float]]]:
    number = 0
    for site, zone in ROOMS:
        occupied = [float(minute >= 60) for minute in range(READINGS_A_SERIES)]
        values = {"co2": [CO2[site, zone]] * READINGS_A_SERIES, "temperature": [21.0] * READINGS_A_SERIES}
        for metric, column in {**values, "occupancy": occupied}.items():
            yield Series(number, f"{site}/{zone}/room", metric, site, zone, "{}"), column
            number += 1


ODDITIES: list[tuple[Series, Kind, float | None, str | None, Quality]] = [
    (Series(9, ODD, "text", "", "", "{}"), Kind.TEXT, None, 'a "quoted" ü\n', Quality.GOOD),
    (Series(10, ODD, "json", "", "", "{}"), Kind.JSON, None, '{"a":[1,null]}', Quality.GOOD),
    (Series(11, ODD, "flag", "", "", "{}"), Kind.BOOLEAN, 1.0, None, Quality.GOOD),
    (Series(12, ODD, "big", "", "", "{}"), Kind.INTEGER, float(2**63 - 1), str(2**63 - 1), Quality.GOOD),
    (Series(13, ODD, "count", "", "", "{}"), Kind.INTEGER, -3.0, None, Quality.GOOD),
    (Series(14, ODD, "failed", "", "", "{}"), Kind.NONE, None, None, Quality.FAILED),
    (Series(15, ODD, "tiny", "", "", "{}"), Kind.NUMBER, 5e-324, None, Quality.GOOD),
    (Series(16, "host", "cpu", "", "", '{"core":"0"}'), Kind.NUMBER, 12.5, None, Quality.GOOD),
    (Series(17, "host", "cpu", "", "", '{"core":"1"}'), Kind.NUMBER, 13.5, None, Quality.GOOD),
]
ALL_READINGS = len(ROOMS) * 3 * READINGS_A_SERIES + len(ODDITIES)

PROFILE = Profile(
    device="Site-01/Zone-01/room",
    metrics={"co2": Metric(unit="ppm", min=0, max=5000, description="Carbon dioxide")},
    commands={
        "set_update_interval": Command({"interval": Parameter("float", required=True, min=0.1, max=60)}, "How often"),
        "get_status": Command(),
    },
)


def _readings() -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in READINGS.names}
    times = [NOW - (READINGS_A_SERIES - minute) * MINUTE for minute in range(READINGS_A_SERIES)]
    rows: list[tuple[int, int, int, float | None, str | None, int]] = [
        (series.id, when, Kind.NUMBER, value, None, Quality.GOOD)
        for series, values in _rooms()
        for when, value in zip(times, values, strict=True)
    ]
    rows += [(s.id, NOW - 20 * MINUTE, kind, value, text, quality) for s, kind, value, text, quality in ODDITIES]
    for row in rows:
        for name, value in zip(READINGS.names, row, strict=True):
            columns[name].append(value)
    columns["time"] = pa.array(columns["time"], pa.int64()).cast(TIME)
    return pa.table(columns, READINGS)


def _latest(readings: pa.Table) -> pa.Table:
    series = readings["series"].to_numpy()
    last = readings.take(np.flatnonzero(np.append(series[1:] != series[:-1], True)))
    return last.append_column(LATEST.field("arrived"), pa.array([NOW] * len(last), pa.int64()).cast(TIME))


def _windows(readings: pa.Table) -> pa.Table:
    numbers = readings.filter(pa.compute.equal(readings["kind"], int(Kind.NUMBER)))
    times = numbers["time"].cast(pa.int64()).to_numpy()
    return fold(numbers["series"].to_numpy(), times, numbers["value"].to_numpy(), (300, 900))


def _alert(name: str, state: str, severity: str, since: Micros, series: int = 0) -> Alert:
    resolved = NOW if state == "resolved" else None
    return Alert(
        name,
        "co2-high",
        series,
        "above",
        severity,
        state,
        1000.0,
        since,
        1200.0,
        1300.0,
        since,
        resolved,
        False,
        "CO₂ high",
    )


def filled_store(path: Path) -> DuckStore:
    """The world, in a new folder ``path``."""
    store = DuckStore(path, LOG, clock=StoppedClock())
    fill(store)
    return store


def fill(store: Store) -> None:
    """Put the world into an empty store, which follows the log :data:`LOG`."""
    readings = _readings()
    changes = Changes(
        expected=0,
        progress=Progress(LOG, 0, 7, NOW),
        series=[*(series for series, _ in _rooms()), *(odd[0] for odd in ODDITIES)],
        readings=readings,
        windows=_windows(readings),
        latest=_latest(readings),
        alerts=[
            _alert("alert-1", "resolved", "warning", NOW - 90 * MINUTE),
            _alert("alert-2", "firing", "critical", NOW - 30 * MINUTE),
            _alert("alert-3", "pending", "warning", NOW - MINUTE, series=3),
        ],
        ledger=[
            LedgerLine("", Lane.DIRECT, declared=9, stored=9, duplicate=2),
            LedgerLine("node-1", Lane.LIVE, declared=1_100, stored=1_080, refused=5, set_aside=3, lost=10),
        ],
        marks=[Mark(0, 3, 0, "node-1", Lane.LIVE, "e1", "lost", 8, 9, 10, NOW - MINUTE, "the outbox was full")],
        definitions=[
            Definition("profile", PROFILE.device, msgspec.to_builtins(PROFILE), NOW - MINUTE, source="node-1")
        ],
    )
    store.commit(changes)


class StoringJournal:
    """Port ``Journal``: what is recorded is in the store at once, as if a processor were between, and in ``log``."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self.ring, self.log = KeyRing.generate("key-1"), MemoryLog()
        self.log.id = LOG
        self._sealer, self._lock = Sealer(self.ring), threading.Lock()

    async def record(self, entries: Sequence[Entry], partition: int | None = None) -> Mapping[int, int]:
        with self._lock:
            store = self._store()
            folding = Folding(store.load(), PlainIdentities(), LOG, 0)
            offset, time = folding.progress.offset, folding.progress.log_time + SECOND
            body = Body(entries)
            frame = self._sealer.seal(body, time)
            store.commit(folding.fold([Opened(offset, read_header(frame), body)]))
            self.fill_up_to(offset)
            self.log.append(0, [frame])
            return {0: offset}

    def fill_up_to(self, offset: int) -> None:
        """Frames that say nothing in place of those that the store has had already."""
        missing = offset - self.log.ends()[0][1]
        if missing > 0:
            self.log.append(0, [self._sealer.seal(Body(()), 1)] * missing)


@dataclass
class House:
    """The api and the keys to it."""

    app: FastAPI
    access: Access
    metrics: Metrics
    audit: MemoryAuditTrail
    tokens: dict[str, str]

    def link(self) -> str:
        """The secret of a new sign-in link."""
        return self.access.make_link("admin")


def build(
    store: Callable[[], Store],
    *,
    anonymous: frozenset[str] = frozenset(),
    status: Callable[[], Status] = lambda: Status(NOW, connections=3),
    **options: Any,
) -> House:
    """The api over a store, with a token for each scope."""
    control, metrics, clock = MemoryControl(), Metrics(), StoppedClock()
    tokens = {}
    for scope in ("ingest", "read", "command", "admin"):
        token = Token.make()
        tokens[scope] = token.text
        control.create_token(Credential(scope, scope, frozenset({scope})), token.digest)
    access = Access(control, clock, anonymous=anonymous, metrics=metrics)
    settings = {"api": {"port": 8000, "token": "***"}}
    audit, journal = MemoryAuditTrail(), StoringJournal(store)
    app = create_app(
        *(store, access, audit, journal, _notices()),
        **{"status": status, "settings": lambda: settings, "metrics": metrics, "clock": clock, **options},
    )
    return House(app, access, metrics, audit, tokens)


def _notices() -> Notices:
    """One that was sent, and one that waits."""
    notices = MemoryNotices()
    news = {"event": "fired", "alert_id": "alert-2"}
    sent = notice(1, made=NOW - MINUTE, due=NOW - MINUTE, news=news, fate="sent", tries=1, settled=NOW)
    notices.add("webhook.ops", LOG, {0: 7}, [sent, notice(2, made=NOW, due=NOW, news=news)])
    return notices


def no_store() -> Store:
    """For questions that no store must be asked for."""
    raise RuntimeError("the store was asked")


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of ``app`` on a loopback port, while the block lasts."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with _dispatching(app, server):
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def _dispatching(app: FastAPI, server: uvicorn.Server) -> Iterator[None]:
    """A server that takes commands, if it has a store."""
    parts: Parts = app.state.parts
    journal = cast(StoringJournal, parts.journal)
    store = parts.desk.current
    try:
        journal.fill_up_to(store().load().progress[0].offset)
    except (SondeError, RuntimeError, IndexError, AttributeError):
        yield
        return
    dispatcher = Dispatcher(
        journal.log, Opener(journal.ring), store, journal, parts.audit, clock=parts.clock, metrics=parts.metrics
    )
    app.state.parts = replace(parts, dispatcher=dispatcher)
    dispatcher.start(server.servers[0].get_loop())
    try:
        yield
    finally:
        dispatcher.stop(5)


@contextlib.contextmanager
def client_of(house: House, scope: str | None = "admin") -> Iterator[httpx.Client]:
    """A client of a served house, with the token of ``scope``."""
    headers = {"Authorization": f"Bearer {house.tokens[scope]}"} if scope else {}
    with served(house.app) as address, httpx.Client(base_url=address, headers=headers, timeout=20) as client:
        yield client
