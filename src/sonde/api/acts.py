"""What callers do on purpose goes into the audit trail, before it happens."""

from fastapi import Request

from sonde.api.auth import address_of
from sonde.api.parts import Parts
from sonde.audit import act


def note_act(request: Request, what: str, on: str = "", /, **detail: str) -> None:
    """Write down that the caller of a guarded route does ``what`` to ``on``. Call it from a thread, when all has been
    checked and nothing has been done yet; no secret in ``detail``. :class:`sonde.errors.Retry` if it cannot be written:
    then nothing may be done."""
    note_act_of(request, request.state.who.name, what, on, **detail)


def note_act_of(request: Request, who: str, what: str, on: str = "", /, **detail: str) -> None:
    """The same on a route that anyone may use: ``who`` is known by other means."""
    parts: Parts = request.app.state.parts
    parts.audit.write(act(parts.clock.now(), who, what, on, address_of(request), **detail))
