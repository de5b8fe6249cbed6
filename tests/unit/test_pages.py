"""What a process keeps in memory."""

import ctypes
import subprocess
import sys

PROGRAM = """
import resource
from sonde.assemble.pages import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * (8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed()
print(faults(), faults())
"""


def test_what_is_freed_is_used_again_without_asking_the_kernel() -> None:
    """Eight megabytes are 2,048 pages; where the C library is another, nothing is promised but that it goes on."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    first, again = map(int, done.stdout.split())
    assert first >= 0
    assert again < 500 or not hasattr(ctypes.CDLL(None), "mallopt")
