"""Replays: what a file says comes out as it stands there, at the times it says, once."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from sonde.clock import SECOND, SystemClock
from sonde.entry import Lane
from sonde.errors import Hold, Reject, Retry
from sonde.keyring import KeyRing
from sonde.moment import parse_time
from sonde.node.outbox import SqliteOutbox
from sonde.node.replay_run import Progress, Summary, replay
from sonde.node.sensors.replay import CHUNK_ROWS, ReplayOptions, ReplaySensor, ReplaySource
from sonde.node.sensors.replay_time import Times
from sonde.ports import EndOfReadings, Outgoing, StreamId
from sonde.reading import Kind, Quality, Reading, decode

OFFICE = Path(__file__).parents[2] / "examples" / "occupancy" / "office.csv"
WHOLE = Path(__file__).parents[3] / "shared" / "data" / "occupancy"
BRUSSELS = ReplayOptions(timezone="Europe/Brussels")


def readings_of(source: ReplaySource) -> list[Reading]:
    return [r for chunk in source.chunks() for r in chunk.batch.readings()]


def file_of(tmp_path: Path, text: str, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def source_of(tmp_path: Path, text: str, **options: object) -> ReplaySource:
    return ReplaySource([file_of(tmp_path, text)], ReplayOptions(**({"timezone": "UTC"} | options)))  # type: ignore[arg-type]


class Keeping:
    """A wire to a sink that keeps what comes, by seq."""

    def __init__(self, *, at_most: int = 1 << 30) -> None:
        self.kept: dict[int, Outgoing] = {}
        self.duplicates = 0
        self.at_most = at_most
        self.epochs: set[str] = set()

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        assert stream.lane == Lane.BACKLOG
        self.epochs.add(stream.epoch)
        for entry in entries:
            if len(self.kept) >= self.at_most:
                raise Retry("enough for now")
            if entry.seq in self.kept:
                self.duplicates += 1
                assert self.kept[entry.seq] == entry, "the same seq with another content"
            self.kept[entry.seq] = entry
        return entries[-1].until

    def close(self) -> None:
        pass

    def readings(self) -> list[Reading]:
        return [r for seq in sorted(self.kept) for r in decode(self.kept[seq].content).readings()]


def send(
    source: ReplaySource,
    path: Path,
    wire: Keeping,
    ring: KeyRing,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    outbox = SqliteOutbox(path, ring, epoch=source.epoch)
    try:
        return replay(source, outbox, wire, stop=stop, on_progress=on_progress)
    finally:
        outbox.close()


def test_the_office_comes_out_as_it_stands_in_the_file() -> None:
    source = ReplaySource([OFFICE], BRUSSELS)
    readings = readings_of(source)
    assert source.rows == 600
    assert len(readings) == 3600
    metrics = {r.metric for r in readings}
    assert metrics == {"Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy"}
    first = {r.metric: r for r in readings if r.time == parse_time("2015-02-04T17:51:00+01:00")}
    assert {m: r.value for m, r in first.items()} == {
        "Temperature": 23.18,
        "Humidity": 27.272,
        "Light": 426.0,
        "CO2": 721.25,
        "HumidityRatio": 0.00479298817650529,
        "Occupancy": 1,
    }
    assert type(first["Occupancy"].value) is int
    assert type(first["Light"].value) is float
    assert {r.device for r in readings} == {"office"}
    by_metric = [r.time for r in readings if r.metric == "CO2"]
    assert by_metric == sorted(by_metric)
    assert by_metric[1] - by_metric[0] == 59 * SECOND


def test_the_whole_data_set_goes_in_whole() -> None:
    """With the full files where they are, with the example everywhere."""
    files = sorted(WHOLE.glob("*.txt")) or [OFFICE]
    source = ReplaySource(files, BRUSSELS)
    readings = readings_of(source)
    assert source.rows == (20_560 if len(files) == 3 else 600)
    assert len(readings) == 6 * source.rows
    times = [r.time for r in readings if r.metric == "Occupancy"]
    assert times == sorted(times), "files in the order of their times, whatever they are called"
    if len(files) == 3:
        assert sum(int(str(r.value)) for r in readings if r.metric == "Occupancy") == 972 + 1729 + 2049
        assert times[0] == parse_time("2015-02-02T14:19:00+01:00")
        assert times[-1] == parse_time("2015-02-18T09:19:00+01:00")
        assert max(r.value for r in readings if r.metric == "CO2") == 2076.5  # type: ignore[type-var]


def test_mistake_07_local_time_is_not_taken_for_utc(tmp_path: Path) -> None:
    with pytest.raises(Hold, match="timezone"):
        readings_of(ReplaySource([OFFICE], ReplayOptions()))
    [reading] = readings_of(source_of(tmp_path, "time,a\n2026-07-01 12:00:00,1\n", timezone="Europe/Brussels"))
    assert reading.time == parse_time("2026-07-01T10:00:00Z")


def test_an_hour_that_comes_twice_is_told_apart(tmp_path: Path) -> None:
    start = datetime(2025, 10, 26, 0, 30, tzinfo=UTC) - timedelta(hours=1)
    moments = [start + timedelta(minutes=7 * i) for i in range(40)]
    zone = ZoneInfo("Europe/Brussels")
    lines = [f"{m.astimezone(zone):%Y-%m-%d %H:%M:%S},{i}" for i, m in enumerate(moments)]
    readings = readings_of(source_of(tmp_path, "\n".join(["time,a", *lines]), timezone="Europe/Brussels"))
    assert [r.time for r in readings] == [int(m.timestamp()) * SECOND for m in moments]


def test_an_hour_that_comes_twice_is_told_apart_across_pieces() -> None:
    zone = ZoneInfo("America/New_York")
    start = datetime(2025, 11, 2, 4, 0, tzinfo=UTC)
    moments = [start + timedelta(minutes=3 * i) for i in range(100)]
    times = Times("x", "America/New_York")
    found: list[int] = []
    for at in range(0, 100, 7):
        texts = [f"{m.astimezone(zone):%Y-%m-%dT%H:%M:%S}" for m in moments[at : at + 7]]
        found += times.moments(pa.array(texts), at).tolist()
    assert found == [int(m.timestamp()) * SECOND for m in moments]


def test_an_hour_that_does_not_exist_is_not_an_error(tmp_path: Path) -> None:
    text = "time,a\n2026-03-29 01:59:00,1\n2026-03-29 02:30:00,2\n2026-03-29 03:31:00,3\n"
    times = [r.time for r in readings_of(source_of(tmp_path, text, timezone="Europe/Brussels"))]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.123456+02:00", "2026-01-02T01:04:05.123456Z"),
        ("2026-01-02 03:04:05", "2026-01-02T03:04:05Z"),
        (" 2026-01-02 03:04:05 ", "2026-01-02T03:04:05Z"),
        ("2026-01-02", "2026-01-02T00:00:00Z"),
        ("1767323045", "2026-01-02T03:04:05Z"),
        ("1767323045.5", "2026-01-02T03:04:05.5Z"),
        ("1767323045123", "2026-01-02T03:04:05.123Z"),
        ("1767323045123456", "2026-01-02T03:04:05.123456Z"),
        ("1767323045123456000", "2026-01-02T03:04:05.123456Z"),
    ],
)
def test_times_in_many_forms(tmp_path: Path, text: str, moment: str) -> None:
    [reading] = readings_of(source_of(tmp_path, f"ts,a\n{text},1\n"))
    assert abs(reading.time - parse_time(moment)) <= (1 if len(text) < 19 else 256)


def test_a_pattern_reads_any_other_form(tmp_path: Path) -> None:
    text = "when,a\n04/02/2015 17h51,1\n"
    [reading] = readings_of(source_of(tmp_path, text, time_column="when", time_format="%d/%m/%Y %Hh%M"))
    assert reading.time == parse_time("2015-02-04T17:51:00Z")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("time,a\nyesterday,1\n", "row 1"),
        ("time,a\n2026-01-01T00:00:00Z,1\n2026-13-01T00:00:00Z,1\n", "row 2"),
        ("time,a\n2026-01-01T00:00:00Z,1\n,1\n", "row 2"),
        ("time,a\n1850-01-01T00:00:00Z,1\n", "1970"),
        ("x,a\n1,1\n", "time"),
        ("", "header"),
        ("time,a,a\n1,1,1\n", "'a'"),
        ("time,a\n", "no rows"),
        ("time,a\n2026-01-01T00:00:00Z,1,2,3\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_replayed_says_why(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(Hold, match=hint):
        readings_of(source_of(tmp_path, text))


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Hold, match="no file"):
        ReplaySource([tmp_path / "gone.csv"], ReplayOptions())
    with pytest.raises(Hold, match="time zone"):
        readings_of(source_of(tmp_path, "time,a\n2026-01-01 00:00:00,1\n", timezone="Mars/Olympus"))
    with pytest.raises(Hold, match="column 'b'"):
        readings_of(source_of(tmp_path, "time,a\n2026-01-01 00:00:00,1\n", metrics=("b",)))


def test_a_column_has_one_type_from_its_first_row_to_its_last(tmp_path: Path) -> None:
    rows = [f"{1_700_000_000 + i},{i},{i},{i % 2 == 0},{i}" for i in range(30_000)]
    rows[-1] = "1700030000,2.5,7,false,high"
    readings = readings_of(source_of(tmp_path, "\n".join(["time,mixed,whole,flag,text", *rows])))
    kinds = {
        metric: {type(r.value) for r in readings if r.metric == metric} for metric in ("mixed", "whole", "flag", "text")
    }
    assert kinds == {"mixed": {float}, "whole": {int}, "flag": {bool}, "text": {str}}


def test_blanks_are_no_readings_and_are_counted(tmp_path: Path) -> None:
    text = "time,a,b,c\n1700000000,1,,x\n1700000001,NaN,2,\n1700000002,inf,n/a,\n"
    source = source_of(tmp_path, text)
    assert [(r.metric, r.value) for r in readings_of(source)] == [("a", 1.0), ("b", 2), ("c", "x")]
    assert sum(chunk.blank for chunk in source.chunks()) == 6
    assert {r.quality for r in readings_of(source)} == {Quality.GOOD}


def test_large_integers_are_exact(tmp_path: Path) -> None:
    text = f"time,a\n1700000000,{2**63 - 1}\n1700000001,{-(2**63)}\n1700000002,5\n"
    assert [r.value for r in readings_of(source_of(tmp_path, text))] == [2**63 - 1, -(2**63), 5]


def test_names_come_from_the_options_the_file_or_the_files_name(tmp_path: Path) -> None:
    text = "time,device,site,zone,t\n1700000000,d1,s1,z1,5\n1700000001,d2,s1,z2,6\n"
    found = [(r.device, r.site, r.zone, r.metric) for r in readings_of(source_of(tmp_path, text))]
    assert found == [("d1", "s1", "z1", "t"), ("d2", "s1", "z2", "t")]
    text = "time,t,u\n1700000000,5,6\n"
    [reading] = readings_of(source_of(tmp_path, text, metrics=("u",)))
    assert (reading.device, reading.metric) == ("data", "u")
    [reading, _] = readings_of(source_of(tmp_path, text, device="boiler", site="s", zone="z"))
    assert (reading.device, reading.site, reading.zone) == ("boiler", "s", "z")


def test_a_file_with_a_row_a_reading(tmp_path: Path) -> None:
    text = "time,device,metric,value\n1700000000,d1,co2,5\n1700000001,d2,t,6.5\n"
    found = [(r.device, r.metric, r.value) for r in readings_of(source_of(tmp_path, text))]
    assert found == [("d1", "co2", 5.0), ("d2", "t", 6.5)]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = "\ufefftime,a,b\r\n1700000000,1,2\r\n".replace(",", delimiter)
    assert [(r.metric, r.value) for r in readings_of(source_of(tmp_path, text))] == [("a", 1), ("b", 2)]


def test_parquet(tmp_path: Path) -> None:
    zoned = pa.array([1_700_000_000_000_000 + i * SECOND for i in range(2500)], pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "time": zoned,
            "a": np.arange(2500) / 2,
            "n": np.arange(2500),
            "flag": [i % 3 == 0 for i in range(2500)],
            "s": pa.array([f"t{i % 5}" for i in range(2500)]).dictionary_encode(),
            "nested": [[1]] * 2500,
            "empty": pa.nulls(2500),
        }
    )
    pa.parquet.write_table(table, tmp_path / "d.parquet")
    source = ReplaySource([tmp_path / "d.parquet"], ReplayOptions())
    assert source.rows == 2500
    assert [chunk.rows for chunk in source.chunks()] == [CHUNK_ROWS, CHUNK_ROWS, 500]
    last = [r for r in readings_of(source) if r.time == 1_700_002_499_000_000]
    assert [(r.metric, r.value) for r in last] == [("a", 1249.5), ("n", 2499), ("flag", True), ("s", "t4")]
    local = table.set_column(0, "time", zoned.cast(pa.timestamp("us")))
    pa.parquet.write_table(local, tmp_path / "l.parquet")
    with pytest.raises(Hold, match="timezone"):
        readings_of(ReplaySource([tmp_path / "l.parquet"], ReplayOptions()))


def test_chunks_are_the_same_each_time_and_so_is_the_epoch() -> None:
    one, two = ReplaySource([OFFICE], BRUSSELS), ReplaySource([OFFICE], BRUSSELS)
    assert one.epoch == two.epoch
    assert len(bytes.fromhex(one.epoch)) == 8
    assert [c.batch.columns for c in one.chunks()] == [c.batch.columns for c in two.chunks()]
    assert ReplaySource([OFFICE], ReplayOptions(timezone="UTC")).epoch != one.epoch


def test_a_replay_arrives_whole(tmp_path: Path) -> None:
    source, wire, seen = ReplaySource([OFFICE], BRUSSELS), Keeping(), list[Progress]()
    summary = send(source, tmp_path / "o.db", wire, KeyRing.generate(), on_progress=seen.append)
    assert (summary.rows, summary.readings, summary.complete) == (600, 3600, True)
    assert wire.readings() == readings_of(source)
    assert seen[-1].rows == seen[-1].total == 600


def rows_file(tmp_path: Path, rows: int) -> Path:
    lines = [f"{1_700_000_000 + i},{i}" for i in range(rows)]
    return file_of(tmp_path, "\n".join(["time,a", *lines]))


def test_a_replay_again_is_all_duplicates(tmp_path: Path) -> None:
    path, wire, ring = rows_file(tmp_path, 5500), Keeping(), KeyRing.generate()
    for number in range(2):
        source = ReplaySource([path], ReplayOptions())
        assert send(source, tmp_path / f"{number}.db", wire, ring).complete
    assert len(wire.kept) == 6
    assert wire.duplicates == 6
    assert len(wire.epochs) == 1
    again = send(ReplaySource([path], ReplayOptions()), tmp_path / "1.db", wire, ring)
    assert (again.resumed, again.complete) == (5500, True)
    assert wire.duplicates == 6


def test_an_interrupted_replay_goes_on(tmp_path: Path) -> None:
    path, wire, ring = rows_file(tmp_path, 20_000), Keeping(at_most=7), KeyRing.generate()
    stop = threading.Event()

    def stop_when_stuck(progress: Progress) -> None:
        if progress.problem:
            stop.set()

    first = send(
        ReplaySource([path], ReplayOptions()), tmp_path / "o.db", wire, ring, stop=stop, on_progress=stop_when_stuck
    )
    assert not first.complete
    wire.at_most = 1 << 30
    second = send(ReplaySource([path], ReplayOptions()), tmp_path / "o.db", wire, ring)
    assert second.complete
    assert second.rows == 20_000
    assert [r.value for r in wire.readings()] == list(range(20_000))


def test_an_outbox_of_something_else_is_refused(tmp_path: Path) -> None:
    source, ring = ReplaySource([OFFICE], BRUSSELS), KeyRing.generate()
    outbox = SqliteOutbox(tmp_path / "o.db", ring)
    with pytest.raises(Hold):
        replay(source, outbox, Keeping())
    outbox.close()
    with pytest.raises(Hold):
        SqliteOutbox(tmp_path / "o.db", ring, epoch=source.epoch)


def test_what_is_refused_is_counted(tmp_path: Path) -> None:
    class Refusing(Keeping):
        def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
            if entries[0].kind == 1 and entries[0].seq == 2:
                raise Reject("no")
            return super().send(stream, confirmed, entries[:1])

    summary = send(
        ReplaySource([rows_file(tmp_path, 3000)], ReplayOptions()), tmp_path / "o.db", Refusing(), KeyRing.generate()
    )
    assert (summary.rejected, summary.complete) == (1, True)


class Simulated(SystemClock):
    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed


def test_a_speed_paces_the_readings(tmp_path: Path) -> None:
    source = ReplaySource([OFFICE], ReplayOptions(timezone="Europe/Brussels", speed=60.0))
    assert len(list(source.chunks())) > 500, "a minute a second: each row comes in its turn"
    clock = Simulated()
    sensor = ReplaySensor(source, 60.0, clock=clock)
    assert len(sensor.read()) == 6
    clock.passed = 10.0
    assert len(sensor.read()) == 10 * 6
    clock.passed = 700.0
    left = 3600 - 11 * 6
    while left > 0:
        left -= len(sensor.read())
    assert left == 0
    with pytest.raises(EndOfReadings):
        sensor.read()


def test_a_loop_goes_on_in_time(tmp_path: Path) -> None:
    source = source_of(tmp_path, "time,a\n1700000000,1\n1700000010,2\n1700000020,3\n", loop=True)
    chunks = source.chunks()
    times = [r.time // SECOND for _ in range(3) for r in next(chunks).batch.readings()]
    assert times == [1_700_000_000 + 10 * i for i in range(9)]


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_that_never_ends_is_refused(speed: float) -> None:
    with pytest.raises(Hold):
        ReplaySource([OFFICE], ReplayOptions(speed=speed))


def test_kinds_of_the_office() -> None:
    [chunk] = list(ReplaySource([OFFICE], BRUSSELS).chunks())
    assert set(chunk.batch.columns["kind"].to_pylist()) == {Kind.NUMBER, Kind.INTEGER}
