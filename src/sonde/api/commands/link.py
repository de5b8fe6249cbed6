"""The nodes that ask for commands. Used on one event loop."""

import asyncio
from typing import Final

from sonde.command import Poll
from sonde.metrics import Metrics

_GRACE_SECONDS: Final = 5.0  # a node that asks again within this was never away


class Link:
    """A node under one epoch of its book: what it has been sent in its present session, and whether it is there."""

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

    def is_there(self, now: float) -> bool:
        """Whether the node waits for commands, or did a moment ago."""
        return self.polls > 0 or now - self.left < _GRACE_SECONDS

    def has(self, id_: str) -> bool:
        """Whether the node has said that it holds the answer in which a command was sent."""
        return self._sent.get(id_, self.number + 1) <= self._seen

    def send(self, ids: list[str]) -> int:
        """Commands go out in the next answer; its number."""
        self.number += 1
        self._sent.update(dict.fromkeys(ids, self.number))
        return self.number

    def keep(self, ids: set[str]) -> None:
        """Forget what was sent of all other commands: they are over."""
        self._sent = {id_: number for id_, number in self._sent.items() if id_ in ids}


class Links:
    """All of them, by node and epoch."""

    def __init__(self, metrics: Metrics) -> None:
        self._links: dict[tuple[str, str], Link] = {}
        self._newest: dict[str, Link] = {}  # by node
        self._metrics = metrics

    def enter(self, node: str, poll: Poll) -> tuple[Link, int]:
        """A poll begins: its link, and its turn there."""
        link = self._newest[node] = self._links.setdefault((node, poll.epoch), Link())
        turn = link.enter(poll)
        self._count()
        return link, turn

    def leave(self, link: Link, now: float) -> None:
        link.leave(now)
        self._count()

    def is_newest(self, node: str, link: Link) -> bool:
        """Whether this epoch of a node is the one that it has now."""
        return self._newest.get(node) is link

    def is_online(self, node: str, now: float) -> bool:
        link = self._newest.get(node)
        return link is not None and link.is_there(now)

    def is_there(self, node: str, epoch: str, now: float) -> bool:
        link = self._links.get((node, epoch))
        return link is not None and link.is_there(now)

    def is_elsewhere(self, node: str, epoch: str, now: float) -> bool:
        """Whether the node is there, but under another epoch."""
        there = [e for (n, e), link in self._links.items() if n == node and link.is_there(now)]
        return bool(there) and epoch not in there

    def wake(self, node: str) -> None:
        """There may be something to do for a node."""
        for (name, _), link in self._links.items():
            if name == node:
                link.news.set()

    def wake_all(self) -> None:
        for link in self._links.values():
            link.news.set()

    def tidy(self, now: float, open_: set[str]) -> None:
        """Forget the nodes that are away, and the commands that are over."""
        for key, link in list(self._links.items()):
            if link.is_there(now):
                link.keep(open_)
                continue
            del self._links[key]
            if self._newest.get(key[0]) is link:
                del self._newest[key[0]]
        self._count()

    def _count(self) -> None:
        self._metrics.downlinks.set(sum(link.polls > 0 for link in self._links.values()))
