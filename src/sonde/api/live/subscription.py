"""One subscription of one client."""

import asyncio

from sonde.api.live.place import Place
from sonde.api.live.room import Room
from sonde.api.live.wanted import Wanted


class Subscription:
    """``place`` is where it is in the log while it is behind; while it is live, it is where its group is.

    ``resumed`` says that its client asked for what came before: then all of it is read, from the log if need be. ``known``
    says which series it is about, of those that it met on the way.
    """

    def __init__(self, wanted: Wanted, room: Room, place: Place, *, resumed: bool) -> None:
        self.wanted = wanted
        self.room = room
        self.place = place
        self.resumed = resumed
        self.is_live = False
        self.ended = False
        self.known: dict[int, bool] = {}
        self.task: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Nothing more is sent."""
        self.ended = True
        if self.task is not None:
            self.task.cancel()
            self.task = None
