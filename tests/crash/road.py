"""A real ``sonde up``, a client that notes what was confirmed, and the invariants to check after any fault."""

import contextlib
import http.client
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, Self

from sonde.cursor import Cursor
from tests.certificates import trusting

_ASK_AGAIN = 40
START_TIME = 1_790_000_000_000_000


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return when ``condition`` holds; fail naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.01)


def _state(thread: Path) -> str:
    """What a thread does, a letter of proc(5): T stopped, D in the kernel."""
    try:
        return (thread / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "T"  # it has ended


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stored(Protocol):
    """Whatever stores: one process or a fleet of them."""

    def sql(self, text: str) -> Sequence[Sequence[Any]]:
        """An answer in SQL."""
        ...

    def wait_until_all_is_stored(self) -> None: ...


class Up:
    """``sonde up`` on one data directory and port, started and killed as often as a test likes. With ``tls`` it speaks https,
    with certificates of its own."""

    def __init__(self, directory: Path, *options: str, tls: bool = False) -> None:
        self.data = directory / "data"
        self.port = free_port()
        self.output = directory / "up.log"
        self._options = options
        self.tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self.token = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever happened, nothing stays behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def start(self, lines: IO[bytes] | None = None) -> None:
        """``lines`` takes what it prints instead of ``output``."""
        if self.tls and not (self.data / "tls").exists():
            made = self.command("init", "--tls")
            assert made.returncode == 0, made.stderr
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(self._command(), stdout=lines or output, stderr=subprocess.STDOUT)
        wait_for(self._ready, "sonde up answering again (I4)")
        if not self.token:
            self.token = create_token(self.data, "test", "--scope", "admin")

    def _command(self) -> list[str]:
        place = ("--data", str(self.data), "--port", str(self.port))
        return [sys.executable, "-m", "sonde", "up", *place, "--plain", *self._options]

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output.read_text()[-3000:]
        try:
            return self.request("GET", "/health/live")[0] == 200
        except OSError:
            return False

    def refuse_to_start(self, seconds: float = 20.0) -> str:
        """Start it where it must not run: it ends by itself, with 1 and without a traceback; what it said."""
        before = self.said()
        with self.output.open("ab") as output:
            done = subprocess.run(self._command(), stdout=output, stderr=output, timeout=seconds, check=False)
        said = self.said()[len(before) :]
        assert done.returncode == 1, (done.returncode, said)
        assert "Traceback" not in said, said
        return said

    def try_to_start(self) -> tuple[bool, str]:
        """Whether it came up; what it said if it ended by itself, without a traceback."""
        try:
            self.start()
        except AssertionError:
            assert self.wait(1) == 1
            assert "Traceback" not in self.said(), self.said()[-3000:]
            return False, self.said()
        return True, ""

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of Sonde on the same directory."""
        command = [sys.executable, "-m", "sonde", *arguments, "--data", str(self.data)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    def said(self) -> str:
        """All that it wrote so far."""
        return self.output.read_text() if self.output.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def memory(self) -> int:
        """Bytes that it has in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def freeze(self) -> None:
        """SIGSTOP, seen to be obeyed: it says nothing more. What its threads asked of the kernel may still go on there."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        wait_for(lambda: all(_state(thread) in "TD" for thread in threads.iterdir()), "every thread standing still")

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is written any more."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(15)

    def wait(self, seconds: float) -> int:
        """Until it has ended; the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        status, _, content = self.ask(method, path, body, headers)
        return status, content

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self.connection()
        try:
            all_headers = {"Authorization": f"Bearer {self.token}", **(headers or {})} if self.token else headers or {}
            connection.request(method, path, body, all_headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        """The authority to trust."""
        return self.data / "tls" / "authority.pem"

    def connection(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=trusting(self.ca))

    def connect(self, seconds: float = 20) -> socket.socket:
        """A bare connection, behind its handshake."""
        plain = socket.create_connection(("127.0.0.1", self.port), seconds)
        return trusting(self.ca).wrap_socket(plain, server_hostname="127.0.0.1") if self.tls else plain

    def sql(self, text: str) -> list[list[Any]]:
        """An answer in SQL; asked again while commits go first (503)."""
        question = json.dumps({"sql": text}).encode()
        for _ in range(_ASK_AGAIN):
            status, body = self.request("POST", "/sql", question, JSON)
            if status != 503:
                break
            time.sleep(0.5)
        assert status == 200, body
        rows: list[list[Any]] = json.loads(body)["rows"]
        return rows

    def get(self, path: str) -> Any:
        status, body = self.request("GET", path)
        assert status == 200, body
        return json.loads(body)

    def answers(self) -> bool:
        """Whether there is a store to ask."""
        status, body = self.request("POST", "/sql", b'{"sql": "select 1"}', JSON)
        assert status in {200, 503}, body
        return status == 200

    def wait_until_all_is_stored(self) -> None:
        """Until the store can be asked, and has come to where the log ends now; more may come meanwhile."""
        wait_for(self.answers, "questions being answered again (I4)", 60)
        lag = self._lag()
        end = lag + self._stored()  # asked later than the lag: not less than the end at that time, and perhaps more
        wait_for(
            lambda: self._lag() == 0 or self._stored() >= end, "the processor reaching the end of the log (I4)", 60
        )

    def _lag(self) -> int:
        status, body = self.request("GET", "/metrics")
        assert status == 200
        lags = [line for line in body.decode().splitlines() if line.startswith("sonde_processor_lag_frames ")]
        return int(float(lags[0].split()[1]))

    def _stored(self) -> int:
        """How many frames of the log are in the store; asked again while commits go first (503)."""
        for _ in range(_ASK_AGAIN):
            status, headers, body = self.ask("GET", "/devices?limit=1")
            if status != 503:
                break
            time.sleep(0.5)
        assert status == 200, body
        return sum(Cursor.parse(headers["Sonde-Cursor"]).offsets.values())


JSON = {"Content-Type": "application/json"}


def create_token(data: Path, name: str, *options: str) -> str:
    command = [sys.executable, "-m", "sonde", "token", "create", name, "--data", str(data), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Client:
    """Sends small batches, each known by its body, again and again until they are confirmed; notes both."""

    up: Up
    name: str
    rows: int = 20
    sent: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    retried: int = 0
    busy: list[tuple[int, str | None]] = field(default_factory=list)  # answers that say: later, and their Retry-After
    refusals: list[tuple[int, bytes]] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        number = 0
        while not stop.is_set():
            body = self._body(number)
            self.sent.add(number)
            while not self._try(number, body):
                self.retried += 1
                if stop.wait(0.02):
                    return
            number += 1

    def _body(self, number: int) -> bytes:
        first = number * self.rows
        readings = [
            {
                "device": self.name,
                "metric": f"m{i % 3}",
                "value": float(first + i),
                "time": START_TIME + (first + i) * 50_000 - (40_000_000 if i % 10 == 0 else 0),
            }
            for i in range(self.rows)
        ]
        return json.dumps(readings).encode()

    def _try(self, number: int, body: bytes) -> bool:
        try:
            status, headers, answer = self.up.ask("POST", "/telemetry", body, JSON)
        except OSError:
            return False
        if status == 202:
            self.confirmed.add(number)
            return True
        if status in {429, 503}:
            self.busy.append((status, headers["Retry-After"]))
        else:
            self.refusals.append((status, answer))
        return False

    def check(self) -> None:
        """I1 and I2: what was confirmed is stored exactly once, and nothing that was not sent."""
        assert not self.refusals, self.refusals[:3]
        stored = self.up.sql(
            f"select cast(floor(value / {self.rows}) as bigint), count(*), count(distinct value) from readings"
            f" where device = '{self.name}' group by 1"
        )
        wrong = [number for number, readings, different in stored if not readings == different == self.rows]
        assert not wrong, f"batches stored more than once, or in part (I1): {wrong[:5]}"
        numbers = {int(number) for number, _, _ in stored}
        assert not self.confirmed - numbers, f"confirmed and not stored (I1): {sorted(self.confirmed - numbers)[:5]}"
        assert not numbers - self.sent, f"stored and never sent (I2): {sorted(numbers - self.sent)[:5]}"


@contextlib.contextmanager
def clients(up: Up, count: int) -> Iterator[list[Client]]:
    """``count`` clients under way."""
    stop = threading.Event()
    made = [Client(up, f"client-{i}") for i in range(count)]
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in made]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def check_windows(up: Up) -> None:
    """I3: windows equal a batch computation over the readings, which I1 and I2 hold against the log."""
    differing = up.sql(
        """
        with batch as (
          select device, metric, site, zone, labels, width,
                 time_bucket(to_seconds(case width when '5m' then 300 else 900 end), time) as start,
                 count(*) as n, sum(value) as s, min(value) as lo, max(value) as hi
          from readings, (values ('5m'), ('15m')) as widths(width)
          where kind <= 2 and quality in (0, 2) group by all)
        select count(*) from batch b full join windows w
          on (b.device, b.metric, b.site, b.zone, b.labels, b.width, b.start)
           = (w.device, w.metric, w.site, w.zone, w.labels, w.width, w.start)
        where b.n is distinct from w.count or b.lo is distinct from w.min or b.hi is distinct from w.max
           or abs(b.s - w.sum) > 1e-6 * greatest(1, abs(b.s)) or b.n is null or w.count is null
        """
    )
    assert differing == [[0]], "windows differ from a batch computation (I3)"


def check_ledger(up: Up, *, complete: bool = True) -> None:
    """I5: the sums close, they agree with what is stored, and nothing is missing once everything has arrived. Sensors may go
    on meanwhile."""
    before = count_stored(up)
    lines = up.get("/ledger")
    after = count_stored(up)
    rows = lines if isinstance(lines, list) else lines["ledger"]
    for line in rows:
        parts = sum(line[k] for k in ("stored", "duplicate", "refused", "set_aside", "lost", "missing"))
        assert line["sent"] == parts, line
        assert not complete or line["missing"] == 0, line
    assert before <= sum(line["stored"] for line in rows) <= after


def count_stored(up: Up) -> int:
    return int(up.sql("select count(*) from readings")[0][0])


def seed() -> int:
    """A fresh seed, or the one to repeat, from SONDE_TEST_SEED; it is shown when a test fails."""
    number = int(os.environ.get("SONDE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SONDE_TEST_SEED={number} repeats this run")
    return number
