"""The readings that every benchmark sends: devices (500 if not told) with four metrics, noisy values, 1 % out of order."""

import numpy as np
import pyarrow as pa

DEVICES = 500
METRICS = ("co2", "temperature", "humidity", "occupancy")
SERIES = DEVICES * len(METRICS)
START = 1_790_000_000_000_000  # microseconds
LATE = 0.01


class Readings:
    """``rows`` readings in columns, made from ``seed``: the same seed gives the same readings."""

    def __init__(self, rows: int, seed: int = 1, start: int = START, step: int = 20, devices: int = DEVICES) -> None:
        draw = np.random.default_rng(seed)
        self._devices = devices
        series = np.arange(rows) % (devices * len(METRICS))
        self.device = series // len(METRICS)
        self.metric = series % len(METRICS)
        self.time = start + np.arange(rows, dtype=np.int64) * step
        late = draw.random(rows) < LATE
        self.time[late] -= draw.integers(1_000_000, 60_000_000, int(late.sum()))
        middle = np.array([600.0, 22.0, 45.0, 8.0])[self.metric]
        self.value = np.round(middle + draw.normal(0, 2, rows), 2)

    def json_bodies(self, each: int) -> list[bytes]:
        """Arrays of ``each`` readings in Sonde's own form."""
        rows = [
            f'{{"device":"device-{d:03d}","metric":"{METRICS[m]}","time":{t},"value":{v}}}'
            for d, m, t, v in zip(self.device, self.metric, self.time.tolist(), self.value.tolist(), strict=True)
        ]
        return [f"[{','.join(rows[i : i + each])}]".encode() for i in range(0, len(rows), each)]

    def line_bodies(self, each: int) -> list[bytes]:
        """The same in InfluxDB's line protocol, nanoseconds."""
        rows = [
            f"{METRICS[m]},device=device-{d:03d} value={v} {t}000"
            for d, m, t, v in zip(self.device, self.metric, self.time.tolist(), self.value.tolist(), strict=True)
        ]
        return ["\n".join(rows[i : i + each]).encode() for i in range(0, len(rows), each)]

    def arrow_bodies(self, each: int) -> list[bytes]:
        """The same as Arrow IPC streams."""
        device = pa.array([f"device-{d:03d}" for d in range(self._devices)])
        metric = pa.array(METRICS)
        table = pa.table(
            {
                "device": pa.DictionaryArray.from_arrays(pa.array(self.device, pa.int32()), device),
                "metric": pa.DictionaryArray.from_arrays(pa.array(self.metric, pa.int32()), metric),
                "time": pa.array(self.time, pa.timestamp("us", "UTC")),
                "value": pa.array(self.value),
            }
        )
        bodies = []
        for start in range(0, len(self.time), each):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table.slice(start, each))
            bodies.append(sink.getvalue().to_pybytes())
        return bodies
