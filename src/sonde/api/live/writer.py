"""Readings and other news as JSON. A reading is written once, however many clients get it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sonde.changes import Alert, Series
from sonde.clock import Micros
from sonde.fresh import Fresh
from sonde.kind import Kind
from sonde.moment import format_time
from sonde.webframe import text_frame

encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_SECOND: Final = 1_000_000
_VALUES: Final[dict[int, Callable[[Any, Any], bytes]]] = {
    Kind.NUMBER: lambda number, text: repr(number).encode() if number == number else b"null",  # noqa: PLR0124  # NaN
    Kind.INTEGER: lambda number, text: text.encode() if text is not None else b"%d" % number,
    Kind.BOOLEAN: lambda number, text: b"true" if number else b"false",
    Kind.TEXT: lambda number, text: encode(text),
    Kind.JSON: lambda number, text: text.encode(),
    Kind.NONE: lambda number, text: b"null",
}


class Readings:
    """Some rows of a frame, as text. ``v1`` are members of a batch, ``plain`` are whole messages."""

    def __init__(self, fresh: Fresh, rows: npt.NDArray[np.intp], series: Callable[[int], Series]) -> None:
        assert fresh.batch is not None
        assert fresh.series is not None
        assert fresh.quality is not None
        columns = fresh.batch.columns
        self.ids: list[int] = fresh.series[rows].tolist()
        self._series = series
        self._quality: list[int] = fresh.quality[rows].tolist()
        self._time: list[int] = columns.column("time").cast(pa.int64()).to_numpy()[rows].tolist()
        self._kind: list[int] = columns.column("kind").to_numpy()[rows].tolist()
        self._value: list[float] = columns.column("value").to_numpy(zero_copy_only=False)[rows].tolist()
        text = columns.column("text")
        self._text: Sequence[str | None] = (
            [None] * len(rows) if text.null_count == len(text) else text.take(pa.array(rows)).to_pylist()
        )

    def v1(self, row: int) -> bytes:
        """One reading as an object."""
        head = _v1_head(self._series(self.ids[row]))
        quality = b',"quality":%d}' % self._quality[row] if self._quality[row] else b"}"
        return b"".join((head, _time(self._time[row]), b'","value":', self._written(row), quality))

    def plain(self, row: int) -> bytes:
        """One reading as the frame of a message."""
        head = _plain_head(self._series(self.ids[row]))
        return text_frame(b"".join((head, self._written(row), b',"timestamp":"', _time(self._time[row]), b'"}')))

    def _written(self, row: int) -> bytes:
        return _VALUES[self._kind[row]](self._value[row], self._text[row])


@lru_cache(maxsize=100_000)
def _v1_head(series: Series) -> bytes:
    names = [("device", series.device), ("metric", series.metric), ("site", series.site), ("zone", series.zone)]
    members = [b'"%s":%s' % (name.encode(), encode(value)) for name, value in names]
    if series.labels != "{}":
        members.append(b'"labels":' + series.labels.encode())
    return b"{" + b",".join(members) + b',"time":"'


@lru_cache(maxsize=100_000)
def _plain_head(series: Series) -> bytes:
    return b'{"type":"data","id":%s,"device":%s,"value":' % (encode(series.metric), encode(series.device))


def _time(micros: int) -> bytes:
    second, rest = divmod(micros, _SECOND)
    return b"%s%06dZ" % (_up_to_second(second), rest)


@lru_cache(maxsize=4096)
def _up_to_second(second: int) -> bytes:
    return format_time(second * _SECOND)[:-7].encode()


def data(id_: bytes, cursor: str, readings: Sequence[bytes], skipped: int) -> bytes:
    """A message with readings; ``id_`` is the subscription's in JSON."""
    more = b',"skipped":%d' % skipped if skipped else b""
    head = b'{"type":"data","subscription":%s,"cursor":"%s"%s,"readings":[' % (id_, cursor.encode(), more)
    return text_frame(head + b",".join(readings) + b"]}")


def corrected(series: Series | None, first: Micros, last: Micros) -> dict[str, Any]:
    """That late readings changed a series, or very many, between two moments, ends included."""
    names = None
    if series is not None:
        names = {**series._asdict(), "labels": msgspec.Raw(series.labels.encode())}
        names.pop("id")
    return {"series": names, "from": format_time(first), "to": format_time(last)}


def alert(alert: Alert, series: Series) -> dict[str, Any]:
    """An alert as ``GET /alerts`` gives it."""
    return {
        "alert_id": alert.id,
        "rule": alert.rule,
        "site": series.site,
        "zone": series.zone,
        "device": series.device,
        "metric": series.metric,
        "type": alert.type,
        "value": alert.value,
        "threshold": alert.threshold,
        "time": format_time(alert.since),
        "resolved_at": None if alert.resolved_at is None else format_time(alert.resolved_at),
        "state": alert.state,
        "severity": alert.severity,
        "message": alert.message,
        "retroactive": alert.retroactive,
    }


def message(type_: str, **members: Any) -> bytes:
    """Any other message."""
    return text_frame(encode({"type": type_, **members}))
