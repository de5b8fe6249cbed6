"""How Sonde does on Kafka and PostgreSQL, with all features on, everything on this machine.

    python -m bench.scale ingest --form json      1,000 readings a request, until they can be queried
    python -m bench.scale ingest --form arrow     5,000 a request, as Arrow
    python -m bench.scale outage                  the database is away for a minute while 100 k readings/s come in
    python -m bench.scale partitions              1, 2, 4, 64 partitions, on as many processors, or two
    python -m bench.scale all                     all of them, one after another

It starts one broker, one PostgreSQL (fsync on), and sink, processors and api as processes of their own, and ends them again;
each run has a topic and a database of its own. Every figure stands beside what the same machine does with less in the same
minute: a binary COPY of the same rows into a table with the same index, and the same bodies given to Kafka with acks=all.
Identity: the digest of each request. 1 % of the readings are out of order. Needs Java, Maven and PostgreSQL.
"""

import argparse
import time
from collections.abc import Sequence

from bench.grown import Grown, Machines, grown, machines
from bench.load import Result, send
from bench.paced import Paced
from bench.plain import copy, produce
from bench.readings import START, Readings

EACH = {"json": 1_000, "arrow": 5_000}
TYPES = {"json": "application/json", "arrow": "application/vnd.apache.arrow.stream"}
_STEP = 20  # microseconds between readings
_CAUGHT_UP = 1.0  # seconds of readings that may be under way


def bodies_of(readings: Readings, form: str) -> list[bytes]:
    return readings.json_bodies(EACH[form]) if form == "json" else readings.arrow_bodies(EACH[form])


def run(found: Grown, bodies: Sequence[bytes], form: str, connections: int, until: int) -> tuple[float, Result]:
    """Seconds from the first request until ``until`` readings can be queried, and what the client saw."""
    headers = {**found.headers, "Content-Type": TYPES[form]}
    start = time.perf_counter()
    result = send(found.sinks[0], "/telemetry", bodies, headers, connections=connections)
    if set(result.statuses) != {202}:
        raise SystemExit(f"not everything was taken: {result.statuses}\n{found.problems()}")
    return found.wait_until_stored(until) - start, result


def warm(found: Grown, form: str, connections: int) -> int:
    """A little before, so that tables, connections and code are there; how many readings that were."""
    rows = 20 * EACH[form]
    run(found, bodies_of(Readings(rows, seed=99, start=START - 3_600_000_000), form), form, connections, rows)
    return rows


def measured(
    here: Machines, readings: Readings, form: str, *, partitions: int, processors: int, connections: int
) -> dict[str, float]:
    """One run with a topic and a database of its own, in the words of the tables."""
    rows, bodies = len(readings.time), bodies_of(readings, form)
    with grown(here, partitions=partitions, processors=processors) as found:
        known = warm(found, form, connections)
        sizes, used, own = found.sizes(), found.seconds(), time.process_time()
        seconds, result = run(found, bodies, form, connections, known + rows)
        mine = {"µs client": (time.process_time() - own) / rows * 1e6}
        after, now = found.seconds(), found.sizes()
        found.check(known + rows)
        micros = {f"µs {what}": (after[what] - used[what]) / rows * 1e6 for what in used}
        bytes_ = {f"B {what}": (now[what] - sizes[what]) / rows for what in sizes}
        durable = {"durable k/s": rows / result.seconds / 1e3, "p99 ms": result.quantile(0.99) * 1e3}
        memory = sum(server.memory() for servers in found.roles.values() for server in servers) / 1e6
        return {"k/s": rows / seconds / 1e3, **durable, **micros, **mine, **bytes_, "MB roles": memory}


def table(title: str, rows: Sequence[dict[str, float | str]]) -> None:
    """Print rows with the same keys."""
    print(f"\n{title}\n", flush=True)
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    print("| " + " | ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)) + " |")
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for row in cells:
        print("| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print(flush=True)


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def ingest(here: Machines, form: str, options: argparse.Namespace) -> None:
    """Sonde and what it is compared with, by turns."""
    readings = Readings(options.rows, step=_STEP, devices=options.devices)
    bodies = bodies_of(readings, form)
    rows: list[dict[str, float | str]] = []
    for turn in range(options.rounds):
        copied = copy(here, readings) / 1e3
        produced = produce(here, bodies, options.rows, options.partitions) / 1e3
        ours = measured(
            here,
            readings,
            form,
            partitions=options.partitions,
            processors=options.processors,
            connections=options.connections,
        )
        ratios = {"× COPY": ours["k/s"] / copied, "× Kafka": ours["k/s"] / produced}
        rows.append({"round": str(turn + 1), "COPY k/s": copied, "Kafka k/s": produced, **ours, **ratios})
        print(f"{form}, round {turn + 1}: {ours['k/s']:,.0f} k/s, {ratios['× COPY']:.2f} × COPY", flush=True)
    rows.append(_median(rows))
    each = f"{EACH[form]:,} readings a request, {options.rows:,} of {options.devices:,} devices"
    table(
        f"{form}, {each}, {_setting(options)}; µs and B are a reading",
        rows,
    )


def _median(rows: Sequence[dict[str, float | str]]) -> dict[str, float | str]:
    middle: dict[str, float | str] = {"round": "median"}
    for name in rows[0]:
        if name != "round":
            middle[name] = sorted(float(row[name]) for row in rows)[len(rows) // 2]
    return middle


def _setting(options: argparse.Namespace) -> str:
    return (
        f"{options.partitions} partitions, {options.processors} processors, 1 sink, {options.connections} connections"
    )


def partitions(here: Machines, options: argparse.Namespace) -> None:
    """As many processors as partitions, or as there may be; each to the first of the same round."""
    readings = Readings(options.rows, step=_STEP, devices=options.devices)
    rows: list[dict[str, float | str]] = []
    for turn in range(options.rounds):
        first = 0.0
        for number in options.counts:
            copied = copy(here, readings) / 1e3
            ours = measured(
                here,
                readings,
                options.form,
                partitions=number,
                processors=min(number, options.processors),
                connections=options.connections,
            )
            first = first or ours["k/s"]
            ratios = {"× first": ours["k/s"] / first, "× COPY": ours["k/s"] / copied}
            rows.append({"round": str(turn + 1), "partitions": str(number), **ratios, **ours})
            print(f"{number} partitions: {ours['k/s']:,.0f} k/s", flush=True)
    setting = f"as many processors as partitions, at most {options.processors}"
    table(f"{options.form}, {options.rows:,} readings, {setting}; µs and B are a reading", rows)


def outage(here: Machines, options: argparse.Namespace) -> None:
    """The database goes, and comes back, while readings go on coming."""
    each = EACH["arrow"]

    def body(number: int) -> bytes:
        return Readings(each, seed=number, start=START + number * each * _STEP, step=_STEP).arrow_bodies(each)[0]

    with grown(here, partitions=options.partitions, processors=options.processors) as found:
        known = warm(found, "arrow", options.connections)
        headers = {**found.headers, "Content-Type": TYPES["arrow"]}
        sender = Paced(found.sinks, headers, body, each, options.rate)
        lines: list[dict[str, float | str]] = []
        start = time.monotonic()
        sender.start()
        try:
            _watch(found, sender, known, lines, "before", options.lead, options.rate)
            here.postgres.stop()
            away, confirmed = time.monotonic(), sender.confirmed
            _watch(None, sender, known, lines, "database away", options.outage, options.rate)
            taken = sender.confirmed - confirmed
            here.postgres.start()
            back = time.monotonic()
            caught_up = _watch(
                found, sender, known, lines, "after", options.patience, options.rate, until_caught_up=True
            )
        finally:
            sender.stop()
        found.wait_until_stored(known + sender.confirmed)
        found.check(known + sender.confirmed)
        for line in lines:
            line["s"] = f"{float(line['s']) - start:.0f}"
        table(f"{options.rate:,} readings/s, database away for {back - away:.0f} s, {_setting(options)}", lines)
        gone = back - away
        print(
            f"confirmed while it was away: {taken:,} readings, {taken / gone:,.0f}/s; answers: {dict(sender.statuses)}"
        )
        print(f"slowest answer: {sender.slowest:.1f} s")
        if caught_up is None:
            print(f"the lag was not back to zero within {options.patience:.0f} s after the database came back")
        else:
            late = caught_up - back
            print(f"lag back to zero {late:.1f} s after the database came back: {late / gone:.2f} of the outage")
        print(f"all {known + sender.confirmed:,} readings are there, each once", flush=True)


def _watch(
    found: Grown | None,
    sender: Paced,
    known: int,
    lines: list[dict[str, float | str]],
    what: str,
    seconds: float,
    rate: float,
    *,
    until_caught_up: bool = False,
) -> float | None:
    """Note how far it is, about 20 times; when the lag was gone, if that was waited for and came."""
    begun = time.monotonic()
    step, noted = max(0.5, seconds / 20 if not until_caught_up else 2.0), begun
    while (now := time.monotonic()) < begun + seconds:
        lag = None if found is None else known + sender.confirmed - found.stored()
        gone = until_caught_up and lag is not None and lag <= rate * _CAUGHT_UP
        if now >= noted or gone:
            told: float | str = "?" if lag is None else float(lag)
            lines.append({"s": now, "what": what, "confirmed": float(sender.confirmed), "lag": told})
            noted = now + step
        if gone:
            return now
        time.sleep(0.2)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ingest", "outage", "partitions", "all"])
    parser.add_argument("--form", choices=["json", "arrow"], default="json")
    parser.add_argument("--rows", type=int, default=4_000_000, help="readings a run (default 4 million)")
    parser.add_argument("--devices", type=int, default=500, help="with four metrics each (default 500)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, by turns (default 3)")
    parser.add_argument("--partitions", type=int, default=4, help="of the topic (default 4)")
    parser.add_argument("--processors", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--connections", type=int, default=8, help="of the client (default 8)")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 64], help="of partitions (default 1 2 4 64)")
    parser.add_argument("--rate", type=int, default=100_000, help="outage: readings a second (default 100,000)")
    parser.add_argument("--lead", type=float, default=10.0, help="outage: seconds before it (default 10)")
    parser.add_argument("--outage", type=float, default=60.0, help="outage: its seconds (default 60)")
    parser.add_argument("--patience", type=float, default=600.0, help="outage: longest wait for the lag (default 600)")
    options = parser.parse_args()
    with machines() as here:
        if options.what == "ingest":
            ingest(here, options.form, options)
        if options.what == "all":
            ingest(here, "json", options)
            ingest(here, "arrow", options)
        if options.what in {"partitions", "all"}:
            partitions(here, options)
        if options.what in {"outage", "all"}:
            outage(here, options)


if __name__ == "__main__":
    main()
