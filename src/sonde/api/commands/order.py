"""What a caller asks: a device, a command, parameters."""

import hashlib
import math
import secrets
from typing import Any, Final

import msgspec

from sonde.clock import SECOND, Micros
from sonde.errors import Invalid, Problem
from sonde.moment import parse_span

EXPIRES_SECONDS: Final = 300.0
"""How long a command waits for its device, unless its caller says otherwise."""
LONGEST_SECONDS: Final = 30 * 86_400.0
_KEY: Final = 256


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command to be given. ``expires_in`` is in seconds, or a span such as ``5m``. Whoever sends the same
    ``idempotency_key`` twice gives one command. ``dry_run`` only checks."""

    device: str
    command: str
    parameters: dict[str, Any] = {}
    expires_in: float | str | None = None
    idempotency_key: str | None = None
    dry_run: bool = False

    def lasts(self) -> Micros:
        """How long it may wait; :class:`Invalid` if that is no time."""
        given = self.expires_in
        if given is None:
            seconds = EXPIRES_SECONDS
        else:
            seconds = float(parse_span(given, "expires_in")) if isinstance(given, str) else given
        if not math.isfinite(seconds) or not 0 < seconds <= LONGEST_SECONDS:
            raise Invalid(Problem(None, "expires_in", "should be more than 0 and at most 30 days"))
        return max(1, round(seconds * SECOND))

    def id_for(self, who: str) -> str:
        """The id of the command: the same for the same key of the same caller, else a new one."""
        if self.idempotency_key is None:
            return secrets.token_hex(16)
        if not 0 < len(self.idempotency_key) <= _KEY:
            raise Invalid(Problem(None, "idempotency_key", f"should have 1 to {_KEY} characters, or be left out"))
        named = msgspec.msgpack.encode(["command", who, self.idempotency_key])
        return hashlib.sha256(named).hexdigest()[:32]
