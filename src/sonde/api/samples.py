"""Series and their samples as JSON: what :mod:`sonde.api.routes.series` gives to a chart."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from sonde.api.columns import join, json_rows, json_texts, raw_texts, value_texts
from sonde.kind import Kind

KINDS: Final = {Kind.NUMBER: "number", Kind.INTEGER: "integer", Kind.BOOLEAN: "boolean", Kind.TEXT: "text"}
_KIND_TEXTS: Final = {int(k): f'"{KINDS.get(k, k.name.lower())}"' for k in Kind}
_RAW: Final = ("value", "quality")
_BUCKETS: Final = ("min", "max", "avg", "count", "quality")

Units = Mapping[tuple[str, str], str]
"""The unit of a device's metric, for those that have one."""


def json_series(rows: pa.Table, units: Units) -> bytes:
    """The rows of :class:`sonde.question.FoundSeries` as an array of objects."""
    return json_rows(_described(rows, units))


def json_samples(found: pa.Table, rows: pa.Table, units: Units) -> bytes:
    """For each of the series ``found`` its columns out of ``rows``, those of :class:`sonde.question.Samples`."""
    columns = _described(found, units)
    heads = json_rows(
        {name: columns[name] for name in ("series", "device", "metric", "site", "zone", "labels", "kind", "unit")}
    )
    items = []
    described = zip(
        msgspec.json.decode(heads, type=list[msgspec.Raw]),
        found["series"].to_pylist(),
        found["kind"].to_pylist(),
        strict=True,
    )
    for head, number, kind in described:
        mine = rows.filter(pc.equal(rows["series"], pa.scalar(number, pa.int32())))
        items.append(bytes(head)[:-1] + b"," + _columns(mine, kind) + b"}")
    return b"[" + b",".join(items) + b"]"


def _columns(rows: pa.Table, kind: int) -> bytes:
    """The members of one series that have a value a row; ``kind`` is that of its newest reading."""
    step = rows["step"][0].as_py() if rows.num_rows else 0
    columns = {"time": json_texts(rows["time"].cast(pa.int64()))}
    if step:
        columns |= {name: json_texts(rows[name]) for name in _BUCKETS}
        if kind == Kind.TEXT:
            columns["text"] = json_texts(rows["text"])
    else:
        columns |= {
            "value": value_texts(rows["kind"], rows["avg"], rows["text"]),
            "quality": json_texts(rows["quality"]),
        }
    return b",".join([b'"step":%d' % step, *(b'"%s":%s' % (n.encode(), join(t)) for n, t in columns.items())])


def _described(rows: pa.Table, units: Units) -> dict[str, pa.Array]:
    pairs = zip(rows["device"].to_pylist(), rows["metric"].to_pylist(), strict=True)
    kinds = pa.array([_KIND_TEXTS[kind] for kind in rows["kind"].to_pylist()], pa.string())
    return {
        **{name: json_texts(rows[name]) for name in ("series", "device", "metric", "site", "zone")},
        "labels": raw_texts(rows["labels"]),
        "kind": kinds,
        "unit": json_texts(pa.array([units.get(pair, "") for pair in pairs], pa.string())),
        "time": json_texts(rows["time"]),
        "value": value_texts(rows["kind"], rows["value"], rows["text"]),
        "quality": json_texts(rows["quality"]),
    }


def units_of(profiles: Sequence[pa.Table]) -> dict[tuple[str, str], str]:
    """The units that the rows of :class:`sonde.question.Profiles` declare."""
    return {
        (device, metric): str(declared.get("unit") or "")
        for rows in profiles
        for device, text in zip(rows["device"].to_pylist(), rows["profile"].to_pylist(), strict=True)
        for metric, declared in _metrics(text).items()
    }


def _metrics(text: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(text).get("metrics") or {}
    return found
