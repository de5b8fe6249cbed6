"""Alerts, newest first."""

from typing import Annotated, Final, Literal

from fastapi import Query, Request, Response

from sonde.api.answers import AlertItem
from sonde.api.filters import Limit, Since, Skip, given, moment
from sonde.api.parts import DeskOf
from sonde.api.responses import documented, rows_answer
from sonde.api.routes.router import guarded, question_turn
from sonde.question import Alerts

router = guarded("alerts", "read", question_turn)

State = Literal["open", "pending", "firing", "acknowledged", "shelved", "resolved"]
ALERT: Final = (
    "alert_id",
    "rule",
    "site",
    "zone",
    "device",
    "metric",
    "type",
    "value",
    "threshold",
    "time",
    "resolved_at",
    "state",
    "severity",
    "message",
    "retroactive",
)


@router.get("/alerts/recent", responses=documented(list[AlertItem], link=True))
def recent(request: Request, desk: DeskOf, limit: Limit = 20, skip: Skip = 0) -> Response:
    """The newest alerts, whatever has become of them."""
    return rows_answer(request, desk.ask(Alerts(limit=skip + limit + 1)), ALERT, skip, limit)


@router.get("/alerts", responses=documented(list[AlertItem], link=True))
def alerts(
    request: Request,
    desk: DeskOf,
    state: Annotated[
        State | None,
        Query(description="`open`: anything but pending and resolved. Pending ones come only if asked for"),
    ] = None,
    severity: Annotated[str, Query(max_length=64, description="Only this severity", examples=["critical"])] = "",
    since: Since = "",
    limit: Limit = 100,
    skip: Skip = 0,
) -> Response:
    """Alerts by state and severity."""
    question = Alerts(state=state, severity=given(severity), since=moment(since, "since"), limit=skip + limit + 1)
    return rows_answer(request, desk.ask(question), ALERT, skip, limit)
