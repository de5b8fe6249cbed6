"""An error as a caller on HTTP sees it: status, headers and problem JSON (RFC 9457)."""

import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec

from sonde.errors import (
    Conflict,
    Forbidden,
    Hold,
    Invalid,
    NotFound,
    Reject,
    Retry,
    SondeError,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unsupported,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1.0  # when an error does not say after how long
HOLD_SECONDS: Final = 60.0

_STATUS: Final[tuple[tuple[type[SondeError], int], ...]] = (
    (Throttled, 429),
    (Retry, 503),
    (Hold, 503),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Unsupported, 415),
    (Reject, 422),
)


_AGAIN: Final = frozenset({429, 502, 503, 504})
_ERRORS: Final = {status: kind for kind, status in _STATUS if status not in _AGAIN}


class _Problem(msgspec.Struct):
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ProblemAnswer:
    """What goes out: ``content`` is JSON of :data:`MEDIA_TYPE`."""

    status: int
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


def answer_problem(error: SondeError) -> ProblemAnswer:
    """The answer for an error of Sonde. ``detail`` says what happened and what to do about it."""
    status = _status(error)
    more: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, Invalid):
        more = {"field": error.problem.field}
        if error.problem.index is not None:
            more["index"] = error.problem.index
        if len(error.problems) > 1:
            more["errors"] = [{"field": one.field, "message": one.message} for one in error.problems]
    elif isinstance(error, Conflict) and error.known is not None:
        more = {"known": error.known}
    elif isinstance(error, Retry | Hold):
        headers["Retry-After"] = str(retry_after(error))
    elif isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="sonde"'
    return ProblemAnswer(status, problem_json(status, str(error), **more), headers)


def problem_json(status: int, detail: str, **more: Any) -> bytes:
    """Problem JSON with a status, what happened, and further members."""
    return msgspec.json.encode({"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more})


def error_of(status: int, content: bytes, after: str | None = None) -> SondeError:
    """The other way: the error that a server's answer stands for, in its own words. ``after`` is its ``Retry-After``."""
    try:
        detail = msgspec.json.decode(content, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = content[:200].decode(errors="replace").strip()
    detail = detail or f"the server answered with status {status}"
    if status in _AGAIN:
        seconds = float(after) if after and after.isdigit() else None
        return Throttled(detail, after=seconds) if status == 429 else Retry(detail, after=seconds)
    return _ERRORS.get(status, Reject)(detail)


def retry_after(error: Retry | Hold) -> int:
    """Whole seconds, at least one, after which a caller may try again."""
    if isinstance(error, Hold):
        return int(HOLD_SECONDS)
    return max(1, math.ceil(RETRY_SECONDS if error.after is None else error.after))


def _status(error: SondeError) -> int:
    if isinstance(error, Invalid) and error.syntax:
        return 400
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
