"""Events that other programs write into the log themselves, as JSON: anonymous readings, beside sealed frames.

They came through no sink, so nobody checked a token, and nothing seals them; whoever may write to the log may send them.
What is read depends on the record alone, so that a store made again has the same.
"""

from typing import Final

from sonde.clock import Micros
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Forbidden, Invalid, Problem
from sonde.moment import LATEST
from sonde.ports import Credential, Telemetry
from sonde.sink import forms, identity
from sonde.sink.columns import merge
from sonde.sink.limits import Limits

SOURCE: Final = "events"
"""The source of plain events, in the ledger."""

_LIMITS: Final = Limits(future=LATEST)  # a clock that is wrong is marked where the limit is known, in the processor
_WHO: Final = Credential(SOURCE, SOURCE, frozenset())


def read_events(record: bytes, now: Micros) -> Body:
    """One event or an array of them, in any form that ``POST /telemetry`` takes; :class:`sonde.errors.Reject`.

    ``now`` is when the log says that the record came: a reading without a time of its own gets it. An event is known by its
    ``event_id``; a record without any by its content, if every event in it has a time.
    """
    if not record:
        raise Invalid(Problem(None, "", "the record is empty"), syntax=True)
    received, body = forms.read(Telemetry(record), now, _LIMITS)
    if now <= 0 and not received.timed:
        raise Invalid(Problem(None, "time", "it is missing, and the log does not say when the record came"))
    digest = identity.body_digest(body)
    key = identity.request_key(_WHO, "", digest, timed=received.timed, identified=received.identified)
    entry = Entry(EntryKind.READINGS, SOURCE, len(received), digest, key)
    return Body([entry], merge([received.readings]))


def refuse_events(record: bytes, now: Micros) -> Body:
    """For a log into which nobody else may write: :class:`sonde.errors.Forbidden`, with the way out."""
    raise Forbidden(
        "plain events are not taken from this log",
        hint="If they should be: set [kafka] plain_events = yes, then run sonde dlq retry",
    )
