"""What was refused, for the ledger: counted here, and written to the log every so often."""

import secrets
import threading
from collections.abc import Sequence

from sonde.entry import Entry, EntryKind
from sonde.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Retry,
    SondeError,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unsupported,
)

_REASONS: tuple[tuple[type[SondeError], str], ...] = (
    (Invalid, "invalid"),
    (Unauthenticated, "unauthenticated"),
    (Forbidden, "forbidden"),
    (TooLarge, "too_large"),
    (Unsupported, "unsupported"),
    (Conflict, "conflict"),
    (Throttled, "throttled"),
    (Retry, "unavailable"),
)


def reason_of(error: SondeError) -> str:
    """One word for why something was refused; a label of metrics and a key in the log."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "other")


class Refusals:
    """Readings refused for good since they were last written down, by source and reason.

    What may be sent again is not counted here: it is refused only for now. Sources are names of credentials, so there
    are not more than there are tokens. Any thread may call it.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()

    def count(self, source: str, reason: str, readings: int) -> None:
        """``readings`` of ``source`` were refused; at least one, where it could not be known how many there were."""
        with self._lock:
            counts = self._counts.setdefault(source, {})
            counts[reason] = counts.get(reason, 0) + max(1, readings)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def take(self) -> Sequence[Entry]:
        """The counts as entries; they start again from nothing. With a key each, so that writing them twice does no harm:
        keep them until they are written."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [
            Entry(kind=EntryKind.COUNTERS, source=source, key=secrets.token_bytes(16), payload={"refused": refused})
            for source, refused in counts.items()
        ]
