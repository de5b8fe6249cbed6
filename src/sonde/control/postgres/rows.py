"""Rows of the control database, and the number of its state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sonde.clock import Micros
from sonde.control.postgres.database import Connection
from sonde.ports import Credential

COLUMNS: Final = "t.id, t.name, t.scopes, t.devices, t.node, t.expires, t.created, t.last_used, t.revoked"
"""The columns of a token, as :func:`as_credential` takes them."""

STATE: Final = "(select number from control.state)"


@dataclass(frozen=True, slots=True)
class Found:
    """A credential that was looked up by its token, or by a cookie, which expires by itself."""

    credential: Credential
    expires: Micros | None = None

    def is_valid(self, now: Micros) -> bool:
        """Whether a cookie and its token are good."""
        return all(moment is None or moment > now for moment in (self.expires, self.credential.expires))


def as_credential(row: Sequence[Any]) -> Credential:
    id_, name, scopes, devices, node, expires, created, last_used, revoked = row
    return Credential(
        id_, name, frozenset(scopes), tuple(devices), node, expires, created, last_used, revoked=bool(revoked)
    )


def state(db: Connection) -> int:
    """The number of the state of tokens and sessions."""
    row = db.execute("select number from control.state").fetchone()
    return int(row[0]) if row is not None else 0


def changed(db: Connection) -> None:
    """Tokens or sessions change in this transaction, one transaction after another: every server looks again."""
    db.execute("update control.state set number = number + 1")
