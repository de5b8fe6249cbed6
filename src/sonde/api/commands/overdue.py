"""What time alone makes of commands, and of nodes that come back as somebody else."""

from collections.abc import Iterator
from typing import Final

from sonde.api.commands.known import Known
from sonde.api.commands.link import Links
from sonde.api.commands.steps import step
from sonde.clock import SECOND, Micros
from sonde.command import Command, State, Step, StepKind

_ANSWER: Final[Micros] = 5 * SECOND  # for a node that went to say that it has what it was handed
_PATIENCE: Final[Micros] = 30 * SECOND  # with one that is there and does not say it


def overdue(known: Known, links: Links, now: Micros, loop_now: float) -> Iterator[Step]:
    """The steps that are due: what waited too long has expired, what nobody can tell any more is unknown."""
    for command in known.open():
        if command.state == State.QUEUED:
            if now >= command.expires_at:
                yield step(command, StepKind.EXPIRED, now, message="its time was over before its node asked for it")
        elif command.state != State.UNKNOWN and (why := _doubt(command, links, now, loop_now)):
            yield step(command, StepKind.UNKNOWN, now, message=why)


def _doubt(command: Command, links: Links, now: Micros, loop_now: float) -> str:
    """Why nobody can tell what becomes of a command that a node was handed; empty if that is not so."""
    if links.is_elsewhere(command.node, command.epoch, loop_now):
        return f"the node {command.node} came back without its command book"
    if command.state != State.HANDED:
        return ""
    there = links.is_there(command.node, command.epoch, loop_now)
    if now >= command.expires_at + (_PATIENCE if there else _ANSWER):
        return f"it was handed to the node {command.node}, which has not answered"
    return ""
