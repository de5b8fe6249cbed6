"""Frames at hand: the newest, and those that were read again a short while ago. Many clients come back to the same place."""

from collections.abc import Sequence

from sonde.fresh import Fresh

_OVERHEAD = 512  # bytes of a frame besides its readings


class Recent:
    """Frames by place, up to ``limit`` bytes; the oldest make way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._frames: dict[tuple[int, int], Fresh] = {}

    def put(self, fresh: Fresh) -> None:
        """Keep a frame."""
        place = (fresh.partition, fresh.offset)
        if place in self._frames:
            return
        self._frames[place] = fresh
        self._size += fresh.bytes + _OVERHEAD
        while self._size > self._limit and len(self._frames) > 1:
            oldest = next(iter(self._frames))
            self._size -= self._frames.pop(oldest).bytes + _OVERHEAD

    def holds(self, partition: int, offset: int) -> bool:
        return (partition, offset) in self._frames

    def read(self, partition: int, offset: int, until: int, most: int) -> Sequence[Fresh]:
        """The frames at hand from ``offset`` on without a hole, before ``until``, about ``most`` readings."""
        found: list[Fresh] = []
        readings = 0
        while offset < until and readings < most:
            fresh = self._frames.get((partition, offset))
            if fresh is None or len(found) >= most:
                break
            found.append(fresh)
            readings += len(fresh.batch) if fresh.batch is not None else 0
            offset = fresh.until
        return found

    def clear(self) -> None:
        self._frames.clear()
        self._size = 0
