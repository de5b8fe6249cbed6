"""What the routes need, in one value that hangs on the application."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from sonde.access import Access
from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.desk import Desk
from sonde.certificate import Authority
from sonde.clock import Clock
from sonde.errors import Retry
from sonde.metrics import Metrics
from sonde.ports import AuditTrail, Journal, Notices
from sonde.status import Status


@dataclass(frozen=True, slots=True)
class Parts:
    """``settings`` gives the configuration in force, secrets masked. ``stale_seconds`` after its last reading a device
    is stale. ``authority`` gives the private authority, if there is one; with ``pinned`` it made the server's certificate."""

    desk: Desk
    access: Access
    audit: AuditTrail
    journal: Journal
    dispatcher: Dispatcher | None  # none: no commands are taken here
    notices: Notices
    status: Callable[[], Status]
    settings: Callable[[], Mapping[str, Any]]
    metrics: Metrics
    clock: Clock
    stale_seconds: float
    authority: Callable[[], Authority | None]
    pinned: bool


async def _parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


async def _desk(request: Request) -> Desk:
    found: Parts = request.app.state.parts
    return found.desk


async def _dispatcher(request: Request) -> Dispatcher:
    found: Parts = request.app.state.parts
    if found.dispatcher is None:
        raise Retry("this server takes no commands", hint="Ask one that has a log")
    return found.dispatcher


DispatcherOf = Annotated[Dispatcher, Depends(_dispatcher)]
PartsOf = Annotated[Parts, Depends(_parts)]
DeskOf = Annotated[Desk, Depends(_desk)]
