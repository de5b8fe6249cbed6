"""Every question, answered by PostgreSQL from one snapshot."""

from sonde.errors import Unsupported
from sonde.question import Answer, Question
from sonde.store.postgres.connections import Connections


class Answers:
    """Asks a database; ``log`` is the id of the log whose places are the cursors of the answers."""

    def __init__(self, connections: Connections, log: str) -> None:
        self._connections, self._log = connections, log

    def ask(self, question: Question) -> Answer:
        """See :meth:`sonde.ports.Store.ask`."""
        raise Unsupported(f"{type(question).__name__} cannot be asked yet")
