"""The check of I6 can fail: on a real process that for a moment takes more memory than it may, and writes more than it may."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.bounds import MEGABYTE, Bounds, bytes_of, highest_memory
from tests.crash.road import wait_for

_GREEDY = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
greed = bytearray(b"x") * (100 << 20)
del greed
(folder / "files").mkdir()
(folder / "files" / "one").write_bytes(bytes(5000))
(folder / "lines").write_text("again and again\\n" * 500)
(folder / "done").touch()
sys.stdin.read()
"""
_AMPLE = {"memory": 200 * MEGABYTE, "files": 6000, "said": 10_000}


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ({}, ""),
        ({"memory": 90 * MEGABYTE}, "MB of memory"),
        ({"files": 4999}, "5,000 bytes"),
        ({"said": 7999}, "8,000 "),
    ],
)
def test_a_bound_that_is_broken_is_seen(bound: dict[str, int], says: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _GREEDY, str(tmp_path)], stdin=subprocess.PIPE) as process:
        wait_for((tmp_path / "done").exists, "the process having had its memory")
        highest = highest_memory(process.pid)  # though it gave it back
        process.communicate()
    bounds = Bounds(**{**_AMPLE, **bound})
    if not says:
        bounds.check("greedy", highest, tmp_path / "files", tmp_path / "lines")
        return
    with pytest.raises(AssertionError, match=f"{says}.*I6"):
        bounds.check("greedy", highest, tmp_path / "files", tmp_path / "lines")


def test_what_nobody_looked_at_does_not_count_as_little(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nobody looked"):
        Bounds(**_AMPLE).check("quiet", 0, tmp_path, tmp_path)
    assert bytes_of(tmp_path / "not there") == 0
