"""A cursor: the place in a log up to which an answer or a feed has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sonde.errors import Invalid, Problem


@dataclass(frozen=True, slots=True)
class Cursor:
    """For one log, the next offset of each of its partitions.

    Its text, ``<log id>.<partition>-<offset>[.<partition>-<offset>…]``, travels in headers and links.
    """

    log: str
    offsets: Mapping[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return ".".join([self.log, *(f"{p}-{o}" for p, o in sorted(self.offsets.items()))])

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that ``text`` names; :class:`Invalid` if it names none."""
        log, *places = text.split(".")
        try:
            offsets = {int(p): int(o) for p, o in (place.split("-") for place in places)}
        except ValueError:
            raise Invalid(Problem(None, "cursor", f"{text!r} is not a cursor; take one from an answer")) from None
        if not log or not text.isascii() or any(p < 0 or o < 0 for p, o in offsets.items()):
            raise Invalid(Problem(None, "cursor", f"{text!r} is not a cursor; take one from an answer"))
        return cls(log, offsets)
