"""What became of a command that was given."""

from typing import Any, Final

import msgspec

ENDS: Final = frozenset({"succeeded", "failed", "expired", "cancelled", "unknown"})


class Outcome(msgspec.Struct, frozen=True):
    """A command as the server has it now; ``docs/commands.md`` tells what each ``state`` says. Times are RFC 3339.

    ``online`` says whether its device's node was there when it was given; None once that is long ago.
    """

    id: str
    device: str
    command: str
    parameters: dict[str, Any]
    state: str
    accepted_at: str
    expires_at: str
    who: str = ""
    progress: float | None = None
    message: str = ""
    details: Any = None
    node: str = ""
    handed_at: str | None = None
    delivered_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    online: bool | None = None

    @property
    def is_over(self) -> bool:
        """Whether it came to an end. A device that was lost sight of may still tell better of an ``unknown`` one."""
        return self.state in ENDS

    @property
    def ok(self) -> bool:
        """Whether the device says that it did it."""
        return self.state == "succeeded"


class Checked(msgspec.Struct, frozen=True):
    """A command that would be taken: its parameters with their defaults, the node that has the device, and whether it is
    there."""

    device: str
    command: str
    parameters: dict[str, Any]
    node: str
    online: bool
