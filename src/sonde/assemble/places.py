"""Where the parts of an embedded Sonde lie, by configuration."""

from pathlib import Path

from sonde.config import Settings
from sonde.directory import DataDirectory


def log_path(directory: DataDirectory, settings: Settings) -> Path:
    """The folder of the log."""
    named = settings.log.url.removeprefix("file:").removeprefix("//")
    return Path(named) if named else directory.log
