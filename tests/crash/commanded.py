"""A node whose device does what it is told and writes down each time that it began, and a server to tell it from."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.crash.road import JSON, Up, create_token, wait_for

SENSOR = '''
import os, time
from pathlib import Path
from sonde.profile import command

HERE = Path(__file__).parent

def read():
    return [("on", True)]

@command()
def flash(name: str, hold: bool = False):
    """Begin, note it, and if asked to, wait for a file before the end."""
    with open(HERE / "began", "a") as began:
        began.write(name + "\\n")
        began.flush()
        os.fsync(began.fileno())
    while hold and not (HERE / f"go-{name}").exists():
        time.sleep(0.01)
    return f"flashed {name}"

@command()
def fail():
    raise RuntimeError("the bulb is broken")
'''
CONFIG = """
[node]
sink = http://127.0.0.1:{port}
initial_delay = 50ms
max_delay = 300ms
[sensor.host]
enabled = no
[sensor.lamp]
kind = function
function = lamp:read
device = {device}
interval = 0.2
"""


@dataclass
class Lamp:
    """``sonde node`` with one device, started and killed as often as a test likes."""

    folder: Path
    up: Up
    name: str = "edge"
    device: str = "lamp"
    token: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "lamp.py").write_text(SENSOR)
        (self.folder / "node.ini").write_text(CONFIG.format(port=self.up.port, device=self.device))
        self.token = create_token(self.up.data, self.name, "--scope", "ingest", "--node", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        arguments = ["--config", str(self.folder / "node.ini"), "--data", str(self.folder / "edge")]
        with (self.folder / "node.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sonde", "node", *arguments],
                cwd=self.folder,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(self.folder), "SONDE_NODE_TOKEN": self.token},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL: nothing is finished."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM: it stops by itself."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.process = None

    @property
    def outbox(self) -> Path:
        return self.folder / "edge" / "node" / "outbox.db"

    def began(self) -> list[str]:
        """The commands that began to run, in order, each time that they did."""
        path = self.folder / "began"
        return path.read_text().split() if path.exists() else []

    def wait_until_began(self, name: str) -> None:
        wait_for(lambda: name in self.began(), f"{name} beginning to run", 60)

    def go(self, name: str) -> None:
        """Let a command that holds come to its end."""
        (self.folder / f"go-{name}").touch()

    def wait_until_declared(self) -> None:
        """Until the server knows the device, and that this node has it."""
        wait_for(lambda: check(self.up, self.device)[0] == 200, "the device being declared", 60)

    def wait_until_online(self) -> None:
        wait_for(lambda: check(self.up, self.device) == (200, True), "the node waiting for commands", 60)


def check(up: Up, device: str) -> tuple[int, bool]:
    """What a dry run says: its status, and whether the device is online."""
    order = {"device": device, "command": "flash", "parameters": {"name": "x"}, "dry_run": True}
    try:
        status, answer = up.request("POST", "/commands", json.dumps(order).encode(), JSON)
    except OSError:
        return 0, False
    return status, bool(json.loads(answer).get("online"))


def order(up: Up, name: str, *, device: str = "lamp", hold: bool = False, **more: Any) -> str:
    """Have a lamp flash; the id."""
    asked = {"device": device, "command": "flash", "parameters": {"name": name, "hold": hold}, **more}
    status, answer = up.request("POST", "/commands", json.dumps(asked).encode(), JSON)
    assert status == 202, answer
    return str(json.loads(answer)["id"])


def state(up: Up, id_: str) -> str:
    return str(up.get(f"/commands/{id_}")["state"])


def wait_for_state(up: Up, id_: str, wanted: str) -> dict[str, Any]:
    """The command, once it stands there."""
    seen: list[str] = []

    def there() -> bool:
        try:
            status, answer = up.request("GET", f"/commands/{id_}")
        except OSError:
            return False
        if status == 200:
            seen.append(json.loads(answer)["state"])
        return bool(seen) and seen[-1] == wanted

    wait_for(there, f"the command being {wanted}; it was {seen[-1:]}", 60)
    found: dict[str, Any] = up.get(f"/commands/{id_}")
    return found


def steps(command: dict[str, Any]) -> list[str]:
    return [step["step"] for step in command["steps"]]
