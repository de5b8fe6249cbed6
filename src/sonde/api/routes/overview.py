"""The whole at a glance: what is stored, what is quiet, and how far the store is behind."""

from typing import Any

import msgspec
from fastapi import Response

from sonde.api.answers import Overview
from sonde.api.columns import json_rows, json_texts
from sonde.api.parts import PartsOf
from sonde.api.responses import answer, documented
from sonde.api.routes.router import guarded, question_turn
from sonde.clock import SECOND
from sonde.moment import format_time
from sonde.question import Stale, Totals

router = guarded("charts", "read", question_turn)


@router.get("/overview", responses=documented(Overview))
def overview(parts: PartsOf) -> Response:
    """What is stored, how far the store is behind the log, and the devices that nothing came from for a while. The rate
    of readings is the difference of two answers' `readings` over that of their `time`."""
    status, now = parts.status(), parts.clock.now()
    found = parts.desk.ask(Totals())
    stale = parts.desk.ask(Stale(now - int(parts.stale_seconds * SECOND)))
    body: dict[str, Any] = {
        "time": format_time(now),
        **found.rows.to_pylist()[0],
        "received": status.received,
        "lag_seconds": status.lag_seconds,
        "lag_frames": max(0, status.log_end - status.stored_offset),
        "connections": status.connections,
        "sensors": status.sensors,
        "problems": status.problems,
        "stale_seconds": parts.stale_seconds,
        "stale_devices": stale.total or 0,
        "stale": msgspec.Raw(json_rows({name: json_texts(stale.rows[name]) for name in stale.rows.column_names})),
    }
    return answer(msgspec.json.encode(body), found.cursor)
