"""The steps of commands that a server says, and what they become in the log and on their way to a node."""

import hashlib

import msgspec

from sonde.clock import SECOND, Micros
from sonde.command import Command, Step, StepKind, Task
from sonde.entry import Entry, EntryKind


def step(command: Command, kind: StepKind, now: Micros, *, message: str = "", node: str = "", epoch: str = "") -> Step:
    """A step of a command that the server says."""
    return Step(
        id=command.id,
        step=kind,
        device=command.device,
        command=command.command,
        time=now,
        message=message,
        node=node,
        epoch=epoch,
    )


def entry_of(said: Step) -> Entry:
    """A step as it goes into the log. Only an acceptance has an identity: what comes after it says the same however often it
    is said."""
    payload = msgspec.to_builtins(said)
    if said.step != StepKind.ACCEPTED:
        return Entry(EntryKind.COMMAND, source="api", payload=payload)
    asked = msgspec.json.encode([said.device, said.command, said.parameters], order="deterministic")
    digest = hashlib.sha256(asked).digest()[:16]
    return Entry(EntryKind.COMMAND, source=said.who, digest=digest, key=bytes.fromhex(said.id), payload=payload)


def task_of(command: Command, now: Micros) -> Task:
    """A command as its node is given it."""
    return Task(
        id=command.id,
        device=command.device,
        command=command.command,
        parameters=command.parameters,
        expires_in=(command.expires_at - now) / SECOND,
        begun=command.started_at is not None,
    )
