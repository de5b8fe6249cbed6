"""``sonde log copy`` with what the configuration names: the topic to copy to, and the database that tokens and acts move to."""

from dataclasses import dataclass

from sonde.assemble.acts import note_local
from sonde.assemble.extras import load
from sonde.assemble.keys.rings import opening_ring
from sonde.assemble.log.copy import Copied, Progress, copy_log
from sonde.config import Settings
from sonde.config.address import checked_log
from sonde.directory import DataDirectory
from sonde.errors import Hold, Invalid, Problem
from sonde.ports import Log


@dataclass(frozen=True, slots=True)
class CopiedOut:
    """What was copied, and to which topic; how many tokens moved into the database, and why none did."""

    log: Copied
    topic: str
    tokens: int = 0
    unmoved: str = ""


def copy_out(
    directory: DataDirectory, settings: Settings, url: str, progress: Progress, *, partial: bool = False
) -> CopiedOut:
    """Copy the log of a data directory into the topic that ``url`` names, or else the settings; and all that the control
    database keeps, if the settings name a database, and it has none. See :func:`sonde.assemble.log.copy.copy_log`."""
    to = _with_log(settings, url) if url else settings
    if to.topic is None or not to.topic.servers:
        raise Hold("no topic of Kafka is named", hint="Write it so: --to kafka://broker:9092/telemetry.events")
    ring = opening_ring(directory, settings)
    target: Log = load("sonde.assemble.shared.brokers").open_log(to)
    try:
        note_local(directory, None, "log.copy", to.topic.name, servers=to.topic.servers)
        copied = copy_log(directory, settings, ring, target, progress, partial=partial)
    finally:
        target.close()
    if to.database is None:
        why = "no database is named: run it again with the configuration of the new installation, --config FILE"
        return CopiedOut(copied, to.topic.name, unmoved=why)
    tokens = load("sonde.assemble.shared.database").move_controls(to.database, directory.control)
    if tokens is None:
        return CopiedOut(copied, to.topic.name, unmoved="the database has some of its own")
    return CopiedOut(copied, to.topic.name, tokens)


def _with_log(settings: Settings, url: str) -> Settings:
    try:
        log = settings.log.model_copy(update={"url": checked_log(url)})
    except ValueError as error:
        raise Invalid(Problem(None, "--to", f"it {error}")) from None
    return settings.model_copy(update={"log": log})
