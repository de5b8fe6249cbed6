"""Who may come in, and how much: the same for every protocol, before a body is looked at."""

from typing import Final

from sonde.access import Access
from sonde.clock import Clock
from sonde.errors import Throttled, TooLarge
from sonde.ports import Credential
from sonde.sink.limits import Limits

_BUCKETS: Final = 10_000


class TokenBucket:
    """So many bytes a second, and ``capacity`` of them at once after a pause.

    What is larger than the capacity passes when the bucket is full and leaves it in debt: nothing is refused for ever.
    """

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._at = now

    def wait_for(self, size: int, now: float) -> float:
        """Seconds until ``size`` bytes may pass; 0: now. ``now`` is of the monotonic clock."""
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        missing = min(size, self._capacity) - self._level
        return missing / self._rate if missing > 0 else 0.0

    def take(self, size: int) -> None:
        """Charge ``size`` bytes that :meth:`wait_for` let pass."""
        self._level -= size


class Admission:
    """Checks a token, then charges a size to the budget of all and to its own."""

    def __init__(self, access: Access, limits: Limits, clock: Clock) -> None:
        self._access = access
        self._limits = limits
        self._clock = clock
        self._all = TokenBucket(limits.bytes_per_second, limits.burst_bytes, clock.monotonic())
        self._each: dict[str, TokenBucket] = {}

    def admit(self, token: str | None, scope: str, size: int, address: str, certificate: bytes = b"") -> Credential:
        """Whose token, or certificate, it is. :class:`Unauthenticated`, :class:`Forbidden`, :class:`TooLarge`,
        :class:`Throttled`."""
        who = self._access.check(token, scope, address, certificate)
        if size > self._limits.body_bytes:
            raise TooLarge(
                f"the body has {size} bytes; at most {self._limits.body_bytes} are taken", hint="Send fewer at once"
            )
        own = self._each.get(who.id) or self._bucket(who)
        now = self._clock.monotonic()
        wait = max(self._all.wait_for(size, now), own.wait_for(size, now))
        if wait > 0:
            raise Throttled(
                "more bytes a second than the budget allows", hint="Send again after Retry-After", after=wait
            )
        self._all.take(size)
        own.take(size)
        return who

    def _bucket(self, who: Credential) -> TokenBucket:
        if len(self._each) >= _BUCKETS:  # the one that was made first is made anew, full, when it is needed
            self._each.pop(next(iter(self._each)))
        bucket = TokenBucket(
            self._limits.token_bytes_per_second, self._limits.token_burst_bytes, self._clock.monotonic()
        )
        return self._each.setdefault(who.id, bucket)
