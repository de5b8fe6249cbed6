"""What became of every reading, and the settings in force."""

from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Request, Response

from sonde.api.answers import GapItem, LedgerItem
from sonde.api.filters import MOST, Device, Limit, Since, Skip, given, moment
from sonde.api.parts import DeskOf, PartsOf
from sonde.api.responses import answer, documented, rows_answer
from sonde.api.routes.router import guarded, question_turn
from sonde.entry import Lane
from sonde.question import Answer, Gaps, Ledger

router = guarded("ledger", "read", question_turn)
settings_router = guarded("health", "read")

LEDGER: Final = ("source", "lane", "sent", "stored", "duplicate", "refused", "set_aside", "lost", "missing")
GAP: Final = ("source", "lane", "epoch", "reason", "first_seq", "last_seq", "readings", "noticed", "before", "detail")
_LANES: Final = pa.array([lane.name.lower() for lane in Lane])


@router.get("/ledger", responses=documented(list[LedgerItem], link=True))
def ledger(request: Request, desk: DeskOf, limit: Limit = MOST, skip: Skip = 0) -> Response:
    """Per node and lane, what became of what was sent. The sums close: sent = stored + duplicate + refused + set_aside +
    lost + missing."""
    return rows_answer(request, _with_lane_names(desk.ask(Ledger())), LEDGER, skip, limit)


@router.get("/gaps", responses=documented(list[GapItem], link=True))
def gaps(
    request: Request,
    desk: DeskOf,
    device_id: Device = "",
    since: Since = "",
    limit: Limit = 1000,
    skip: Skip = 0,
) -> Response:
    """What is missing, declared lost or set aside: where, when and why. `device_id` asks for that of the node which declared
    the device; `since` for what may have been measured from then on."""
    question = Gaps(device=given(device_id), since=moment(since, "since"), limit=skip + limit + 1)
    return rows_answer(request, _with_lane_names(desk.ask(question)), GAP, skip, limit)


@settings_router.get("/config-summary", responses=documented(dict[str, Any], cursor=False))
def config_summary(parts: PartsOf) -> Response:
    """The settings in force, secrets masked."""
    return answer(msgspec.json.encode(parts.settings(), enc_hook=str))


def _with_lane_names(found: Answer) -> Answer:
    number = found.rows.schema.get_field_index("lane")
    column = found.rows.column(number)
    if not pa.types.is_integer(column.type):
        return found
    return Answer(found.rows.set_column(number, "lane", pc.take(_LANES, column)), found.cursor, found.total)
