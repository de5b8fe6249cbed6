"""I6: what a process may take of memory and disk, whatever happens to it and around it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1 << 20
_HIGHEST: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Bounds:
    """Bytes: of memory at its highest, of files in its data directory, of lines that it wrote in all its lives."""

    memory: int
    files: int
    said: int

    def check(self, who: str, memory: int, data: Path, output: Path) -> None:
        """Each of them holds, and was looked at."""
        print(
            f"{who}: {memory // MEGABYTE} MB of memory, {bytes_of(data):,} bytes of files, {bytes_of(output):,} of lines"
        )
        assert memory > 0, f"nobody looked at the memory of {who}"
        assert memory <= self.memory, f"{who} had {memory // MEGABYTE} MB of memory (I6)"
        assert bytes_of(data) <= self.files, f"the files of {who} take {bytes_of(data):,} bytes (I6)"
        assert bytes_of(output) <= self.said, f"{who} wrote {bytes_of(output):,} bytes of lines (I6)"


def highest_memory(pid: int) -> int:
    """The most memory that a process ever had, as the kernel remembers it: nothing in between is missed."""
    found = _HIGHEST.search(Path(f"/proc/{pid}/status").read_text())
    assert found is not None, f"process {pid} has ended"
    return int(found[1]) * 1024


def bytes_of(place: Path) -> int:
    """What a file takes, or all in a folder. Files that come and go meanwhile count or not."""
    total = 0
    for file in (place, *place.rglob("*")):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total
