"""Checks of what lies in a data directory: keys, certificates, log, store, audit trail. A quick look: `sonde log verify` and
the store's own inspection read everything."""

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from typing import Final

from sonde.assemble.acts import open_trail
from sonde.assemble.certificates.authority import server_files, shown
from sonde.assemble.doctor.finding import Finding, Patient
from sonde.assemble.log.look import LogView
from sonde.assemble.places import log_path
from sonde.clock import DAY, SystemClock
from sonde.errors import NotFound
from sonde.log import walk
from sonde.log.layout import segments_in
from sonde.log.segments import partition_path, partitions_in
from sonde.store.checkpoint import checkpoints
from sonde.store.parts import check_size

_SOON_DAYS: Final = 30


def key(patient: Patient) -> Iterator[Finding]:
    """Whether the newest frame of each partition can be opened with the keys that are here."""
    opened = 0
    with suppress(NotFound), closing(LogView(patient.directory, patient.settings)) as view:
        newest = {partition: max(first, end - 1) for partition, (first, end) in view.ends().items() if end > first}
        opened = sum(1 for _ in view.frames(newest)) if newest else 0
    yield Finding("key", "ok", f"the newest frames can be opened ({opened})" if opened else "nothing is sealed yet")


def certificates(patient: Patient) -> Iterator[Finding]:
    """Whether each certificate still holds, and for how long."""
    server_files(patient.directory, patient.settings)
    now = SystemClock().now()
    for one in shown(patient.directory, patient.settings):
        days = (one.certificate.ends - now) / DAY
        if days <= 0:
            yield Finding("certificates", "wrong", f"that of the {one.role} ended: {one.file}", "sonde cert renew")
        elif days <= _SOON_DAYS:
            yield Finding(
                "certificates", "warning", f"that of the {one.role} ends in {days:.0f} days", "sonde cert renew"
            )
        else:
            yield Finding("certificates", "ok", f"that of the {one.role} holds for {days:.0f} days")


def log(patient: Patient) -> Iterator[Finding]:
    """Whether the segments follow each other, and what was set aside."""
    path = log_path(patient.directory, patient.settings)
    if not path.is_dir():
        yield Finding("log", "ok", "there is none yet")
        return
    count = 0
    for number in partitions_in(path):
        folder = partition_path(path, number)
        segments = segments_in(folder)
        count += len(segments)
        for (_, file), (_, after) in pairwise(segments):
            if not file.with_suffix(".idx").exists():
                yield Finding("log", "warning", f"{file} has no index", f"It is read anyway; {after.name} is the next")
        torn = sorted(folder.glob("*.torn-*"))
        if torn:
            text = f"{len(torn)} torn ends were cut off after crashes: nobody had a receipt for them"
            yield Finding("log", "warning", text, f"Delete them when you do not need to look: {folder}/*.torn-*")
    ends = walk.ends(path) if count else {}
    frames = sum(end - first for first, end in ends.values())
    yield Finding(
        "log",
        "ok",
        f"{frames:,} frames in {count:,} segment{'' if count == 1 else 's'}; sonde log verify reads them all",
    )


def store(patient: Patient) -> Iterator[Finding]:
    """Whether the newest checkpoint has all its parts, and what was set aside."""
    folder = patient.directory.store
    found = checkpoints(folder / "checkpoints")
    if found:
        for part in found[0].manifest.parts:
            check_size(folder / "parts", part)
        yield Finding("store", "ok", f"the newest checkpoint has all its {len(found[0].manifest.parts)} parts")
    else:
        yield Finding("store", "ok", "there is no checkpoint yet")
    aside = sorted([*folder.glob("*.aside-*"), *patient.directory.path.glob("*.aside-*")])
    for path in aside:
        text = f"{path} was set aside because it could not be used"
        yield Finding("store", "warning", text, "Delete it when you are sure that nothing in it is needed")


def audit_trail(patient: Patient) -> Iterator[Finding]:
    """Whether each act is chained to the one before."""
    if not patient.directory.control.exists():
        yield Finding("audit trail", "ok", "nobody did anything yet")
        return
    with open_trail(patient.directory) as trail:
        acts = trail.verify()
    yield Finding("audit trail", "ok", f"{acts:,} acts, each chained to the one before")
