"""One node that asks for commands, under one epoch of its book."""

import asyncio

from sonde.command import Poll


class Link:
    """What it has been sent in its present session, and whether it is there. Used on one event loop."""

    def __init__(self) -> None:
        self.number = 0  # of the newest answer
        self.session = ""
        self.polls = 0  # that wait now
        self.left = 0.0  # when the last one ended, by the loop's clock
        self.turn = 0  # of the newest poll
        self.news = asyncio.Event()
        self._seen = 0
        self._sent: dict[str, int] = {}  # by command: the number of the answer that held it

    def enter(self, poll: Poll) -> int:
        """A poll begins; its turn. One that waited before, such as over a connection that is dead, ends."""
        if poll.session != self.session:
            self.session = poll.session
            self._sent.clear()
        self._seen = poll.seen
        self.number = max(self.number, poll.seen)
        self.turn += 1
        self.polls += 1
        self.news.set()
        return self.turn

    def leave(self, now: float) -> None:
        self.polls -= 1
        self.left = now

    def is_there(self, now: float, grace: float) -> bool:
        """Whether the node waits for commands, or did less than ``grace`` seconds ago."""
        return self.polls > 0 or now - self.left < grace

    def has(self, id_: str) -> bool:
        """Whether the node has said that it holds the answer in which a command was sent."""
        return self._sent.get(id_, self.number + 1) <= self._seen

    def send(self, ids: list[str]) -> int:
        """Commands go out in the next answer; its number."""
        self.number += 1
        self._sent.update(dict.fromkeys(ids, self.number))
        return self.number

    def forget(self, id_: str) -> None:
        """A command is over."""
        self._sent.pop(id_, None)
