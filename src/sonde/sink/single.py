"""One reading as one object: the most frequent request of all, so it is taken with as few steps as can be.

As everywhere, what is not plain gives ``None`` and is left to the exact way.
"""

from typing import Any

from sonde.clock import Micros
from sonde.errors import Invalid
from sonde.sink import names, times
from sonde.sink.columns import Columns, Received
from sonde.sink.form import SHORT, SHORT_METRIC, form_of
from sonde.sink.limits import Limits
from sonde.sink.values import INTEGERS

_PLAIN = frozenset({"device", "metric", "value", "time", "site", "zone"})


def read(body: bytes, thing: dict[str, Any], now: Micros, limits: Limits) -> Received | None:
    """The reading in ``thing``, which is what ``body`` decodes to, if it is a plain number."""
    form = form_of(thing)
    if form is None or b"\\" in body:
        return None
    found: dict[str | None, Any] = {}
    texts = len(thing)
    for key, given in thing.items():
        found[form.columns.get(key)] = given
        texts += type(given) is str
    device: Any = found.get("device")
    metric: Any = SHORT_METRIC if form is SHORT else found.get("metric")
    site, zone = found.get("site", ""), found.get("zone", "")
    known = device and metric and all(map(names.known, (device, metric, site, zone)))
    value = found.get("value")
    number = type(value) is float or (type(value) is int and value in INTEGERS)
    if not (number and known and found.keys() <= _PLAIN and texts == body.count(b'"') // 2):
        return None
    try:
        moment = times.exact(found["time"]) if "time" in found else now
    except Invalid:
        return None
    if moment > now + limits.future:
        return None
    columns = Columns([device], [metric], [moment], [value], [site] if site else (), [zone] if zone else ())
    return Received(form.name, columns, "time" in found, identified=False)
