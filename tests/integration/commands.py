"""The command ``sonde`` as a process of its own, as a user runs it."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


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


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return when ``condition`` holds; fail naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.01)


class Up:
    """A ``sonde up`` of its own, on any free port; a context manager that ends it."""

    def __init__(self, folder: Path, *options: str, data: str = "data") -> None:
        self.folder, self.data = folder, folder / data
        self.token = ""
        self._options = options
        self._output = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Up":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def start(self) -> float:
        """Seconds until it listens."""
        begun = time.monotonic()
        mark = self._output.stat().st_size if self._output.exists() else 0
        command = [sys.executable, "-m", "sonde", "up", "--data", str(self.data), "--port", "0", "--plain"]
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *self._options], cwd=self.folder, env=environment(), stdout=output, stderr=output
            )
        wait_for(lambda: self._listens(mark), "sonde up listening")
        return time.monotonic() - begun

    def _listens(self, mark: int) -> bool:
        assert self.process is not None
        said = self.output[mark:]
        assert self.process.poll() is None, said
        return "listening at" in said and self.data.joinpath("server.json").exists()

    @property
    def output(self) -> str:
        return self._output.read_bytes().decode()

    @property
    def url(self) -> str:
        return str(json.loads(self.data.joinpath("server.json").read_bytes())["url"])

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and how long it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.terminate()
        code = self.process.wait(20)
        return code, time.monotonic() - begun

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def request(self, method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer; with an admin's token unless another is given."""
        if token is None:
            self.token = self.token or self.make_token("test", "--scope", "admin")
        address = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {**headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if content[:1] in b"[{" else content.decode()

    def make_token(self, name: str, *options: str) -> str:
        return sonde("token", "create", name, "--data", str(self.data), *options, cwd=self.folder).stdout.strip()

    def sql(self, text: str) -> list[list[Any]]:
        status, answer = self.request("POST", "/sql", {"sql": text})
        assert status == 200, answer
        rows: list[list[Any]] = answer["rows"]
        return rows

    def count(self, device: str) -> int:
        return int(self.sql(f"select count(*) from readings where device = '{device}'")[0][0])

    def send(self, device: str, first: int, rows: int) -> None:
        """Readings with values from ``first`` on, confirmed."""
        readings = [
            {
                "device": device,
                "metric": "m",
                "value": float(n),
                "time": f"2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}Z",
            }
            for n in range(first, first + rows)
        ]
        status, answer = self.request("POST", "/telemetry", readings)
        assert status == 202, answer
