"""The power goes: a file system of its own is shut down hard, in the middle of everything, with what it had not been told to
keep lost. The program stands still by then, as it would: ext4 lets one sync in twenty succeed that its shutdown meets. Where
the machine lets no file system be made, only the process ends, as if the cache had been kept."""

import contextlib
import fcntl
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.road import Client, Up, check_ledger, check_windows, clients, seed, wait_for

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN of Linux, fs/ext4/ext4.h
_NO_LOG_FLUSH = struct.pack("I", 2)  # the journal is not written out first: as when the power goes
SMALL = ("--set", "store.hot_readings=5000", "--set", "store.hot_time=1s", "--set", "log.segment=1MB")


@dataclass
class PowerDisk:
    """A file system in a file, at ``path``; ``real`` if this machine let us mount it."""

    image: Path
    path: Path
    real: bool = False

    def plug(self) -> None:
        """Mount it; its journal is replayed as after a power cut."""
        self.real = _done("mount", "-o", "loop", str(self.image), str(self.path))

    def cut(self) -> None:
        """From now on nothing reaches the disk, and what was not synced never has."""
        if not self.real:
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(handle)

    def plug_again(self) -> None:
        if self.real:
            subprocess.run(["umount", str(self.path)], check=True)
            self.plug()
            assert self.real, "the file system could not be mounted again"


def _done(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def power_disk(folder: Path, megabytes: int) -> Iterator[PowerDisk]:
    """A disk at ``folder/data`` that can be cut off."""
    disk = PowerDisk(folder / "disk.img", folder / "data")
    disk.path.mkdir()
    with disk.image.open("wb") as image:
        image.truncate(megabytes << 20)
    if _done("/sbin/mkfs.ext4", "-q", str(disk.image)):
        disk.plug()
    try:
        yield disk
    finally:
        if disk.path.is_mount():
            subprocess.run(["umount", "-l", str(disk.path)], check=True)


def cut_under_load(up: Up, disk: PowerDisk, chance: random.Random, rounds: int) -> list[Client]:
    with clients(up, 4) as load:
        for _ in range(rounds):
            wait_until_served(load)
            time.sleep(chance.uniform(0.0, 1.5))  # the moment of the cut is what chance decides
            up.freeze()
            disk.cut()
            up.kill()
            disk.plug_again()
            up.start()
        wait_until_served(load)
    return load


def wait_until_served(load: list[Client]) -> None:
    confirmed = sum(len(client.confirmed) for client in load)
    wait_for(lambda: sum(len(c.confirmed) for c in load) > confirmed + 20, "clients being served (I4)")


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.all)])
def test_the_power_goes_under_load_and_nothing_confirmed_is_lost(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(seed())
    with (
        power_disk(tmp_path, 512) as disk,
        Up(tmp_path, "--no-host", "--set", "sensor.building.rate=300", "--set", "log.reserve=0", *SMALL) as up,
    ):
        load = cut_under_load(up, disk, chance, rounds)
        up.wait_until_all_is_stored()
        for client in load:
            client.check()
        check_windows(up)
        check_ledger(up)
        assert up.stop() == 0
    assert sum(c.retried for c in load) > 0, "no fault was seen to strike"
