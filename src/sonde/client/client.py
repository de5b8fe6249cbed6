"""Readings in, questions out, the live feed, and commands."""

import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import msgspec

from sonde.client.follow import Follow
from sonde.client.outcome import Checked, Outcome
from sonde.client.server import Answer, Server
from sonde.errors import Hold
from sonde.message import Kind, Subscribe
from sonde.reading import Reading

_AT_ONCE: Final = 10_000  # readings in a request
_LOOK_SECONDS: Final = 0.2
_JSON: Final = "application/json"
Patterns = str | Sequence[str]


class Client:
    """A server of Sonde. Threads may share it.

    ``token`` needs the scope of what is done with it: ``ingest`` to send, ``read`` to ask and follow, ``command`` to
    command. ``ca`` is a file with the certificates of the server's authority, if the system does not know it, or a context
    that says all of what is trusted.
    ``patience`` is for how many seconds :meth:`send` tries again while the server is away or busy.

    Methods raise the errors of :mod:`sonde.errors`: what happened, where, and what to do.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        ca: Path | str | ssl.SSLContext | None = None,
        patience: float = 60.0,
    ) -> None:
        who = {"Authorization": f"Bearer {token}"} if token else {}
        self._server = Server(url, {**who, **(headers or {})}, _trusted(url, ca), patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, readings: Iterable[Reading | Mapping[str, Any]], *, key: str = "") -> int:
        """Send readings; how many were taken. When it returns they are durable, each once, however often it had to try.

        A reading is a :class:`Reading`, or a mapping in any form that ``POST /telemetry`` takes. With a ``key`` of your own
        (the same one for the same readings) that holds across restarts of your program too.
        """
        rows = [_plain(reading) for reading in readings]
        name = key or secrets.token_hex(16)
        taken = 0
        for number, start in enumerate(range(0, len(rows), _AT_ONCE)):
            body = msgspec.json.encode(rows[start : start + _AT_ONCE])
            headers = {"Content-Type": _JSON, "Idempotency-Key": f"{name}-{number}" if number else name}
            taken += self._server.insist(lambda b=body, h=headers: self._post("/telemetry", b, h)).data["accepted"]  # type: ignore[misc]
        return taken

    def query(self, path: str, **parameters: str | float | bool) -> Answer:
        """``GET`` a route, such as ``client.query("/trends", sensor_type="co2", window="5m")``. The answer has the data, the
        cursor of its snapshot, to follow from there, and the next page if there is one, to be asked for with ``query``."""
        fields = {name: _text(value) for name, value in parameters.items()}
        return self._server.ask("GET", path, fields=fields)

    def change(self, method: str, path: str, body: Any = None) -> Answer:
        """``POST``, ``PUT`` or ``DELETE`` a route, with ``body`` as JSON, such as
        ``client.change("PUT", "/alert-rules/hot", {"type": "above", "threshold": 30})``."""
        if body is None:
            return self._server.ask(method, path)
        return self._server.ask(method, path, body=msgspec.json.encode(body), headers={"Content-Type": _JSON})

    def sql(self, select: str) -> list[dict[str, Any]]:
        """The rows of one SELECT; needs the scope ``admin``."""
        answer = self._post("/sql", msgspec.json.encode({"sql": select}), {"Content-Type": _JSON}).data
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def follow(
        self,
        *,
        device: Patterns | None = None,
        metric: Patterns | None = None,
        site: Patterns | None = None,
        zone: Patterns | None = None,
        rate: float | None = None,
        cursor: str | None = None,
        since: str | None = None,
        kinds: Sequence[Kind] | None = None,
        trouble: Callable[[str], None] | None = None,
    ) -> Follow:
        """The live feed of what matches shell-style patterns; see :class:`Follow` and ``docs/live.md``.

        It starts now; at a ``cursor`` of an answer or of an earlier :class:`Follow`; or with what was received ``since`` a
        moment (RFC 3339) or a span before now (``5m``). ``rate`` is the most readings of one series a second.
        ``trouble`` is told when the connection is lost or cannot be made; it is tried again all the same.
        """
        wanted = Subscribe(
            device=_listed(device),
            metric=_listed(metric),
            site=_listed(site),
            zone=_listed(zone),
            rate=rate,
            cursor=cursor,
            since=None if cursor else since,
            kinds=list(kinds) if kinds is not None else None,
        )
        return Follow(self._server, wanted, trouble)

    def command(
        self,
        device: str,
        command: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        expires_in: float | str | None = None,
        key: str = "",
        wait: bool = True,
        tell: Callable[[Outcome], None] = lambda outcome: None,
    ) -> Outcome:
        """Have a device do something, and wait for what becomes of it; ``tell`` hears of each change. Without ``wait``, what
        the server made of it. It waits for its device for ``expires_in`` seconds, or a span such as ``5m``; 5 minutes
        unless given. Since it has a ``key`` (yours, or a new one), it is given once however often this has to try.
        """
        asked = {
            "device": device,
            "command": command,
            "parameters": dict(parameters or {}),
            "expires_in": expires_in,
            "idempotency_key": key or secrets.token_hex(16),
        }
        body = msgspec.json.encode(asked)
        outcome = _outcome(self._server.insist(lambda: self._post("/commands", body, {"Content-Type": _JSON})))
        tell(outcome)
        return self.outcome(outcome, tell) if wait else outcome

    def outcome(self, outcome: Outcome, tell: Callable[[Outcome], None] = lambda outcome: None) -> Outcome:
        """Wait until a command comes to its end; ``tell`` hears of each change."""
        path = f"/commands/{quote(outcome.id, safe='')}"
        while not outcome.is_over:
            time.sleep(_LOOK_SECONDS)
            before, outcome = outcome, _outcome(self._server.insist(lambda: self.query(path)))
            if (before.state, before.progress, before.message) != (outcome.state, outcome.progress, outcome.message):
                tell(outcome)
        return outcome

    def check(self, device: str, command: str, parameters: Mapping[str, Any] | None = None) -> Checked:
        """Only check a command: the errors that :meth:`command` would raise, and whether its device is there."""
        asked = {"device": device, "command": command, "parameters": dict(parameters or {}), "dry_run": True}
        answer = self._post("/commands", msgspec.json.encode(asked), {"Content-Type": _JSON})
        return msgspec.convert(answer.data, Checked)

    def cancel(self, command_id: str) -> Outcome:
        """Take a command back that is still queued; :class:`sonde.errors.Conflict` if it is too late."""
        return _outcome(self._post(f"/commands/{quote(command_id, safe='')}/cancel", b"", {}))

    def close(self) -> None:
        """Let go of connections that are kept for the next request."""
        self._server.close()

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return self._server.ask("POST", path, body=body, headers=headers)


def _outcome(answer: Answer) -> Outcome:
    return msgspec.convert(answer.data, Outcome)


def _trusted(url: str, ca: Path | str | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if isinstance(ca, ssl.SSLContext) or not url.startswith("https:"):
        return ca if isinstance(ca, ssl.SSLContext) else None
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise Hold(f"{ca} cannot be used as an authority ({error})", hint="It should be a PEM file") from None


def _plain(reading: Reading | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(reading, Reading):
        return reading
    plain: dict[str, Any] = {
        "device": reading.device,
        "metric": reading.metric,
        "time": reading.time,
        "value": reading.value,
        "site": reading.site,
        "zone": reading.zone,
    }
    more = {"labels": reading.labels, "quality": reading.quality, "event_id": reading.event_id}
    return {**plain, **{name: value for name, value in more.items() if value}}


def _listed(patterns: Patterns | None) -> str | list[str] | None:
    return patterns if patterns is None or isinstance(patterns, str) else list(patterns)


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
