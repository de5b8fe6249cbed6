"""The machine that this runs on, as a device: real input everywhere."""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import psutil

from sonde.clock import Clock, SystemClock
from sonde.profile import Metric, Profile
from sonde.reading import Reading

_AT_MOST: Final = 32  # disks, interfaces, thermometers
_UNINTERESTING: Final = ("loop", "ram", "zram", "veth", "br-", "docker")

_METRICS: Final = {
    "cpu": Metric("%", min=0, max=100, description="Busy share of a core (label core)"),
    "load_1m": Metric(description="Processes that ran or waited, averaged over a minute", min=0),
    "memory_used": Metric("B", "integer", min=0, description="Memory that is not available to programs"),
    "memory": Metric("%", min=0, max=100, description="Share of memory in use"),
    "swap_used": Metric("B", "integer", min=0, description="Swap space in use"),
    "disk_used": Metric("B", "integer", min=0, description="Used space of a file system (label mount)"),
    "disk": Metric("%", min=0, max=100, description="Used share of a file system (label mount)"),
    "disk_read": Metric("B/s", min=0, description="Read from a disk (label disk)"),
    "disk_written": Metric("B/s", min=0, description="Written to a disk (label disk)"),
    "network_received": Metric("B/s", min=0, description="Received by an interface (label interface)"),
    "network_sent": Metric("B/s", min=0, description="Sent by an interface (label interface)"),
    "hardware_temperature": Metric(
        "°C", min=-60, max=200, description="What a thermometer inside shows (label sensor)"
    ),
}


class HostSensor:
    """CPU per core, memory, swap, disks, network, load, and temperatures where there are any.

    ``device`` is the machine's name unless given. Rates need two reads: the first gives none.
    """

    def __init__(self, device: str = "", *, site: str = "", zone: str = "", clock: Clock | None = None) -> None:
        self._device = device or socket.gethostname() or "host"
        self._site, self._zone = site, zone
        self._clock = clock or SystemClock()
        self._before: dict[tuple[str, str], float] = {}
        self._when = self._clock.monotonic()
        self._profiles = [Profile(self._device, _METRICS, site=site, zone=zone)]
        psutil.cpu_percent(percpu=True)

    def read(self) -> Sequence[Reading]:
        now = self._clock.now()
        return [
            Reading(
                device=self._device,
                metric=metric,
                time=now,
                value=value,
                site=self._site,
                zone=self._zone,
                labels=labels,
            )
            for metric, labels, value in self._values()
        ]

    def close(self) -> None:
        pass

    def profiles(self) -> Sequence[Profile]:
        return self._profiles

    def _values(self) -> Iterator[tuple[str, dict[str, str], float | int]]:
        for core, share in enumerate(psutil.cpu_percent(percpu=True)):
            yield "cpu", {"core": str(core)}, float(share)
        yield "load_1m", {}, float(psutil.getloadavg()[0])
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        yield "memory_used", {}, int(memory.total - memory.available)
        yield "memory", {}, float(memory.percent)
        yield "swap_used", {}, int(swap.used)
        yield from _disks()
        yield from self._rates()
        yield from _temperatures()

    def _rates(self) -> Iterator[tuple[str, dict[str, str], float]]:
        now = self._clock.monotonic()
        seconds, self._when = now - self._when, now
        for metric, label, name, total in _totals():
            before = self._before.get((metric, name))
            self._before[metric, name] = total
            if before is not None and total >= before and seconds > 0:
                yield metric, {label: name}, round((total - before) / seconds, 1)


def _disks() -> Iterator[tuple[str, dict[str, str], float | int]]:
    """One mount of each device; a mount that does not answer is left out."""
    mounts = {p.device: p.mountpoint for p in reversed(psutil.disk_partitions()) if _interesting(p.device)}
    for mount in sorted(mounts.values())[:_AT_MOST]:
        try:
            usage = psutil.disk_usage(mount)
        except OSError:
            continue
        yield "disk_used", {"mount": mount}, int(usage.used)
        yield "disk", {"mount": mount}, float(usage.percent)


def _totals() -> Iterator[tuple[str, str, str, int]]:
    for name, disk in _some(psutil.disk_io_counters(perdisk=True) or {}):
        yield "disk_read", "disk", name, disk.read_bytes
        yield "disk_written", "disk", name, disk.write_bytes
    for name, link in _some(psutil.net_io_counters(pernic=True) or {}):
        yield "network_received", "interface", name, link.bytes_recv
        yield "network_sent", "interface", name, link.bytes_sent


def _temperatures() -> Iterator[tuple[str, dict[str, str], float]]:
    chips = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    found = (
        (f"{chip}/{probe.label or number}", probe.current)
        for chip, probes in sorted(chips.items())
        for number, probe in enumerate(probes)
    )
    for _, (name, current) in zip(range(_AT_MOST), found, strict=False):
        if current is not None:
            yield "hardware_temperature", {"sensor": name}, float(current)


def _some(counters: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return [(name, counters[name]) for name in sorted(counters) if _interesting(name)][:_AT_MOST]


def _interesting(name: str) -> bool:
    return not name.removeprefix("/dev/").startswith(_UNINTERESTING)
