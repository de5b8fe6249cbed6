"""Between nodes and servers, whichever protocol carries it: one port for each end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sonde.command import Poll, Tasks
from sonde.ports.control import Credential
from sonde.ports.outbox import Outgoing, StreamId


class Wire(Protocol):
    """A node's way to a sink. One lane's sends come one after another, several lanes' at the same time."""

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        """Send consecutive entries; the seq up to which the sink now has the stream, durably.

        ``confirmed`` is the seq up to which the node holds receipts. :class:`Retry` when the sink cannot be reached or
        is busy, :class:`Hold` when the credential is refused, :class:`TooLarge` when fewer would do,
        :class:`Conflict` with ``known`` when the sink knows better where the stream stands, :class:`Reject` when the
        first entry will never be taken.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A request with readings: its body as it came (decompressed by the intake), and what its headers say."""

    body: bytes
    content_type: str = "application/json"
    content_encoding: str = ""
    idempotency_key: str = ""


class Intake(Protocol):
    """A sink, as a transport sees it. Every protocol gets the same limits, checks and errors through it.

    A request goes: ``admit`` (who, how much), then ``telemetry`` or ``uplink`` (what). When they return, it is durable.
    """

    def admit(self, token: str | None, scope: str, size: int, address: str, certificate: bytes = b"") -> Credential:
        """Check a token, and the digest of one that stands in the caller's ``certificate``; charge ``size`` bytes to its
        budget. :class:`Unauthenticated`, :class:`Forbidden`, :class:`TooLarge`, or :class:`Throttled` with ``after``."""
        ...

    async def telemetry(self, who: Credential, request: Telemetry) -> int:
        """Take readings in any of the public forms; how many. :class:`Invalid`, :class:`Unsupported`,
        :class:`TooLarge`, :class:`Forbidden`, :class:`Retry`."""
        ...

    async def uplink(self, who: Credential, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        """Take entries of a node's stream; the seq up to which it is durable."""
        ...


class Downlink(Protocol):
    """A node's way to hear of commands. One thread polls; ``close`` may come from another one and ends a poll."""

    def poll(self, poll: Poll, wait: float) -> Tasks:
        """What there is to do, after at most ``wait`` seconds. :class:`Retry` when the server cannot be reached,
        :class:`Hold` when the credential is refused."""
        ...

    def close(self) -> None: ...


class Dispatch(Protocol):
    """The server's end of downlinks: holds the tasks of nodes until they ask."""

    async def poll(self, who: Credential, poll: Poll, wait: float) -> Tasks:
        """What the node of a credential has to do, as soon as there is something, or nothing after ``wait`` seconds.
        :class:`Forbidden` if the credential belongs to no node. Cancel it when the node has gone."""
        ...
