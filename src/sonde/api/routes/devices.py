"""Devices, and the newest value of each of their series."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from sonde.api.answers import DeviceDetail, DeviceItem
from sonde.api.filters import Limit, Site, given
from sonde.api.parts import Parts, PartsOf
from sonde.api.readings import DeviceRows
from sonde.api.responses import answer, documented, next_page
from sonde.api.routes.router import guarded, question_turn
from sonde.clock import SECOND, Micros
from sonde.errors import NotFound
from sonde.question import Devices

router = guarded("devices", "read", question_turn)


def _stale_before(parts: Parts) -> Micros:
    return parts.clock.now() - int(parts.stale_seconds * SECOND)


@router.get("/devices", responses=documented(list[DeviceItem], link=True))
def devices(
    request: Request,
    parts: PartsOf,
    site_id: Site = "",
    after: Annotated[str, Query(max_length=256, description="Only devices whose name is greater; used by `Link`")] = "",
    limit: Limit = 1000,
) -> Response:
    """Devices by name, each with the newest value of each of its metrics."""
    found = parts.desk.ask(Devices(site=given(site_id), after=after, limit=limit + 1))
    rows, last = DeviceRows.of(found.rows).first(limit)
    link = next_page(request, after=last, limit=limit) if last else ""
    return answer(rows.json(_stale_before(parts)), found.cursor, link=link)


@router.get("/devices/{device_id:path}", responses=documented(DeviceDetail, 404))
def device(
    parts: PartsOf,
    device_id: Annotated[
        str, Path(description="Its name; slashes may stand as they are", examples=["Site-01/Zone-03/co2-1"])
    ],
) -> Response:
    """One device, with all of its series."""
    found = parts.desk.ask(Devices(device=device_id, limit=1)) if device_id else None
    if found is None or found.rows.num_rows == 0:
        raise NotFound(f"no reading of a device {device_id[:256]!r} was ever stored", hint="GET /devices lists all")
    body = DeviceRows.of(found.rows).json(_stale_before(parts), series=True)
    return answer(body[1:-1], found.cursor)
