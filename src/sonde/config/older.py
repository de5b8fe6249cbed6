"""Names that other installations use, and what becomes of them.

Most stand beside the key that means the same (``older`` in the model). Here are those whose value has to change, or whose
old meaning would do harm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sonde.config.key import older
from sonde.config.model import default_sections, fields
from sonde.config.values import parse_flag


@dataclass(frozen=True, slots=True)
class Meant:
    """What an older name means here: settings as section, key and text, and what the user should know."""

    settings: tuple[tuple[str, str, str], ...] = ()
    warning: str = ""
    fault: str = ""


def _max_retries(text: str) -> Meant:
    if text.strip() in {"", "0"}:
        return Meant()
    return Meant(warning="no longer ends anything: a reading waits in the outbox until a sink has it")


def _no_throttle(text: str) -> Meant:
    return Meant(warning="no longer slows the outbox down: it is sent as fast as the sink takes it")


def _buffer_size(text: str) -> Meant:
    return Meant(warning="has no effect: nothing waits in memory, what was confirmed is on disk")


def _flush_interval(text: str) -> Meant:
    return Meant(warning="has no effect: readings are on disk before they are confirmed, and no one waits for a timer")


def _protocol(text: str) -> Meant:
    if text.strip().lower() in {"http", ""}:
        return Meant()
    return Meant(fault=f"{text.strip()!r} is not spoken by this version; set it to http or take it out")


def _bind_address(text: str) -> Meant:
    host, colon, port = text.strip().rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.startswith("[")):
        return Meant((("server", "host", host.strip("[]")), ("server", "port", port)))
    return Meant((("server", "host", text.strip().strip("[]")),))


def _log_file(text: str) -> Meant:
    given = text.strip()
    if not given:
        return Meant()
    folder = given if given.endswith("/") or Path(given).is_dir() else f"{given}.segments"
    return Meant(
        (("log", "url", f"file:{folder}"),),
        warning=f"named one file; the log is now the folder {folder}, and the file is left alone",
    )


def _history_size(text: str) -> Meant:
    return Meant(warning="has no effect: history is on disk and is not cut to a number of entries")


def _clear_history(text: str) -> Meant:
    try:
        clear = parse_flag(text)
    except ValueError:
        clear = True  # the key itself will say what is wrong with it
    setting = (("api", "clear_history", text),)
    if not clear:
        return Meant(setting)
    return Meant(setting, warning="deletes nothing: /historical-data begins at the start of the server, the rest stays")


CHANGED: Final[Mapping[str, Callable[[str], Meant]]] = {
    "retry.max_retries": _max_retries,
    "retry.check_interval": _no_throttle,
    "retry.batch_size": _no_throttle,
    "telemetry_sink_buffer.size_bytes": _buffer_size,
    "telemetry_sink_buffer.flush_interval": _flush_interval,
    "telemetry_sink_server.protocol": _protocol,
    "telemetry_sink_server.bind_address": _bind_address,
    "telemetry_sink_logging.file_path": _log_file,
    "HISTORY_LOG_SIZE": _history_size,
    "CLEAR_HISTORY_ON_RESTART": _clear_history,
}

SENSOR: Final = frozenset({"sensor.name", "sensor.rate"})
"""``[sensor] name, rate``: one sensor, the demo device under that name."""


@cache
def same() -> Mapping[str, tuple[str, str]]:
    """Older names that mean exactly a key: name → section and key."""
    return {
        name: (section, field)
        for section in default_sections()
        for field, info in fields(section).items()
        for name in older(info)
        if name not in CHANGED
    }


@cache
def names() -> frozenset[str]:
    """All older names: ``section.key``, and variables in capitals."""
    return frozenset({*same(), *CHANGED, *SENSOR})


@cache
def sections() -> frozenset[str]:
    """The sections that only older files have."""
    return frozenset(name.split(".")[0] for name in names() if "." in name)


def meaning(name: str, text: str) -> Meant | None:
    """What an older name means; None if it is not one."""
    if name in CHANGED:
        return CHANGED[name](text)
    if name in SENSOR:
        return Meant(((*name.split("."), text),))  # type: ignore[arg-type]
    target = same().get(name)
    return Meant(((*target, text),)) if target else None


def old_sensor(name: str, rate: str) -> dict[str, str]:
    """The keys of ``[sensor.NAME]`` that an old ``[sensor]`` stands for."""
    keys = {"kind": "device", "enabled": "yes", "device": name}
    return {**keys, "rate": rate} if rate else keys
