"""Whom Sonde told of what, and what became of it."""

from typing import Annotated, Literal

import msgspec
from fastapi import Query, Response
from pydantic import Field

from sonde.api.answers import Count, Shape, Time
from sonde.api.filters import Limit
from sonde.api.parts import PartsOf
from sonde.api.responses import answer, documented
from sonde.api.routes.router import guarded
from sonde.notice import described

router = guarded("alerts", "read")


class NotificationItem(Shape):
    id: str
    target: str = Field(examples=["webhook.ops"])
    fate: Literal["waiting", "sent", "failed", "stale"] = Field(
        description="`stale`: it was over a day old when it could have been told"
    )
    event: str = Field(examples=["fired"])
    alert_id: str
    made: Time
    due: Time = Field(description="When it is, or was, to be tried next")
    settled: Time | None
    message_id: str = Field(description="That of the message it went with; empty before the first try")
    tries: Count
    doubtful: bool = Field(description="A try was begun and nobody knows how it ended")
    said: str = Field(description="What the last try met")


@router.get("/notifications", responses=documented(list[NotificationItem], cursor=False))
def notifications(
    parts: PartsOf,
    target: Annotated[str, Query(max_length=256, description="Only of this one, as `webhook.NAME`")] = "",
    limit: Limit = 100,
) -> Response:
    """What people outside were told of alerts, newest first."""
    found = parts.notices.recent(target or None, limit)
    return answer(msgspec.json.encode([described(notice) for notice in found]))
