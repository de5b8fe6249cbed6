"""What is let go of: floors, which rise with time or need, and purges, which somebody ordered. Both are entries of the log.

A *floor* is a moment before which nothing of a kind is kept. It only rises. What is below it is not shown from the step on
that raised it, whenever it came; its rows go when their part does. A *purge* takes what came before it in the log, and
nothing that comes after.
"""

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from math import lcm
from typing import Any, Final, Literal

import msgspec

from sonde.changes import Definition, Series
from sonde.clock import SECOND, Micros
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid, Problem

What = Literal["readings", "windows", "alerts", "commands"]
Why = Literal["age", "size", "disk"]
_LATEST: Final = 7_258_118_400 * SECOND  # year 2200
_DAY_SECONDS: Final = 86_400


class Floor(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The payload of an ``EXPIRY``: nothing of ``what`` from before a moment is kept any more.

    ``width`` (seconds) is that of the windows. ``readings`` is how many were there when it was decided, for ``why`` disk:
    that is a loss, and is told as one.
    """

    what: What
    before: Micros
    width: int = 0
    why: Why = "age"
    readings: int = 0

    @property
    def name(self) -> str:
        """Of its definition: what, and of windows the width."""
        return f"{self.what} {self.width}" if self.what == "windows" else self.what

    def entry(self, source: str) -> Entry:
        return Entry(kind=EntryKind.EXPIRY, source=source, payload=msgspec.to_builtins(self))

    @classmethod
    def parse(cls, payload: Any) -> "Floor":
        """:class:`Invalid` if the payload makes no sense."""
        floor: Floor = _converted(payload, cls, "expiry")
        if not 0 <= floor.before <= _LATEST or floor.readings < 0 or (floor.what == "windows") != (floor.width > 0):
            raise Invalid(Problem(None, "expiry", "a moment, a count or a width that cannot be"))
        return floor


class PurgeOrder(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The payload of a ``PURGE``. Patterns are shell-style; none means every one. ``readings`` were there when it was
    ordered. ``who`` ordered it, and ``note`` says why, in their words."""

    device: str | None = None
    metric: str | None = None
    before: Micros | None = None
    who: str = ""
    note: str = ""
    readings: int = 0

    @property
    def text(self) -> str:
        """What goes, in words."""
        parts = [f"device {self.device}" if self.device else "", f"metric {self.metric}" if self.metric else ""]
        return ", ".join(part for part in parts if part) or "every device"

    def entry(self, source: str) -> Entry:
        return Entry(kind=EntryKind.PURGE, source=source, payload=msgspec.to_builtins(self))

    def matching(self, series: Iterable[Series]) -> tuple[int, ...] | None:
        """The numbers of the series that are meant; none: every one."""
        if self.device is None and self.metric is None:
            return None
        return tuple(
            one.id
            for one in series
            if fnmatchcase(one.device, self.device or "*") and fnmatchcase(one.metric, self.metric or "*")
        )

    @classmethod
    def parse(cls, payload: Any) -> "PurgeOrder":
        """:class:`Invalid` if the payload makes no sense, or names nothing at all."""
        order: PurgeOrder = _converted(payload, cls, "purge")
        if not order.device and not order.metric and order.before is None:
            raise Invalid(Problem(None, "purge", "name a device, a metric or a moment"))
        if order.before is not None and not 0 <= order.before <= _LATEST:
            raise Invalid(Problem(None, "before", "a moment before the year 2200"))
        if order.readings < 0 or any(len(text) > 500 for text in (order.device or "", order.metric or "", order.note)):
            raise Invalid(Problem(None, "purge", "a pattern or note of more than 500 characters, or a count below 0"))
        return order


def whole_windows(before: Micros, widths: Collection[int]) -> Micros:
    """The last moment, not after ``before``, at which a window of every width (seconds) begins. So a purge never cuts
    through a window, and what is left of windows is exactly that of the readings that are left."""
    step = min(lcm(*widths), _DAY_SECONDS) * SECOND if widths else SECOND
    return before // step * step


def floors_of(definitions: Iterable[Definition]) -> dict[str, Micros]:
    """The floors among ``definitions``, by their name."""
    return {d.name: int(d.body["before"]) for d in definitions if d.kind == "floor" and d.body is not None}


def _converted(payload: Any, cls: Any, name: str) -> Any:
    try:
        return msgspec.convert(payload, cls)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, name, str(error))) from None
