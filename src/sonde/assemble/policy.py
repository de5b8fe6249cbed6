"""From the configuration to what is kept how long."""

from collections.abc import Sequence
from typing import cast

from sonde.clock import SECOND, Micros
from sonde.config import Settings
from sonde.retention import Policy, Shed


def policy_of(settings: Settings) -> Policy:
    """What the configuration says of it."""
    asked, reserve = settings.retention, settings.log.reserve

    def age(seconds: float | None) -> Micros | None:
        return None if seconds is None else round(seconds * SECOND)

    return Policy(
        readings=age(asked.readings),
        readings_bytes=asked.readings_size,
        windows={width: round(seconds * SECOND) for width, seconds in asked.windows.items()},
        windows_bytes=asked.windows_size,
        alerts=age(asked.alerts),
        alerts_most=asked.alerts_most,
        commands=age(asked.commands),
        log=age(asked.log),
        log_bytes=asked.log_size,
        audit=age(asked.audit),
        warn_below=4 * reserve if asked.warn_below is None else asked.warn_below,
        shed_below=2 * reserve if asked.shed_below is None else asked.shed_below,
        shed=cast("Sequence[Shed]", asked.shed),
    )
