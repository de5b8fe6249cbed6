"""A real process with one role."""

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.crash.bounds import highest_memory
from tests.crash.road import free_port, wait_for


class Process:
    """One role of a fleet, started and killed as often as a test likes. It comes back at the same port. ``highest`` is the most
    memory that it had in any of its lives, up to the last :meth:`measure`."""

    def __init__(self, folder: Path, role: str, number: int, environment: dict[str, str]) -> None:
        self.role, self.port = role, free_port()
        self.data = folder / f"{role}-{number}"
        self.output = folder / f"{role}-{number}.log"
        self.token = ""
        self.highest = 0
        self._folder, self.environment = folder, environment
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it; :meth:`ready` says when it answers."""
        place = ("--data", str(self.data), "--port", str(self.port), "--plain")
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sonde", self.role, *place],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self._folder,
            )

    def start(self) -> None:
        """Returns when it answers."""
        self.launch()
        wait_for(self.ready, f"{self.role} answering (I4)", 90)

    def ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said()[-3000:]
        try:
            return self.ask("GET", "/health/live")[0] == 200
        except OSError:
            return False

    def measure(self) -> int:
        """Look at its memory; the most that it ever had, in bytes."""
        if self._process is not None and self._process.poll() is None:
            self.highest = max(self.highest, highest_memory(self._process.pid))
        return self.highest

    def said(self) -> str:
        """All that it wrote so far."""
        return self.output.read_text() if self.output.exists() else ""

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is written any more."""
        assert self._process is not None
        self.measure()
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM; it ends with 0, within ten seconds but for what a busy machine adds."""
        assert self._process is not None
        self.measure()
        self._process.terminate()
        assert self._process.wait(15) == 0, self.said()[-3000:]

    def wait(self, seconds: float) -> int:
        """Until it has ended by itself; the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def end(self) -> None:
        """Whatever happened, nothing stays behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request(method, path, body, {**token, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
