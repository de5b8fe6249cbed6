"""Someone who watches an api's live feed."""

import threading
from collections import Counter

from sonde.client import AlertTurned, Client, Gap, Reading
from tests.crash.process import Process
from tests.crash.road import wait_for


class Chart:
    """Someone who watches, on a thread, from now on or from a cursor."""

    def __init__(self, api: Process, device: str, cursor: str | None = None) -> None:
        self.device = device
        self.got: Counter[float] = Counter()
        self.gaps: list[Gap] = []
        self.alerts: list[AlertTurned] = []
        self._follow = Client(f"http://127.0.0.1:{api.port}", token=api.token).follow(device=device, cursor=cursor)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        wait_for(lambda: bool(self.cursor), "the live feed letting someone in", 60)

    @property
    def cursor(self) -> str:
        return self._follow.cursor

    def _watch(self) -> None:
        for event in self._follow.events():
            if isinstance(event, Reading) and isinstance(event.value, float):
                self.got[event.value] += 1
            elif isinstance(event, Gap):
                self.gaps.append(event)
            elif isinstance(event, AlertTurned):
                self.alerts.append(event)

    def wait_for_more(self) -> None:
        before = len(self.got)
        wait_for(lambda: len(self.got) > before, f"{self.device} being drawn", 60)

    def close(self) -> None:
        self._follow.close()
        self._thread.join(60)
        assert not self._thread.is_alive()
