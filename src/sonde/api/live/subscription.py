"""One subscription of one client."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from sonde.api.live.matching import Matching
from sonde.api.live.place import Place
from sonde.api.live.room import Room
from sonde.api.live.wanted import Wanted

_OWED: Final = 1000


class Subscription:
    """``place`` is where it is in the log while it is behind; while it is live, it is where its group is.

    ``resumed`` says that its client asked for what came before: then all of it is read, from the log if need be. ``matching``
    says which series it is about, while it is behind.
    """

    def __init__(self, wanted: Wanted, room: Room, place: Place, *, resumed: bool) -> None:
        self.wanted = wanted
        self.room = room
        self.place = place
        self.resumed = resumed
        self.is_live = False
        self.ended = False
        self.matching: Matching | None = None
        self.owed: list[tuple[str, Mapping[str, Any]]] = []
        self.owes_more = False
        self.task: asyncio.Task[None] | None = None

    def owe(self, type_: str, members: Mapping[str, Any]) -> None:
        """Keep a message that the log does not hold until the subscription is live; when there are many, only that there
        were."""
        if len(self.owed) < _OWED:
            self.owed.append((type_, members))
        else:
            self.owes_more = True

    def end(self) -> None:
        """Nothing more is sent."""
        self.ended = True
        if self.task is not None:
            self.task.cancel()
            self.task = None
