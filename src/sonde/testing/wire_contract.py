"""What every adapter of port ``Wire`` must do. Subclass it, and give ``connect`` as a fixture."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from sonde.entry import EntryKind, Lane
from sonde.errors import (
    Conflict,
    Forbidden,
    Hold,
    Invalid,
    Problem,
    Reject,
    Retry,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from sonde.ports import Credential, Intake, Outgoing, StreamId, Telemetry, Wire

Connect = Callable[[Intake], Wire]
"""Makes a wire that ends at an intake."""

NODE = Credential("test", "test", frozenset({"ingest"}), node="test-node")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an intake was given."""

    who: Credential
    stream: StreamId
    confirmed: int
    entries: Sequence[Outgoing]


@dataclass(slots=True)
class ScriptedIntake:
    """An :class:`sonde.ports.Intake` that keeps what comes and answers as it is told.

    ``answers`` are used up one by one: an exception is raised, a number is the answer; then, and at first, everything
    sent is durable.
    """

    answers: list[int | Exception] = field(default_factory=list)
    arrived: list[Arrival] = field(default_factory=list)

    def admit(self, token: str | None, scope: str, size: int, address: str, certificate: bytes = b"") -> Credential:
        return NODE

    async def telemetry(self, who: Credential, request: Telemetry) -> int:
        raise Invalid(Problem(None, "", "only uplinks here"))

    async def uplink(self, who: Credential, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        self.arrived.append(Arrival(who, stream, confirmed, list(entries)))
        answer = self.answers.pop(0) if self.answers else entries[-1].until
        if isinstance(answer, Exception):
            raise answer
        return answer


def outgoing(seq: int, content: bytes = b"content", *, until: int = 0, readings: int = 3) -> Outgoing:
    """An entry as an outbox would give it."""
    kind = EntryKind.TOMBSTONE if until else EntryKind.READINGS
    return Outgoing(kind, seq, until or seq, readings, seq * readings, seq.to_bytes(16, "big"), content)


LIVE = StreamId("0123456789abcdef", Lane.LIVE)


class WireContract:
    """Tests of one adapter."""

    @pytest.fixture
    def connect(self) -> Iterator[Connect]:
        """Makes wires, and closes them at the end. Override it."""
        raise NotImplementedError

    def test_what_is_sent_arrives_as_it_was(self, connect: Connect) -> None:
        intake = ScriptedIntake()
        entries = [outgoing(5, bytes(range(256)) * 9), outgoing(6, b"{}", until=9, readings=0), outgoing(10, b"")]
        assert connect(intake).send(LIVE, 4, entries) == 10
        [arrival] = intake.arrived
        assert (arrival.stream, arrival.confirmed) == (LIVE, 4)
        assert arrival.entries == entries
        assert arrival.who.node == NODE.node

    def test_the_receipt_is_what_the_sink_says(self, connect: Connect) -> None:
        wire = connect(ScriptedIntake([1, 7]))
        assert wire.send(LIVE, 0, [outgoing(1), outgoing(2)]) == 1
        assert wire.send(LIVE, 1, [outgoing(2)]) == 7

    def test_a_large_message_arrives(self, connect: Connect) -> None:
        intake = ScriptedIntake()
        entries = [outgoing(i, i.to_bytes(4, "big") * 250_000) for i in range(1, 5)]
        assert connect(intake).send(LIVE, 0, entries) == 4
        assert intake.arrived[0].entries == entries

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            (Retry("the disk is full"), Retry),
            (Throttled("too fast", after=2.0), Retry),
            (Unauthenticated("unknown token"), Hold),
            (Forbidden("not this device"), Hold),
            (TooLarge("too large"), TooLarge),
            (Conflict("it stands elsewhere", known=41), Conflict),
            (Invalid(Problem(0, "time", "is missing")), Reject),
            (Invalid(Problem(None, "body", "garbage"), syntax=True), Reject),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_errors_tell_the_node_what_to_do(self, connect: Connect, said: Exception, meant: type[Exception]) -> None:
        with pytest.raises(meant) as raised:
            connect(ScriptedIntake([said])).send(LIVE, 0, [outgoing(1)])
        if isinstance(said, Throttled):
            assert isinstance(raised.value, Retry)
            assert raised.value.after == 2.0
        if isinstance(said, Conflict):
            assert isinstance(raised.value, Conflict)
            assert raised.value.known == 41
        if meant is Reject:
            assert not isinstance(raised.value, TooLarge | Conflict)

    def test_an_error_does_not_end_the_wire(self, connect: Connect) -> None:
        wire = connect(ScriptedIntake([Retry("not now"), TooLarge("less"), 1]))
        for expected in (Retry, TooLarge):
            with pytest.raises(expected):
                wire.send(LIVE, 0, [outgoing(1)])
        assert wire.send(LIVE, 0, [outgoing(1)]) == 1

    def test_lanes_send_at_the_same_time(self, connect: Connect) -> None:
        intake = ScriptedIntake()
        wire = connect(intake)
        failures: list[BaseException] = []

        def send(lane: int) -> None:
            try:
                for seq in range(1, 31):
                    assert wire.send(StreamId("e" * 16, lane), seq - 1, [outgoing(seq)]) == seq
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=send, args=(lane,)) for lane in (Lane.CONTROL, Lane.LIVE, Lane.BACKLOG)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(intake.arrived) == 90
