"""Who did what."""

from typing import Annotated

import msgspec
from fastapi import Query, Request, Response

from sonde.api.filters import Limit, Plain
from sonde.api.parts import PartsOf
from sonde.api.people_shapes import ActItem
from sonde.api.responses import answer, documented, next_page
from sonde.api.routes.router import guarded
from sonde.audit import described, find

router = guarded("people", "admin")


@router.get("/audit", responses=documented(list[ActItem], cursor=False, link=True))
def audit(
    request: Request,
    parts: PartsOf,
    who: Annotated[str, Query(max_length=256, description="Only what this one did")] = "",
    what: Annotated[
        str,
        Query(max_length=64, description="Only such acts: `token.create`, or `token` for all about tokens"),
    ] = "",
    before: Annotated[
        int | None, Query(ge=1, le=10**9 - 1, description="Only numbers below; used by `Link: rel=next`"), Plain
    ] = None,
    limit: Limit = 100,
) -> Response:
    """What people did on purpose, newest first. A page may hold fewer than `limit` and still have a next one."""
    found, rest = find(parts.audit.read, before, limit, who, what)
    link = next_page(request, before=rest, limit=limit) if rest is not None else ""
    return answer(msgspec.json.encode([described(number, act) for number, act in found]), link=link)
