"""``scripts/setup``: once, and anew only when there is a reason."""

import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def needed(name: str) -> set[str]:
    """A library and all that it needs."""
    wanted = [Requirement(line) for line in requires(name) or ()]
    return {name}.union(*(needed(w.name) for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})))


def checkout(folder: Path) -> Path:
    """A small Sonde: the real script and version, and of the locked dependencies those that installing it takes."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "scripts/setup", "src/sonde/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    pins = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    names = needed("hatchling") | needed("editables")
    kept = [pin for pin in pins if pin.partition("==")[0] in names]
    (folder / "requirements.lock").write_text("\n".join(kept) + "\n")
    return folder


def setup(folder: Path, *, python: str = sys.executable) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run it; what came of it, and the seconds it took."""
    begun = time.monotonic()
    done = subprocess.run(
        [str(folder / "scripts" / "setup")],
        cwd="/",
        env={**os.environ, "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, time.monotonic() - begun


def works(folder: Path) -> bool:
    command = [str(folder / ".venv" / "bin" / "python"), "-c", "import sonde; print(sonde.__file__)"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return printed.strip() == str(folder / "src" / "sonde" / "__init__.py")


def test_without_a_python_that_is_new_enough_it_says_what_to_do(tmp_path: Path) -> None:
    done, _ = setup(checkout(tmp_path), python="/bin/false")
    assert done.returncode == 1
    assert done.stderr == (
        "Sonde needs Python 3.11 or newer, and /bin/false is none. Install one, or set PYTHON to where it is.\n"
    )
    assert not (tmp_path / ".venv").exists()


@pytest.mark.all
def test_what_was_interrupted_is_made_anew_and_what_is_there_costs_nothing(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "first")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").write_text("half")
    done, _ = setup(folder)
    assert done.returncode == 0, done.stderr
    assert works(folder)
    again, seconds = setup(folder, python="/bin/false")
    assert (again.returncode, again.stderr) == (0, "")
    assert seconds < 1
    moved = folder.rename(tmp_path / "second")
    done, _ = setup(moved)
    assert "Setting up" in done.stderr
    assert works(moved)
