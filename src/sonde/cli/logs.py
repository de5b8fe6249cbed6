"""Log lines: when, how grave, what happened, and with what."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

from sonde.cli.terminal import Enduring

_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_DIM, _END = "\x1b[2m", "\x1b[0m"


def configure_logs(out: TextIO, *, colours: bool = False, least: int = logging.INFO) -> None:
    """Send all log lines to ``out``; those of libraries only if they are warnings."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _Line(colours),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Enduring(out))),
    )
    logging.getLogger().handlers = [_Forward(logging.WARNING)]


class _Line:
    """``2026-01-01T00:00:00.000000Z warning  event key=value``."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        time, level, name = event.pop("timestamp"), event.pop("level"), str(event.pop("event"))
        trace = event.pop("exception", "")
        pairs = " ".join(f"{key}={_value(value)}" for key, value in event.items())
        if self._colours:
            text = f"{_DIM}{time[11:19]}{_END} {_COLOURS.get(level, '')}{name}{_END if level in _COLOURS else ''}"
            line = f"{text}  {_DIM}{pairs}{_END}" if pairs else text
        else:
            line = f"{time} {level:<7} {name} {pairs}".rstrip()
        return f"{line}\n{trace}" if trace else line


class _Forward(logging.Handler):
    """What libraries log, in the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        logger.log(record.levelno, record.name, message=record.getMessage(), exc_info=record.exc_info or None)


def _value(value: Any) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def plain_logs(least: int = logging.INFO) -> None:
    """Lines on standard error."""
    configure_logs(sys.stderr, least=least)


def warnings_only() -> None:
    """For commands that come to an end by themselves: standard error, and only what is not as it should be."""
    plain_logs(logging.WARNING)
