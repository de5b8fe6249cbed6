"""Commands as the log tells of them: accepted, on their way, and what their devices said."""

from collections.abc import Iterable, Sequence

from sonde.changes import Happened
from sonde.clock import Micros
from sonde.command import Board, Command, StepKind
from sonde.entry import Entry


class Commanding:
    """The commands that are not over, and what a step of the processor changes of any."""

    def __init__(self, known: Iterable[Command]) -> None:
        self._board = Board(known)
        self._changed: dict[str, Command] = {}
        self._happened: list[Happened] = []

    def apply(self, entry: Entry, log_time: Micros) -> None:
        """Take in an entry of the kind ``COMMAND``; :class:`sonde.errors.Invalid` if it is no step of one."""
        done = self._board.apply(entry, log_time)
        if done is not None:
            command, step = done
            self._changed[command.id] = command
            if step.step != StepKind.HANDED:
                self._happened.append(Happened.of(step, log_time))

    def take_changed(self) -> tuple[Sequence[Command], Sequence[Happened]]:
        """What has changed since this was last asked."""
        commands, happened = list(self._changed.values()), self._happened
        self._changed, self._happened = {}, []
        return commands, happened
