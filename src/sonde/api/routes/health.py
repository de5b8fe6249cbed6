"""Is it alive, is it ready, what does it count."""

from dataclasses import replace

import msgspec
from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sonde.api.answers import Alive, Health, State
from sonde.api.parts import PartsOf
from sonde.api.responses import answer, documented, failing, plain_problem
from sonde.api.routes.router import guarded, open_router
from sonde.errors import SondeError
from sonde.status import Status

router = open_router("health")
guarded_router = guarded("health", "read")

_OPEN = failing(422)


@router.get("/health", responses={200: {"model": Health, "description": "How it is"}, **_OPEN})
def health(parts: PartsOf) -> Response:
    """How it is, in a sentence. Always 200; `/health/ready` says by its status whether it can work."""
    status = parts.status()
    problems = _reasons(parts, status)
    return answer(
        msgspec.json.encode(
            {
                "status": "degraded" if problems else "ok",
                "message": "; ".join((*problems, *status.warnings)) or "Taking readings in and answering questions",
                "active_connections": status.connections,
            }
        )
    )


@router.get("/health/live", responses={200: {"model": Alive, "description": "The process turns"}, **_OPEN})
async def live() -> Response:
    """The process turns. Nothing else is looked at."""
    return answer(b'{"status":"ok"}')


@router.get(
    "/health/ready",
    responses={200: {"model": Alive, "description": "It can work"}, **failing(422, 503)},
)
def ready(parts: PartsOf) -> Response:
    """Whether it can take readings in and answer questions: the age of the last durable write, the store's lag, the disk."""
    reasons = _reasons(parts, parts.status())
    if reasons:
        detail = f"not ready: {'; '.join(reasons)}"
        return plain_problem(503, detail, {"Retry-After": "5"}, reasons=reasons)
    return answer(b'{"status":"ok"}')


@guarded_router.get("/status", responses=documented(State, cursor=False))
def status(parts: PartsOf) -> Response:
    """How it is, in figures: what `sonde status` shows."""
    found = parts.status()
    return answer(msgspec.json.encode(replace(found, problems=tuple(_reasons(parts, found)))))


@guarded_router.get(
    "/metrics",
    response_class=Response,
    responses={
        **documented(None, cursor=False),
        200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
def metrics(parts: PartsOf) -> Response:
    """What the program counts, as Prometheus text. `docs/metrics.md` explains each name."""
    return answer(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _reasons(parts: PartsOf, status: Status) -> list[str]:
    reasons = list(status.problems)
    try:
        parts.desk.check()
    except SondeError as error:
        if error.message not in reasons:
            reasons.append(error.message)
    return reasons
