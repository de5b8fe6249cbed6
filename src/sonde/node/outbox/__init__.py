"""Outboxes: what a node keeps until a sink has it."""

from sonde.node.outbox.letters import Letter, ask_again, dead_letters, sealed_with, what_waits
from sonde.node.outbox.memory import MemoryOutbox
from sonde.node.outbox.sqlite import SqliteOutbox

__all__ = [
    "Letter",
    "MemoryOutbox",
    "SqliteOutbox",
    "ask_again",
    "dead_letters",
    "sealed_with",
    "what_waits",
]
