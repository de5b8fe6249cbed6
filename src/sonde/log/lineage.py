"""Which log a segment was written by. A log that was restored from a backup goes on under an id of its own, because what comes
now is not what came there; the segments before that place keep the id that they were written with.

``log/lineage`` holds one JSON object a line, oldest first: the id of an older log, and where it ends in each partition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from sonde.errors import Damaged

FILE: Final = "lineage"


class Ancestor(msgspec.Struct, frozen=True):
    """A log that this one goes on from: ``ends`` has the offset after its last frame, by partition."""

    log: str
    ends: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Lineage:
    """The id of a log, and those before it, oldest first."""

    id: str
    ancestors: tuple[Ancestor, ...] = ()

    def log_of(self, partition: int, first: int) -> str:
        """The id in the segment that starts with offset ``first``."""
        return next((a.log for a in self.ancestors if first < a.ends.get(partition, 0)), self.id)

    def followed_by(self, log: str, ends: Mapping[int, int]) -> "Lineage":
        """That of a log that goes on from this one where it ends."""
        return Lineage(log, (*self.ancestors, Ancestor(self.id, dict(ends))))

    def file(self) -> bytes:
        """What stands in the file."""
        return b"".join(msgspec.json.encode(ancestor) + b"\n" for ancestor in self.ancestors)


def read_lineage(path: Path, log: str) -> Lineage:
    """That of the log at ``path``, whose id is ``log``; :class:`Damaged` if its file cannot be read."""
    file = path / FILE
    try:
        lines = file.read_bytes().splitlines()
        return Lineage(log, tuple(msgspec.json.decode(line, type=Ancestor) for line in lines))
    except FileNotFoundError:
        return Lineage(log)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Damaged(
            f"the lineage of the log cannot be read ({error})",
            file=str(file),
            offset=0,
            hint="Restore it from a backup",
        ) from None
