"""Anything that one SELECT can ask."""

from typing import Any, Final

import msgspec
import pyarrow as pa
from fastapi import Depends, Request, Response

from sonde.api.answers import SqlAnswer
from sonde.api.body import read_json
from sonde.api.columns import json_arrays
from sonde.api.export import ARROW, arrow_bytes
from sonde.api.parts import DeskOf
from sonde.api.responses import JSON, answer, documented
from sonde.api.routes.router import guarded, sql_turn
from sonde.errors import Invalid, Problem
from sonde.question import Sql

router = guarded("sql", "admin", sql_turn)


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    sql: str


async def _question(request: Request) -> _Question:
    return await read_json(request, _Question)


_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/SqlQuestion"},
            "example": {"sql": "select device, count(*) as readings from readings group by device"},
        }
    },
}


@router.post(
    "/sql",
    responses=documented(SqlAnswer, 400, 413, 415, arrow=ARROW),
    openapi_extra={"requestBody": _BODY},
)
def sql(request: Request, desk: DeskOf, question: _Question = Depends(_question)) -> Response:  # noqa: B008
    """One SELECT over the views `readings`, `windows`, `alerts`, `devices` and `gaps`. Anything else is refused; limits of
    time, memory and rows apply. With `Accept: application/vnd.apache.arrow.stream` the answer is an Arrow stream."""
    if not 0 < len(question.sql) <= 100_000:
        raise Invalid(Problem(None, "sql", "is empty, or longer than 100,000 characters"))
    found = desk.ask(Sql(question.sql))
    if ARROW in request.headers.get("accept", ""):
        return answer(arrow_bytes(found.rows), found.cursor, media_type=ARROW)
    try:
        rows = json_arrays(found.rows)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise Invalid(Problem(None, "sql", f"a value has no form in JSON ({error}); cast it to text")) from None
    columns = msgspec.json.encode(found.rows.column_names)
    return answer(b'{"columns":' + columns + b',"rows":' + rows + b"}", found.cursor)
