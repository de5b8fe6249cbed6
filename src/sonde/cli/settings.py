"""How a command comes to its settings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sonde.assemble.server import find_running
from sonde.cli.terminal import warn
from sonde.config import Loaded, Settings, load
from sonde.directory import DataDirectory
from sonde.errors import Hold


class Place(NamedTuple):
    """A data directory, and the settings where they name a database that stands in for its control database."""

    directory: DataDirectory
    settings: Settings | None


def config_file(config: Path | None, data: Path) -> Path | None:
    """The file that holds the configuration: the one named, else that of the data directory, else that of this one."""
    named = os.environ.get("SONDE_CONFIG", "")  # also for commands that have no option for it
    if config is not None or named:
        return config or Path(named)
    found = [path for path in (data / "config.ini", Path("config.ini")) if path.is_file()]
    if len(found) == 2 and not found[0].samefile(found[1]):
        warn(f"{found[1]} is not read, because {found[0]} is there; name the one you mean with --config")
    return found[0] if found else None


def load_settings(config: Path | None, data: Path, options: Sequence[str] | None = None) -> Loaded:
    """What the command runs with: ``--set`` over the environment over the file over the defaults. Prints its warnings."""
    loaded = load(config_file(config, data), os.environ, options or ())
    for warning in loaded.warnings:
        warn(warning)
    return loaded


def place_of(data: Path, config: Path | None = None, options: Sequence[str] | None = None) -> Place:
    """Where a command finds tokens, sessions and acts. Settings that are wrong say nothing of it, and are complained of by
    ``sonde config check`` alone. The directory has to be there, unless a database holds them."""
    settings = load(config_file(config, data), os.environ, options or ()).settings
    if settings is not None and settings.database is not None:
        return Place(DataDirectory(data), settings)
    return Place(_own(data), None)


def installation(
    data: Path, config: Path | None = None, options: Sequence[str] | None = None
) -> tuple[DataDirectory, Settings]:
    """The data directory of a command, and what it runs with. The directory has to be there, unless log and store are
    elsewhere."""
    settings = load_settings(config, data, options).settled()
    return DataDirectory(data) if settings.topic is not None else _own(data), settings


def _own(data: Path) -> DataDirectory:
    """A data directory that holds everything; :class:`Hold` if one runs there of which the settings say otherwise."""
    directory = DataDirectory.open(data)
    server = find_running(directory)
    if server is not None and server.shared:
        raise Hold(
            f"what runs on {data} has its log in Kafka and its store in PostgreSQL, and these settings name neither",
            hint="Give this command the same settings: SONDE_CONFIG names their file; or the same environment",
        )
    return directory
