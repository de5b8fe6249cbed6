"""What can go wrong, named for what the caller should do about it.

::

    SondeError
    ├── Retry               the same call may succeed later            → 429, 503
    │   └── Doubtful        and nobody knows whether this one did
    ├── Hold                stop until someone acts
    │   ├── Damaged         a file does not hold what was written to it
    │   ├── KeyMissing      a frame names a master key that is not here
    │   ├── InUse           another program owns this directory
    │   └── NewerFormat     written by a newer Sonde than this one
    └── Reject              set this one aside, go on with the next    → 4xx
        ├── Invalid         it cannot be parsed or breaks a rule       → 400, 422
        ├── Unauthenticated no token, or one that is not known         → 401
        ├── Forbidden       the token may not do this                  → 403
        ├── NotFound        nothing has this name                      → 404
        ├── Conflict        it contradicts what is already there       → 409
        ├── KeyRetired      the key of a frame was given up on purpose
        ├── TooLarge        larger than a request may ever be          → 413
        └── Unsupported     a content type that is not understood      → 415

A message has three parts: what happened, where, and what to do (``hint``).
Adapters map their driver's errors into this tree at the seam.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class SondeError(Exception):
    """The root; never raised itself."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.message = message
        self.hint = hint


class Retry(SondeError):
    """The same call may succeed later; ``after`` seconds if that is known."""

    def __init__(self, message: str, *, hint: str = "", after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Throttled(Retry):
    """Over a budget: the caller sent too much for now."""


class Doubtful(Retry):
    """It may have been done: no answer came back. Doing it again may do it twice."""


class Hold(SondeError):
    """Nothing will get better until someone acts."""


class Damaged(Hold):
    """A file does not hold what was written to it.

    ``offset`` is a place in ``file``: a byte, or whatever ``unit`` says. In a log, ``next_offset`` is the next frame that
    can be read, if there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str,
        offset: int,
        next_offset: int | None = None,
        hint: str = "",
        unit: str = "byte",
    ) -> None:
        super().__init__(f"{message} in {file} at {unit} {offset}", hint=hint)
        self.file = file
        self.offset = offset
        self.next_offset = next_offset


class KeyMissing(Hold):
    """A frame names a master key that the key ring does not hold."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the key {name!r} is not in the key ring",
            hint="Put it back into the key file; nothing was changed",
        )
        self.name = name


class InUse(Hold):
    """Another program owns this file or directory."""


class NewerFormat(Hold):
    """Written by a newer Sonde than this one."""


class Reject(SondeError):
    """This one can never succeed: set it aside and go on with the next."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: where, what, and what would be right.

    ``index`` counts readings from 0; ``None`` means the request as a whole.
    """

    index: int | None
    field: str
    message: str


class Invalid(Reject):
    """It cannot be parsed (``syntax``: 400) or breaks a rule (422). ``more`` are further problems, where all are told."""

    def __init__(self, problem: Problem, *, more: Sequence[Problem] = (), syntax: bool = False) -> None:
        super().__init__("; ".join(map(_in_words, (problem, *more))))
        self.problem = problem
        self.problems = (problem, *more)
        self.syntax = syntax


def _in_words(problem: Problem) -> str:
    where = "" if problem.index is None else f"reading {problem.index}: "
    field = f"{problem.field}: " if problem.field else ""
    return f"{where}{field}{problem.message}"


class Unauthenticated(Reject):
    """No token, or one that is not known, expired or revoked."""


class Forbidden(Reject):
    """The token is known but may not do this."""


class NotFound(Reject):
    """Nothing has this name."""


class Conflict(Reject):
    """It contradicts what is already there; ``known`` says what is, if a number says it."""

    def __init__(self, message: str, *, hint: str = "", known: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.known = known


class KeyRetired(Reject):
    """A frame names a master key that was retired on purpose: it can never be opened again."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the key {name!r} was retired, and what it sealed is lost", hint="If there is a copy of it: sonde keys add"
        )
        self.name = name


class TooLarge(Reject):
    """Larger than a request may ever be; the message names the limit."""


class Unsupported(Reject):
    """A content type or encoding that is not understood; the message lists those that are."""
