"""A request with readings on its way into the log."""

from sonde.entry import Entry, EntryKind
from sonde.ports import Credential
from sonde.sink import identity
from sonde.sink.columns import Received
from sonde.sink.deposit import Deposit


def deposit_of(who: Credential, idempotency_key: str, body: bytes, received: Received) -> Deposit:
    """All of its readings, with one entry that has its identity."""

    def entries() -> tuple[Entry]:
        digest = identity.body_digest(body)
        key = identity.request_key(who, idempotency_key, digest, timed=received.timed, identified=received.identified)
        return (Entry(kind=EntryKind.READINGS, source=who.name, rows=len(received), digest=digest, key=key),)

    return Deposit(entries, (received.readings,), len(body), len(received), received.form)
