"""Who did what, when and from where: the acts that an audit trail keeps, each chained to the one before by its hash."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from sonde.clock import Micros
from sonde.errors import Damaged
from sonde.moment import format_time

NO_HASH: Final = bytes(32)
"""What the first act of a trail is chained to."""

LONGEST: Final = 1_000
"""Characters of a text in an act; what is longer is cut, and ends with an ellipsis."""

_LOOK: Final = 1_000
_LOOKS: Final = 50
Link = tuple[int, bytes]
"""A number, and the hash of the act that has it."""
START: Final[Link] = (0, NO_HASH)


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that somebody did on purpose.

    ``who`` is the name of a credential, or ``local`` for a command on the machine itself. ``what`` is a verb and its object
    with a point between (``rule.set``, ``alert.acknowledge``, ``key.rotate``, ``token.create``, ``command.send``, ``purge``);
    ``on`` names the one it was done to. ``detail`` never holds a secret.
    """

    time: Micros
    who: str
    what: str
    on: str = ""
    address: str = ""
    detail: Mapping[str, str] = {}


def act(time: Micros, who: str, what: str, on: str = "", address: str = "", /, **detail: str) -> Act:
    """An act whose texts are no longer than a trail takes, and can be written whatever they hold."""
    details = {name: _bounded(text) for name, text in detail.items()}
    return Act(time, _bounded(who), what, _bounded(on), _bounded(address), details)


def written(what: Act) -> bytes:
    """The one form of an act that is kept and hashed: JSON, fields in their order."""
    return msgspec.json.encode(what, order="deterministic")


def chained(previous: bytes, what: Act) -> bytes:
    """The hash of an act after the one whose hash is ``previous``: SHA-256 over both, fields in their order."""
    return hashlib.sha256(previous + written(what)).digest()


class Chain:
    """Checks acts as they come, oldest first, from the link ``start`` on. ``head`` is the newest link that was right.

    ``anchors`` are hashes by number that were noted elsewhere; ``place`` names the trail in errors.
    """

    def __init__(self, start: Link, anchors: Mapping[int, bytes], place: str) -> None:
        self.head = start
        self._start = start
        self._anchors = anchors
        self._place = place

    def take(self, number: int, act: bytes, noted: bytes) -> None:
        """The next act: its number, as it is kept, and the hash kept with it. :class:`Damaged` if it is not the next one, or
        not as it was written."""
        last, previous = self.head
        if number != last + 1:
            raise self._damaged(last + 1, "an act was taken out, or put in")
        found = hashlib.sha256(previous + act).digest()
        if found != noted:
            raise self._damaged(number, "an act was changed, or another one stands in its place")
        if self._anchors.get(number, found) != found:
            raise self._damaged(number, "the trail was written anew: the hash noted elsewhere is another one")
        self.head = number, found

    def end(self, head: Link) -> int:
        """That was all, and ``head`` is the newest link as the trail knows it; how many acts there were."""
        newest = max([head[0], *self._anchors])
        if newest > self.head[0]:
            raise self._damaged(
                self.head[0] + 1, "the newest acts were taken out, up to that of the number " + str(newest)
            )
        if head != self.head:
            raise self._damaged(self.head[0], "acts were put in at the end")
        return self.head[0] - self._start[0]

    def _damaged(self, number: int, problem: str) -> Damaged:
        return Damaged(
            problem,
            file=self._place,
            offset=number,
            unit="number",
            hint="Someone wrote there who should not, or the disk is failing: compare with a backup",
        )


def check_all(
    acts: Iterable[tuple[int, bytes, bytes]], start: Link, head: Link, anchors: Mapping[int, bytes], place: str
) -> int:
    """Check a whole trail; how many acts. See :class:`Chain`."""
    chain = Chain(start, anchors, place)
    for number, act, noted in acts:
        chain.take(number, act, noted)
    return chain.end(head)


def find(
    read: Callable[[int | None, int], Sequence[tuple[int, Act]]],
    before: int | None,
    limit: int,
    who: str = "",
    what: str = "",
) -> tuple[list[tuple[int, Act]], int | None]:
    """The newest ``limit`` acts below number ``before`` that somebody did (``who``) or that are of a kind (``what``:
    ``token.create``, or ``token`` for all that starts so); and the number to go on below, ``None`` at the end. ``read`` is
    that of a trail. So many acts are looked at in one go that an answer comes soon: there may be fewer, and more to come."""
    found: list[tuple[int, Act]] = []
    for _ in range(_LOOKS):
        acts = read(before, _LOOK)
        for number, done in acts:
            before = number
            if who in ("", done.who) and (not what or f"{done.what}.".startswith(f"{what}.")):
                found.append((number, done))
                if len(found) == limit:
                    return found, before if read(before, 1) else None
        if len(acts) < _LOOK:
            return found, None
    return found, before


def described(number: int, what: Act) -> dict[str, object]:
    """An act for JSON."""
    return {
        "number": number,
        "time": format_time(what.time),
        "who": what.who,
        "what": what.what,
        "on": what.on,
        "address": what.address,
        "detail": dict(what.detail),
    }


def _bounded(text: str) -> str:
    plain = text.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
