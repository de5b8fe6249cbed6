"""Every socket of Sonde: one file for each place in which something is plugged in.

An adapter implements one of these and passes its contract test in :mod:`sonde.testing`. All methods raise errors of
:mod:`sonde.errors` and no others. Methods block unless they are ``async``.
"""

from sonde.ports.control import AuditTrail, Control, Credential, Session, Sessions
from sonde.ports.live import Feed, Guest, Knock, Line, Live
from sonde.ports.log import AppendsTogether, DeadLetter, DeadLetters, Journal, Log, Membership, ReadEvents, Record
from sonde.ports.news import Courier, Notices
from sonde.ports.outbox import CommandBook, Noted, Outbox, Outgoing, Stage, StreamId, Waiting
from sonde.ports.sensor import Declares, EndOfReadings, Paced, Performs, Sensor, Tell
from sonde.ports.store import Claim, Held, Holdings, Identities, Onlooker, Piece, Store
from sonde.ports.wire import Dispatch, Downlink, Intake, Telemetry, Wire

__all__ = [
    "AppendsTogether",
    "AuditTrail",
    "Claim",
    "CommandBook",
    "Control",
    "Courier",
    "Credential",
    "DeadLetter",
    "DeadLetters",
    "Declares",
    "Dispatch",
    "Downlink",
    "EndOfReadings",
    "Feed",
    "Guest",
    "Held",
    "Holdings",
    "Identities",
    "Intake",
    "Journal",
    "Knock",
    "Line",
    "Live",
    "Log",
    "Membership",
    "Noted",
    "Notices",
    "Onlooker",
    "Outbox",
    "Outgoing",
    "Paced",
    "Performs",
    "Piece",
    "ReadEvents",
    "Record",
    "Sensor",
    "Session",
    "Sessions",
    "Stage",
    "Store",
    "StreamId",
    "Telemetry",
    "Tell",
    "Waiting",
    "Wire",
]
