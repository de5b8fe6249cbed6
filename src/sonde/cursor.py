"""A cursor: the place in a log up to which an answer or a feed has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sonde.errors import Invalid, Problem


@dataclass(frozen=True, slots=True)
class Cursor:
    """For one log, the next offset of each of its partitions; ``within`` says how many readings of that very frame came
    already, where a message ended inside it.

    Its text, ``<log id>.<partition>-<offset>[-<readings>][.<partition>-<offset>…]``, travels in headers, links and messages.
    """

    log: str
    offsets: Mapping[int, int] = field(default_factory=dict)
    within: Mapping[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        places = (
            f"{p}-{o}-{self.within[p]}" if self.within.get(p) else f"{p}-{o}" for p, o in sorted(self.offsets.items())
        )
        return ".".join([self.log, *places])

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that ``text`` names; :class:`Invalid` if it names none."""
        log, *places = text.split(".")
        offsets: dict[int, int] = {}
        within: dict[int, int] = {}
        try:
            for place in places:
                partition, offset, *rest = (int(number) for number in place.split("-"))
                offsets[partition] = offset
                if rest:
                    (within[partition],) = rest
        except ValueError:
            raise _none(text) from None
        numbers = [*offsets, *offsets.values(), *within.values()]
        if not log or not text.isascii() or any(not 0 <= number < 1 << 63 for number in numbers):
            raise _none(text)
        return cls(log, offsets, within)


def _none(text: str) -> Invalid:
    return Invalid(Problem(None, "cursor", f"{text[:100]!r} is not a cursor; take one from an answer"))
