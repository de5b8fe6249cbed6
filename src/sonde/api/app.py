"""The application: questions out, and pages for people."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from sonde.access import Access
from sonde.api.auth import COOKIE
from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.desk import Desk
from sonde.api.door import Door, Methods
from sonde.api.openapi import Application, application
from sonde.api.parts import Parts
from sonde.api.responses import CURSOR, plain_problem, problem
from sonde.api.routes import (
    alert_rules,
    alerts,
    audit_trail,
    charts,
    commands,
    devices,
    downlink,
    health,
    history,
    ledger,
    nodes,
    notifications,
    overview,
    pages,
    people,
    profiles,
    purges,
    series,
    sign_in,
    sql,
)
from sonde.certificate import Authority
from sonde.clock import Clock, SystemClock
from sonde.errors import Invalid, Problem, SondeError, Unauthenticated
from sonde.metrics import Metrics
from sonde.ports import AuditTrail, Journal, Notices, Store
from sonde.status import Status

STALE_SECONDS: Final = 300.0
LIVE: Final = "/ws"
ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    health.guarded_router,
    ledger.settings_router,
    overview.router,
    charts.router,
    alert_rules.router,
    alert_rules.edit_router,
    alerts.router,
    alerts.act_router,
    notifications.router,
    devices.router,
    series.router,
    history.router,
    profiles.router,
    commands.router,
    commands.giving_router,
    downlink.router,
    ledger.router,
    sql.router,
    sign_in.router,
    people.router,
    nodes.router,
    nodes.joining_router,
    nodes.own_router,
    audit_trail.router,
    purges.router,
    pages.router,
)


HEALTH_ROUTERS: Final[tuple[APIRouter, ...]] = (health.router, health.guarded_router, ledger.settings_router)
"""For a server that answers no questions: how it is, and what it counts."""


def create_app(
    store: Callable[[], Store] | None,
    access: Access,
    audit: AuditTrail,
    journal: Journal,
    notices: Notices,
    *,
    dispatcher: Dispatcher | None = None,
    status: Callable[[], Status],
    settings: Callable[[], Mapping[str, Any]],
    metrics: Metrics,
    clock: Clock | None = None,
    frontend_url: str = "",
    hosts: Collection[str] = (),
    stale_seconds: float = STALE_SECONDS,
    authority: Callable[[], Authority | None] = lambda: None,
    pinned: bool = False,
    routers: Sequence[APIRouter] = ROUTERS,
) -> FastAPI:
    """The api over a store.

    ``store`` gives the store that is there now, or raises :class:`sonde.errors.Retry` while there is none; None where nothing
    is asked and ``routers`` need none.
    ``settings`` gives the configuration in force, secrets masked. ``frontend_url`` is another origin that browsers may
    ask from, with a token. ``hosts`` are names besides ``localhost`` that a server on loopback may be called by.
    ``authority`` gives the private authority for nodes, if there is one; with ``pinned`` it made the server's certificate.
    """
    app = application()
    app.state.parts = Parts(
        desk=Desk(store, metrics),
        access=access,
        audit=audit,
        journal=journal,
        dispatcher=dispatcher,
        notices=notices,
        status=status,
        settings=settings,
        metrics=metrics,
        clock=clock or SystemClock(),
        stale_seconds=stale_seconds,
        authority=authority,
        pinned=pinned,
    )
    for router in routers:
        app.include_router(router)
    methods = Methods(cast(APIRoute, route) for router in routers for route in router.routes)
    app.state.methods = methods
    app.state.document = _Document(app)
    _answer_errors(app)
    if frontend_url:
        _allow(app, frontend_url.rstrip("/"))
    app.add_middleware(Door, methods=methods, hosts=hosts, cors=bool(frontend_url))
    return app


class _Document:
    """The OpenAPI document as JSON, made once."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._content = b""

    def __call__(self) -> bytes:
        if not self._content:
            self._content = msgspec.json.encode(self._app.openapi())
        return self._content


def _allow(app: FastAPI, origin: str) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin],
        allow_methods=["DELETE", "GET", "HEAD", "POST", "PUT"],
        allow_headers=["Accept", "Authorization", "Content-Type", "Idempotency-Key"],
        expose_headers=[CURSOR, "Link", "Retry-After"],
        max_age=600,
    )


def _answer_errors(app: FastAPI) -> None:
    app.add_exception_handler(SondeError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(HTTPException, _of_routing)


async def _of_ours(request: Request, error: Exception) -> Response:
    response = problem(cast(SondeError, error))
    if isinstance(error, Unauthenticated) and COOKIE in request.cookies:
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")  # else the browser goes on sending it
    return response


async def _of_parameters(request: Request, error: Exception) -> Response:
    first = cast(RequestValidationError, error).errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    message = (
        str(first["msg"])
        .removeprefix("Value error, ")
        .replace("Input", "it")
        .replace("Field required", "it is required")
    )
    return problem(Invalid(Problem(None, field, message)))


async def _of_routing(request: Request, error: Exception) -> Response:
    status = cast(HTTPException, error).status_code
    path = request.url.path
    if status == 405:
        allow = request.app.state.methods.of(path)
        return plain_problem(405, f"{path[:256]} does not take {request.method}; it takes {allow}", {"Allow": allow})
    if status == 404 and path == LIVE:
        return plain_problem(426, "this is the live feed: connect to it as a WebSocket", {"Upgrade": "websocket"})
    if status == 404:
        return plain_problem(404, f"there is no route {path[:256]}; GET /docs lists all")
    return plain_problem(status, str(cast(HTTPException, error).detail))
