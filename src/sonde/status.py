"""How a running Sonde is doing, in one value: for ``/health`` and the table in the terminal."""

from dataclasses import dataclass, field

from sonde.clock import Micros


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """What one lane of the local node holds."""

    lane: str
    readings: int
    bytes: int
    oldest: Micros | None
    rejected: int


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot; counters count since the start of the process."""

    now: Micros
    received: int = 0  # readings that arrived at the sink
    durable: int = 0  # readings confirmed
    stored: int = 0  # readings in the store
    duplicate: int = 0
    refused: int = 0  # requests
    log_end: int = 0  # next offset of the log
    stored_offset: int = 0  # next offset to be stored
    lag_seconds: float = 0.0
    last_durable: Micros | None = None
    series: int = 0
    alerts_firing: int = 0
    disk_free: int = 0
    connections: int = 0
    outbox: tuple[LaneStatus, ...] = ()
    sensors: dict[str, str] = field(default_factory=dict)  # name -> running | restarting … | failed: why
    problems: tuple[str, ...] = ()  # why it is not ready, in plain words; none: ready
    warnings: tuple[str, ...] = ()  # what will become a problem if nobody looks after it
