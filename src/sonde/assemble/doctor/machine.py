"""Checks of the machine: port, disk, clock, limits, permissions."""

import os
import pwd
import resource
import shutil
import socket
import stat
from collections.abc import Iterator
from typing import Final

from sonde.assemble.doctor.finding import Finding, Patient
from sonde.assemble.places import log_path
from sonde.assemble.policy import policy_of
from sonde.clock import SECOND, SystemClock
from sonde.store.checkpoint import checkpoints

_MIB: Final = 1 << 20
_SPARE_FILES: Final = 256  # open files beside connections
_FEW_FILES: Final = 1000
_BEHIND_SECONDS: Final = 60.0
_FIRST: Final = 1_700_000_000 * SECOND  # November 2023: no clock that is right shows less


def permissions(patient: Patient) -> Iterator[Finding]:
    directory = patient.directory
    shut = [
        path
        for path in (
            directory.path,
            log_path(directory, patient.settings),
            directory.store,
            directory.control,
            directory.keys,
        )
        if path.exists() and not os.access(path, os.R_OK | os.W_OK)
    ]
    for path in shut:
        yield Finding(
            "permissions", "wrong", f"{path} may not be read and written by this user", f"chown it to {_user()}"
        )
    for path in (directory.keys, directory.control):
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("permissions", "warning", f"{path} may be read by others", f"chmod 600 {path}")
    if not shut:
        yield Finding("permissions", "ok", f"all of {directory.path} may be read and written")


def port(patient: Patient) -> Iterator[Finding]:
    host, port = patient.settings.server.host, patient.settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            what = (
                f"nothing can listen on {host} port {port} ({error.strerror if isinstance(error, OSError) else error})"
            )
            yield Finding("port", "wrong", what, "Stop what has it (ss -ltnp shows it), or set [server] port")
            return
    yield Finding("port", "ok", f"no server runs; {host} port {port} is free")


def disk(patient: Patient) -> Iterator[Finding]:
    path, policy = patient.directory.path, policy_of(patient.settings)
    free, found = shutil.disk_usage(path).free, os.statvfs(path)
    room = "Free some space, or keep less: [retention] in the configuration"
    if free < patient.settings.log.reserve:
        yield Finding("disk", "wrong", f"{free // _MIB:,} MiB are free: nothing is taken in", room)
    elif free < policy.warn_below:
        yield Finding("disk", "warning", f"{free // _MIB:,} MiB are free", room)
    else:
        yield Finding("disk", "ok", f"{free // _MIB:,} MiB are free")
    if found.f_files and found.f_favail < _FEW_FILES:
        yield Finding(
            "disk", "wrong", f"only {found.f_favail} more files can be made", "Delete small files (df -i shows it)"
        )


def clock(patient: Patient) -> Iterator[Finding]:
    now = SystemClock().now()
    mend = "Set it: timedatectl set-ntp true"
    if now < _FIRST:
        yield Finding("clock", "wrong", "this machine's clock is years behind", mend)
        return
    newest = max((c.path.stat().st_mtime for c in checkpoints(patient.directory.store / "checkpoints")), default=0.0)
    behind = newest - now / SECOND
    if behind > _BEHIND_SECONDS:
        yield Finding("clock", "wrong", f"the clock is {behind:,.0f} s behind what was written last", mend)
    else:
        yield Finding("clock", "ok", "the clock is not behind what was written last")


def limits(patient: Patient) -> Iterator[Finding]:
    """Whether this user may open as many files as there may be connections, and write files of any size."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = patient.settings.server.max_connections + _SPARE_FILES
    if files[1] != resource.RLIM_INFINITY and files[1] < wanted:
        text = f"{files[1]:,} files may be open at a time, and {wanted:,} may be needed"
        yield Finding(
            "limits", "warning", text, "ulimit -n, or LimitNOFILE= of the service; or fewer [server] max_connections"
        )
    size = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if size != resource.RLIM_INFINITY:
        yield Finding("limits", "wrong", f"files may have {size // _MIB:,} MiB at most", "ulimit -f unlimited")
    if (files[1] == resource.RLIM_INFINITY or files[1] >= wanted) and size == resource.RLIM_INFINITY:
        yield Finding("limits", "ok", "enough files may be open, and of any size")


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
