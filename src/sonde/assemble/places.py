"""Where the parts of an embedded Sonde lie, by configuration."""

from pathlib import Path

from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Hold


def check_in_files(settings: Settings, what: str, instead: str) -> None:
    """:class:`Hold` if log and store are not those of a data directory, which ``what`` is about; ``instead`` says what to
    do."""
    if settings.topic is not None:
        raise Hold(f"{what} is for a log and a store in files, and these are in Kafka and PostgreSQL", hint=instead)


def log_path(directory: DataDirectory, settings: Settings) -> Path:
    """The folder of the log."""
    if settings.topic is not None:
        raise Hold("this log is a topic of Kafka, and this needs one in files")
    named = settings.log.url.removeprefix("file:").removeprefix("//")
    return Path(named) if named else directory.log
