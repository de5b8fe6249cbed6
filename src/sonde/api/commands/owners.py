"""Which node has which device: the one whose profile of it is the newest in the log."""

from dataclasses import dataclass
from typing import Any

import msgspec

from sonde.profile import Profile


@dataclass(frozen=True, slots=True)
class Owned:
    """A device's newest profile, and the node that declared it."""

    profile: Profile
    node: str


class Owners:
    """All devices that were declared."""

    def __init__(self) -> None:
        self._owned: dict[str, Owned] = {}

    def of(self, device: str) -> Owned | None:
        return self._owned.get(device)

    def node_of(self, device: str) -> str:
        """The node that has a device; empty if none ever declared it."""
        owned = self._owned.get(device)
        return owned.node if owned is not None else ""

    def devices_with(self, command: str) -> list[str]:
        """The devices that understand a command."""
        return [device for device, owned in self._owned.items() if command in owned.profile.commands]

    def declare(self, payload: Any, node: str) -> str:
        """Take in what an entry says; the device. Empty if it is no profile: the processor marks it."""
        try:
            profile = msgspec.convert(payload, Profile)
        except msgspec.ValidationError:
            return ""
        self._owned[profile.device] = Owned(profile, node)
        return profile.device
