"""The command ``sonde`` as a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    """A clean environment: nothing of the caller's settings."""
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH"}}
    return {**kept, **more}


def sonde(
    *arguments: str, cwd: Path, code: int = 0, stdin: str | None = None, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; it has to exit with ``code``, and never with a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "sonde", *arguments],
        cwd=cwd,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done
