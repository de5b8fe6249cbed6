"""What senders are told when the log does not take what they sent. Whatever it is, they may send it again."""

from typing import Final

import structlog

from sonde.errors import Retry, SondeError

_LONG: Final = 60.0  # seconds after which it may be tried again, where somebody has to act
_events = structlog.get_logger()


def untaken(error: Exception, partition: int) -> Retry:
    """An append failed."""
    if isinstance(error, SondeError):
        after = error.after if isinstance(error, Retry) else _LONG
        return Retry(f"the log takes nothing: {error.message}", hint=error.hint, after=after)
    _events.error("append_failed", partition=partition, exc_info=error)
    return Retry(f"the log takes nothing: {error}", hint="The server's log says why", after=5.0)


def unsealed(error: Exception, partition: int | None) -> Retry:
    """A request cannot become a frame: a mistake of ours. Without ``partition``: not even be split among them."""
    _events.error("sealing_failed", partition=partition, exc_info=error)
    return Retry("the readings could not be sealed", hint="The server's log says why", after=_LONG)
