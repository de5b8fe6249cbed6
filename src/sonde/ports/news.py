"""News for people outside: what they are to be told, and the ways to them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sonde.notice import Message, Notice


class Notices(Protocol):
    """What people outside are to be told, and what became of it. It lives in the control database, so that a rebuild tells
    nobody anything again."""

    def places(self, target: str, log: str) -> Mapping[int, int]:
        """How far the events of a log have been made notices for a target: partition → the next offset; none if never."""
        ...

    def add(self, target: str, log: str, places: Mapping[int, int], notices: Sequence[Notice]) -> None:
        """Keep notices and how far they reach, durably and in one. A notice that is there already stays as it is."""
        ...

    def waiting(self, target: str, limit: int) -> Sequence[Notice]:
        """The notices of a target that wait, oldest first."""
        ...

    def update(self, notices: Sequence[Notice]) -> None:
        """Set notices that are there, durably."""
        ...

    def recent(self, target: str | None, limit: int) -> Sequence[Notice]:
        """The newest notices, newest first, of one target or of all."""
        ...


class Courier(Protocol):
    """A way to people outside: a web hook, e-mail."""

    def send(self, message: Message) -> None:
        """Give a message away. :class:`Retry` if it was certainly not taken and may be later, :class:`Doubtful` if nobody
        knows, :class:`Reject` if it never will be."""
        ...
