"""What is wrong with an installation, in plain words, and how to mend it. Looks only; each check is a function of its own."""

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from sonde import __version__
from sonde.assemble import extras
from sonde.assemble.doctor import data, machine
from sonde.assemble.doctor.finding import Check, Finding, Patient
from sonde.assemble.doctor.look_up import server_here, status_of
from sonde.assemble.remote import Remote
from sonde.assemble.server import find_running
from sonde.clock import SECOND, SystemClock
from sonde.directory import FORMAT, DataDirectory
from sonde.errors import SondeError

__all__ = ["CHECKS", "Finding", "Patient", "examine", "examine_remote"]

_OFF_SECONDS: Final = 60.0
_MEANS: Final = "docs/operations.md says what each alarm means"


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings. A check that cannot be made is a finding too."""
    yield from configuration(patient)
    usable = True
    for found in version(patient):
        usable &= found.state != "wrong"
        yield found
    if patient.loaded.settings is not None and usable:
        for check in _checks(patient):
            yield from _made(check, patient)


def examine_remote(remote: Remote) -> Iterator[Finding]:
    """What can be seen of a server from elsewhere."""
    try:
        found = status_of(remote)
    except SondeError as error:
        yield Finding("server", "wrong", error.message, error.hint)
        return
    yield Finding("server", "ok", f"{remote.url} answers")
    yield from _said(found.problems, found.warnings)
    ahead = (found.now - SystemClock().now()) / SECOND
    if abs(ahead) > _OFF_SECONDS:
        where = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            "clock", "wrong", f"its clock is {abs(ahead):,.0f} s {where} this machine's", "Set one of them right"
        )
    else:
        yield Finding("clock", "ok", "its clock agrees with this machine's")


def configuration(patient: Patient) -> Iterator[Finding]:
    """Whether the settings make sense."""
    loaded = patient.loaded
    for fault in loaded.faults:
        yield Finding("configuration", "wrong", str(fault), "sonde config check says more")
    for warning in loaded.warnings:
        yield Finding("configuration", "warning", warning)
    if not loaded.faults and not loaded.warnings:
        yield Finding("configuration", "ok", str(loaded.file) if loaded.file else "no file: the defaults")


def version(patient: Patient) -> Iterator[Finding]:
    """Whether this Sonde can use what lies there."""
    settings = patient.loaded.settings
    try:
        if settings is None or settings.topic is None or patient.directory.path.exists():
            DataDirectory.open(patient.directory.path)
    except SondeError as error:
        yield Finding("version", "wrong", error.message, error.hint)
        return
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("version", "ok", f"sonde {__version__} on Python {python}, data format {FORMAT}")


def server(patient: Patient) -> Iterator[Finding]:
    """What the server that runs here says of itself; whether one could listen if none does."""
    running = find_running(patient.directory)
    if running is None:
        yield from machine.port(patient)
        return
    with server_here(patient.directory, patient.settings, "sonde doctor") as remote:
        found = status_of(remote)
    yield Finding("server", "ok", f"it runs at {running.url}, process {running.pid}")
    yield from _said(found.problems, found.warnings)


CHECKS: Final[Sequence[Check]] = (
    machine.permissions,
    server,
    machine.disk,
    machine.clock,
    machine.limits,
    data.key,
    data.certificates,
    data.log,
    data.store,
    data.audit_trail,
)
"""What is looked at, once settings and data directory can be used."""
OWN_CHECKS: Final[Sequence[Check]] = (server, machine.limits, data.certificates)
"""What is looked at of a process that shares log and store with others, besides those."""


def _checks(patient: Patient) -> Sequence[Check]:
    """Those that fit: where the log and the store are shared, what lies here is hardly anything."""
    if patient.settings.topic is None:
        return CHECKS
    here = OWN_CHECKS if patient.directory.path.exists() else ()
    shared = extras.load("sonde.assemble.doctor.shared")
    return [*here, shared.brokers, shared.database]


def _made(check: Check, patient: Patient) -> Iterator[Finding]:
    name = check.__name__.replace("_", " ")
    try:
        yield from check(patient)
    except SondeError as error:
        yield Finding(name, "wrong", error.message, error.hint)
    except OSError as error:
        yield Finding(name, "wrong", f"{error.strerror or error}: {error.filename or ''}", "Check its owner and mode")


def _said(problems: Sequence[str], warnings: Sequence[str]) -> Iterator[Finding]:
    for problem in problems:
        yield Finding("server", "wrong", problem, _MEANS)
    for warning in warnings:
        yield Finding("server", "warning", warning, _MEANS)
