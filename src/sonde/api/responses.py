"""Responses: bodies that are made already, their headers, and how the OpenAPI document describes them."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request, Response

from sonde.api.columns import json_rows, json_texts
from sonde.cursor import Cursor
from sonde.errors import SondeError
from sonde.problem import MEDIA_TYPE, answer_problem, problem_json
from sonde.question import Answer

JSON: Final = "application/json"
CURSOR: Final = "Sonde-Cursor"

_CURSOR_HEADER: Final[dict[str, Any]] = {
    "description": "The place in the log that the answer stands for",
    "schema": {"type": "string"},
}
_LINK_HEADER: Final[dict[str, Any]] = {
    "description": 'The next page, as `<…>; rel="next"`; absent on the last',
    "schema": {"type": "string"},
}
_RETRY_HEADER: Final[dict[str, Any]] = {
    "description": "Seconds after which to try again",
    "schema": {"type": "integer", "minimum": 1},
}
WHEN: Final[dict[int, str]] = {
    400: "It cannot be parsed",
    401: "No token, or one that is not known",
    403: "The token may not do this",
    404: "Nothing has this name",
    405: "Not a method of this route",
    409: "It contradicts what is already there",
    413: "Larger than a request may be",
    415: "A content type that is not understood",
    422: "A parameter or field is not what it should be; `field` names it",
    429: "Too much for now, or too many wrong tokens",
    503: "It cannot be answered now: the store is away, or too many are waiting",
}


def answer(content: bytes, cursor: Cursor | None = None, *, link: str = "", media_type: str = JSON) -> Response:
    """200 with a body, the cursor of its snapshot, and the link to the next page if there is one."""
    headers = {"Cache-Control": "no-store"}
    if cursor is not None:
        headers[CURSOR] = str(cursor)
    if link:
        headers["Link"] = link
    return Response(content, media_type=media_type, headers=headers)


def problem(error: SondeError) -> Response:
    """The response for an error of Sonde."""
    found = answer_problem(error)
    return Response(found.content, found.status, {**found.headers, "Cache-Control": "no-store"}, MEDIA_TYPE)


def plain_problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """Problem JSON for what is no error of Sonde's tree."""
    content = problem_json(status, detail, **more)
    return Response(content, status, {**(headers or {}), "Cache-Control": "no-store"}, MEDIA_TYPE)


def next_page(request: Request, **changes: object) -> str:
    """A ``Link`` to this question with other parameters."""
    url = request.url.include_query_params(**changes)
    return f'<{url.path}?{url.query}>; rel="next"'


def rows_answer(request: Request, found: Answer, names: tuple[str, ...], skip: int, limit: int) -> Response:
    """One page of an answer's rows: an object a row, with these columns as its members."""
    rows = found.rows.slice(skip, limit)
    more = found.rows.num_rows > skip + limit
    link = next_page(request, skip=skip + limit, limit=limit) if more else ""
    return answer(json_rows({name: json_texts(rows[name]) for name in names}), found.cursor, link=link)


def documented(
    model: Any, *failures: int, cursor: bool = True, link: bool = False, **formats: str
) -> dict[int | str, Any]:
    """``responses=`` of a route that gives ``model`` or one of ``failures``; 401, 403, 422, 429, 503 may always be.

    ``formats`` are further media types of the answer, by name.
    """
    headers = {CURSOR: _CURSOR_HEADER} if cursor else {}
    if link:
        headers["Link"] = _LINK_HEADER
    found: dict[str, Any] = {"description": "The answer", "model": model, "headers": headers}
    if formats:
        found["content"] = {media: {"schema": {"type": "string", "format": "binary"}} for media in formats.values()}
    return {200: found, **failing(*failures, 401, 403, 422, 429, 503)}


def failing(*statuses: int) -> dict[int | str, Any]:
    """``responses=`` for problems with these statuses."""
    return {status: _failure(status) for status in sorted(set(statuses))}


def _failure(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": WHEN[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in {429, 503}:
        found["headers"] = {"Retry-After": _RETRY_HEADER}
    return found
