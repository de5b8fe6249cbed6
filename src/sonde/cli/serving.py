"""What all servers share, whatever their role: how they greet, run, tell who manages them, and end."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import psutil
from rich.console import RenderableType
from rich.text import Text

from sonde.assemble.role import Role, Server
from sonde.cli.live import StatusTable
from sonde.cli.manager import tell_manager
from sonde.cli.running import Screen, Stop, run
from sonde.cli.settings import load_settings
from sonde.cli.terminal import ACCENT, Enduring
from sonde.errors import Hold
from sonde.status import Status


class Running(Protocol):
    """A server, as whoever runs it sees it."""

    @property
    def url(self) -> str: ...

    def start(self) -> Self: ...

    def status(self) -> Status: ...

    def failed(self) -> BaseException | None: ...

    def stop(self) -> bool:
        """Whether all was done in time."""
        ...


def run_role(
    role: Role,
    data: Path,
    config: Path | None,
    options: Sequence[str],
    *,
    plain: bool,
) -> None:
    """One role, until somebody stops it; the process ends here."""
    stop = Stop()
    screen = Screen(StatusTable().draw, plain=plain)
    with screen.open():
        try:
            server = Server(data, load_settings(config, data, options), {role}, stop.wanted)
        except Hold:
            if not stop.wanted.is_set():
                raise
            _end(in_time=True)
        serve(screen, server, stop, lambda: [Text.assemble(("  data     ", "dim"), str(server.data))])


def serve(screen: Screen, server: Running, stop: Stop, greeting: Callable[[], Sequence[RenderableType]]) -> None:
    """Run a server until somebody stops it; the process ends here."""
    try:
        server.start()
        seconds = time.time() - psutil.Process().create_time()
        ready = Text.assemble(("sonde", f"bold {ACCENT}"), f"  ready in {seconds:.1f} s, listening at {server.url}")
        screen.say(ready, *greeting())
        tell_manager("READY=1")
        run(screen, server.status, stop, server.failed)
        screen.say(Text("stopping", "dim"))
        tell_manager("STOPPING=1")
    finally:
        in_time = server.stop()
    _end(in_time=in_time)


def _end(*, in_time: bool) -> None:
    for stream in (sys.stdout, sys.stderr):
        Enduring(stream).flush()
    os._exit(0 if in_time else 1)  # all is closed; what libraries would still tidy up, and complain of, ends with us
