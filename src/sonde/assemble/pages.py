"""What a process keeps in memory, where it can be less."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

_MAPPINGS: Final = Path("/proc/self/smaps")
_LIBRARY: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ +/.*\.so.*\n")
_DONTNEED: Final = 4  # MADV_DONTNEED of Linux
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc
_KEPT: Final = 32 << 20


def use_small_pool() -> None:
    """Arrow allocates as everything else does: its own allocator keeps 4 MB more, and is quicker where batches are large."""
    pa.set_memory_pool(pa.system_memory_pool())


def keep_freed() -> None:
    """What is freed stays with this process, up to 32 MB in one place. Buffers of a megabyte come and go with each frame, and
    the kernel would clear every page of them anew: up to a tenth of the processor time of a reading that comes as Arrow.
    C libraries other than glibc do as they like."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _KEPT)


def give_back_pages() -> None:
    """Unmap the pages of libraries that hold nothing but what their files hold.

    Loading a library runs through much of it: symbols are looked up, initialisers run. Of 40 MB that are mapped so, a node
    needs half again; that comes back from the page cache when it is touched. Pages that were written to, as relocated ones
    are, stay. Where there is no ``/proc`` nothing happens.
    """
    if not _MAPPINGS.exists():
        return
    madvise = ctypes.CDLL(None).madvise
    for start, end in list(_unwritten()):
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)  # if refused, they stay: no harm done


def _unwritten() -> Iterator[tuple[int, int]]:
    """From where to where read-only mappings of libraries lie of which this process has written no page."""
    library = None
    with _MAPPINGS.open() as lines:
        for line in lines:
            if "-" in line.partition(" ")[0]:  # the next mapping begins
                library = _LIBRARY.fullmatch(line)
            elif library and library[3][1] == "-" and line.split() == ["Anonymous:", "0", "kB"]:
                yield int(library[1], 16), int(library[2], 16)
