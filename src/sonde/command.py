"""A command: what a device was asked to do, and what became of it.

Its life, as a fold over the entries of the log, without I/O::

    accepted ─► queued ─► delivered ─► running ─► succeeded | failed
                  │           │           │
                  │           └───────────┴─► unknown
                  └─► cancelled | expired

The server says what happens before a device has it, and the node that has it says the rest: nothing confirms a command
except the device. While a command is on its way, *handed* to one epoch of a node's outbox, it is still shown as queued.
``unknown`` says that nobody can tell whether it ran; the node may know better later.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from sonde.clock import DAY, Micros
from sonde.entry import Entry
from sonde.errors import Invalid, Problem
from sonde.moment import format_time


class State(StrEnum):
    """Where a command stands."""

    QUEUED = "queued"
    HANDED = "handed"  # shown as queued
    DELIVERED = "delivered"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class StepKind(StrEnum):
    """What can happen to a command."""

    ACCEPTED = "accepted"
    HANDED = "handed"
    DELIVERED = "delivered"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


OVER: Final = frozenset({State.SUCCEEDED, State.FAILED, State.EXPIRED, State.CANCELLED})
"""States that nothing follows."""

_S, _K = State, StepKind
BY_SERVER: Final[Mapping[State, frozenset[StepKind]]] = {
    _S.QUEUED: frozenset({_K.HANDED, _K.CANCELLED, _K.EXPIRED}),
    _S.HANDED: frozenset({_K.UNKNOWN}),
    _S.DELIVERED: frozenset({_K.UNKNOWN}),
    _S.RUNNING: frozenset({_K.UNKNOWN}),
}
"""What may happen in each state when the server says so; each kind leads to the state of its name."""
BY_NODE: Final[Mapping[State, frozenset[StepKind]]] = {
    _S.HANDED: frozenset({_K.DELIVERED, _K.RUNNING, _K.SUCCEEDED, _K.FAILED, _K.EXPIRED, _K.UNKNOWN}),
    _S.DELIVERED: frozenset({_K.RUNNING, _K.SUCCEEDED, _K.FAILED, _K.EXPIRED, _K.UNKNOWN}),
    _S.RUNNING: frozenset({_K.RUNNING, _K.SUCCEEDED, _K.FAILED, _K.UNKNOWN}),
    _S.UNKNOWN: frozenset({_K.DELIVERED, _K.RUNNING, _K.SUCCEEDED, _K.FAILED, _K.EXPIRED, _K.UNKNOWN}),
}
"""The same when the node says so that the command was handed to."""
NODE_STEPS: Final = frozenset().union(*BY_NODE.values())

DOUBT_LASTS: Final[Micros] = 30 * DAY
"""So long a node may still say what became of an unknown command."""
_STATUS: Final[Mapping[StepKind, str]] = {
    _K.SUCCEEDED: "success",
    _K.FAILED: "error",
    _K.EXPIRED: "error",
    _K.CANCELLED: "error",
    _K.UNKNOWN: "error",
}


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to a command: the payload of an entry of the kind ``COMMAND``.

    ``parameters``, ``who`` and ``expires`` stand in the first, ``accepted``; ``node`` and ``epoch`` in ``handed``. ``time``
    is by the clock of whoever says it. ``progress`` goes from 0 to 1.
    """

    id: str
    step: StepKind
    device: str
    command: str
    time: Micros = 0
    parameters: dict[str, Any] = {}
    who: str = ""
    expires: Micros = 0
    node: str = ""
    epoch: str = ""
    message: str = ""
    progress: float | None = None
    details: Any = None

    def at(self, log_time: Micros) -> Micros:
        """When it happened: not after it reached the log, whatever a clock says."""
        return min(self.time or log_time, log_time)


class Command(msgspec.Struct, frozen=True):
    """A command with all that is known of it. Times are microseconds; None: it has not come to that."""

    id: str
    device: str
    command: str
    parameters: dict[str, Any]
    who: str
    state: State
    accepted_at: Micros
    expires_at: Micros
    node: str = ""
    epoch: str = ""
    handed_at: Micros | None = None
    delivered_at: Micros | None = None
    started_at: Micros | None = None
    finished_at: Micros | None = None
    changed_at: Micros = 0  # log time of its newest step
    message: str = ""
    progress: float | None = None
    details: Any = None

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow: it came to its end, or its node itself cannot tell."""
        return self.state in OVER or (self.state == State.UNKNOWN and self.finished_at is not None)

    def asks_for(self, other: "Command") -> bool:
        """Whether both ask the same of the same device."""
        return (self.device, self.command, self.parameters) == (other.device, other.command, other.parameters)


def begin(step: Step, log_time: Micros) -> Command:
    """The command that ``step``, an acceptance, begins."""
    return Command(
        id=step.id,
        device=step.device,
        command=step.command,
        parameters=step.parameters,
        who=step.who,
        state=State.QUEUED,
        accepted_at=log_time,
        expires_at=step.expires,
        changed_at=log_time,
    )


def fold(known: Command, step: Step, log_time: Micros, node: str = "") -> Command | None:
    """``known`` after ``step``; none if that changes nothing. ``node`` is in whose stream it came; empty: the server's."""
    if step.step not in (BY_NODE if node else BY_SERVER).get(known.state, ()):
        return None
    if node and node != known.node:
        return None
    if step.step == StepKind.HANDED and log_time >= known.expires_at:
        return None
    if known.state == State.UNKNOWN and (known.is_over or log_time - known.changed_at > DOUBT_LASTS):
        return None
    at = max(step.at(log_time), known.accepted_at)
    changes: dict[str, Any] = {"state": State(step.step), "changed_at": log_time, "message": step.message}
    match step.step:
        case StepKind.HANDED:
            changes |= {"node": step.node, "epoch": step.epoch, "handed_at": at}
        case StepKind.DELIVERED:
            changes |= {"delivered_at": at}
        case StepKind.RUNNING:
            progress = known.progress if step.progress is None else step.progress
            changes |= {"started_at": known.started_at or at, "progress": progress}
        case StepKind.UNKNOWN:
            changes |= {"finished_at": at if node else None}
        case _:
            changes |= {"finished_at": at, "details": step.details}
            if step.step == StepKind.SUCCEEDED:
                changes |= {"progress": 1.0}
    return msgspec.structs.replace(known, **changes)


class Board:
    """The commands that are not over, moved on entry by entry in the order of the log."""

    def __init__(self, known: Iterable[Command] = ()) -> None:
        self.open: dict[str, Command] = {command.id: command for command in known if not command.is_over}

    def apply(self, entry: Entry, log_time: Micros) -> tuple[Command, Step] | None:
        """Take in an entry of the kind ``COMMAND``: the command after it, and the step; none if it changes nothing.
        :class:`Invalid` if it is no step."""
        step = read_step(entry.payload)
        if step.step == StepKind.ACCEPTED:
            if entry.epoch or step.id in self.open:
                return None
            after: Command | None = begin(step, log_time)
        else:
            known = self.open.get(step.id)
            after = fold(known, step, log_time, entry.source if entry.epoch else "") if known is not None else None
        if after is None:
            return None
        if after.is_over:
            self.open.pop(after.id, None)
        else:
            self.open[after.id] = after
        return after, step


def read_step(payload: Any) -> Step:
    """The step that an entry carries; :class:`Invalid` if it is none."""
    try:
        return msgspec.convert(payload, Step)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, "command", f"not a step of a command ({error})")) from None


def command_of_row(row: Mapping[str, Any]) -> Command:
    """The command in a row of :class:`sonde.question.Commands`, its times in microseconds."""
    fields = {name: row[name] for name in Command.__struct_fields__}
    parsed = {name: msgspec.json.decode(row[name]) for name in ("parameters", "details")}
    return msgspec.convert({**fields, **parsed}, Command)


def command_json(command: Command) -> dict[str, Any]:
    """``command`` as the api gives it."""
    times = ("accepted_at", "expires_at", "handed_at", "delivered_at", "started_at", "finished_at")
    return {
        "id": command.id,
        "device": command.device,
        "command": command.command,
        "parameters": command.parameters,
        "who": command.who,
        "state": State.QUEUED if command.state == State.HANDED else command.state,
        "progress": command.progress,
        "message": command.message,
        "details": command.details,
        "node": command.node,
        **{name: None if (at := getattr(command, name)) is None else format_time(at) for name in times},
    }


def command_result(step: Step, log_time: Micros) -> dict[str, Any] | None:
    """The message of the live feed for a step; none for one that says nothing to people."""
    if step.step == StepKind.HANDED:
        return None
    return {
        "type": "command_result",
        "id": step.id,
        "device": step.device,
        "value": result_value(step),
        "timestamp": format_time(step.at(log_time)),
    }


def result_value(step: Step) -> dict[str, Any]:
    """What a step says in the form ``{command, status, message, details}``; ``status`` is pending, success or error."""
    details = {"state": step.step, "progress": step.progress, "result": step.details}
    return {
        "command": step.command,
        "status": _STATUS.get(step.step, "pending"),
        "message": step.message,
        "details": {name: value for name, value in details.items() if value is not None},
    }


class Poll(msgspec.Struct, frozen=True):
    """A node asks for its tasks: ``epoch`` is that of its command book, ``session`` is new with each start of the node, and
    ``seen`` is the number of the newest answer of this session that it holds."""

    epoch: str
    session: str
    seen: int = 0


class Task(msgspec.Struct, frozen=True):
    """A command for a node. ``expires_in`` is in seconds from now. ``begun``: it was seen to run, so it never may again."""

    id: str
    device: str
    command: str
    parameters: dict[str, Any]
    expires_in: float
    begun: bool = False


class Tasks(msgspec.Struct, frozen=True):
    """The answer to a :class:`Poll`: its number, the id of the log it stands for, and what there is to do, perhaps nothing."""

    number: int
    log: str
    tasks: list[Task]
