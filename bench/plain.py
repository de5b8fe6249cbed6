"""What Sonde is compared with: the same rows copied into PostgreSQL, the same bodies given to Kafka, and no more."""

import time
from collections.abc import Sequence

import numpy as np
import psycopg
from confluent_kafka import KafkaError, Message, Producer

from bench.grown import Machines
from bench.readings import METRICS, Readings

_EPOCH = 946_684_800_000_000  # PostgreSQL counts microseconds from 2000-01-01
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_AT_ONCE = 50_000
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("series_bytes", ">i4"),
        ("series", ">i4"),
        ("time_bytes", ">i4"),
        ("time", ">i8"),
        ("value_bytes", ">i4"),
        ("value", ">f8"),
        ("quality_bytes", ">i4"),
        ("quality", ">i2"),
    ]
)


def copy(machines: Machines, readings: Readings) -> float:
    """Readings a second: one connection, binary COPY of 50,000 rows a transaction, sorted, one index on (series, time)."""
    parts = _parts(readings)
    with machines.postgres.database() as name, psycopg.connect(machines.postgres.url(name)) as connection:
        connection.execute(
            "create table plain (series integer not null, time timestamptz not null, value double precision, quality smallint)"
        )
        connection.execute("create index on plain (series, time)")
        connection.commit()
        start = time.perf_counter()
        for part in parts:
            with connection.cursor().copy("copy plain from stdin (format binary)") as copying:
                copying.write(part)
            connection.commit()
        return len(readings.time) / (time.perf_counter() - start)


def _parts(readings: Readings) -> list[bytes]:
    series = readings.device * len(METRICS) + readings.metric
    parts = []
    for at in range(0, len(series), _AT_ONCE):
        here = slice(at, at + _AT_ONCE)
        order = np.lexsort((readings.time[here], series[here]))
        rows = np.zeros(len(order), _ROW)
        rows["fields"], rows["series_bytes"], rows["time_bytes"], rows["value_bytes"], rows["quality_bytes"] = (
            4,
            4,
            8,
            8,
            2,
        )
        rows["series"], rows["time"] = series[here][order], readings.time[here][order] - _EPOCH
        rows["value"] = readings.value[here][order]
        parts.append(_HEAD + rows.tobytes() + _END)
    return parts


def produce(machines: Machines, bodies: Sequence[bytes], rows: int, partitions: int) -> float:
    """Readings a second: one producer, each body a message, confirmed by all copies."""
    topic = machines.kafka.topic(partitions)
    settings = {"acks": "all", "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4", "log_level": 0}
    producer = Producer({"bootstrap.servers": machines.kafka.servers, **settings})
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    start = time.perf_counter()
    for number, body in enumerate(bodies):
        while True:
            try:
                producer.produce(topic, value=body, partition=number % partitions, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    left = producer.flush(300)
    seconds = time.perf_counter() - start
    if failed or left:
        raise SystemExit(f"Kafka did not take {len(failed) + left} messages: {failed[:1]}")
    admin = machines.kafka.admin()  # it has to live until the answer
    admin.delete_topics([topic])[topic].result(60)
    return rows / seconds
