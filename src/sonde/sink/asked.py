"""A request with readings on its way into the log, as one part for each partition that it goes to."""

from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

from sonde.entry import Entry, EntryKind
from sonde.ports import Credential
from sonde.reading import Batch
from sonde.sink import identity
from sonde.sink.columns import Columns, Received
from sonde.sink.deposit import Deposit

Parts: TypeAlias = Mapping[int, Columns | Batch]


class Asked:
    """What of a request its parts have in common: its sender, and its identity, by which each part is known again."""

    def __init__(self, who: Credential, idempotency_key: str, body: bytes, received: Received) -> None:
        self._who = who
        self._key = idempotency_key
        self._body = body
        self._received = received

    def deposit(self, part: Columns | Batch) -> Deposit:
        """Some of the readings, to be put into one partition."""
        rows, whole = len(part), len(self._received)
        size = len(self._body) if rows == whole else len(self._body) * rows // whole
        return Deposit(lambda: (self._entry(rows),), (part,), size, rows, self._received.form)

    @cached_property
    def _identity(self) -> tuple[bytes, bytes]:
        """Digest and key; worked out once, by whichever partition comes first."""
        received, digest = self._received, identity.body_digest(self._body)
        return digest, identity.request_key(
            self._who, self._key, digest, timed=received.timed, identified=received.identified
        )

    def _entry(self, rows: int) -> Entry:
        digest, key = self._identity
        return Entry(kind=EntryKind.READINGS, source=self._who.name, rows=rows, digest=digest, key=key)
