"""Who has which partition of a log, within one process."""

import threading
from collections.abc import Iterable


class MemoryGroup:
    """Shares partitions out among those who :meth:`join`, as evenly as can be, one after the other."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self._partitions = sorted(partitions)
        self._members: list[MemoryMembership] = []
        self._lock = threading.Lock()

    def join(self) -> "MemoryMembership":
        """A place for one more; what the others have changes with it."""
        with self._lock:
            member = MemoryMembership(self)
            self._members.append(member)
            return member

    def leave(self, member: "MemoryMembership") -> None:
        """Take a place away, as a group does to one that was not heard of for too long."""
        with self._lock:
            if member in self._members:
                self._members.remove(member)

    def share_of(self, member: "MemoryMembership") -> frozenset[int]:
        """What a member has now; nothing if it is none."""
        with self._lock:
            if member not in self._members:
                return frozenset()
            return frozenset(self._partitions[self._members.index(member) :: len(self._members)])


class MemoryMembership:
    """The port ``Membership`` in memory. :meth:`MemoryGroup.join` makes one."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group

    def partitions(self) -> frozenset[int]:
        return self._group.share_of(self)

    def close(self) -> None:
        self._group.leave(self)
