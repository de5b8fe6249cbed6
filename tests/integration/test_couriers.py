"""Web hooks and e-mail, against real servers on loopback."""

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message as Letter
from pathlib import Path
from typing import Any

import pytest
import urllib3
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from sonde.clock import SystemClock
from sonde.courier import webhook
from sonde.courier.address import addresses_of
from sonde.courier.email import Email
from sonde.courier.webhook import Webhook, sign
from sonde.errors import Doubtful, Reject, Retry
from sonde.notice import Message
from tests.certificates import Authorities, context_of
from tests.hook import hook

MESSAGE = Message(
    "abc123", "co2 is 1200", "critical · fired · co2 is 1200", {"id": "abc123", "text": "✓", "repeat": False}
)
SECRET = b"between us"


def courier(url: str, *, private: bool = True, secret: bytes = SECRET) -> Webhook:
    return Webhook(url, secret, SystemClock(), private=private)


def test_a_message_is_posted_and_signed() -> None:
    with hook("204 No Content") as receiver:
        courier(receiver.url).send(MESSAGE)
        ((path, headers, body),) = receiver.got
    assert path == "/hook?room=1"
    assert json.loads(body) == MESSAGE.body
    assert headers["Content-Type"] == "application/json"
    assert headers["Sonde-Message"] == "abc123"
    seconds = headers["Sonde-Signature"].split(",")[0].removeprefix("t=")
    expected = hmac.new(SECRET, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["Sonde-Signature"] == f"t={seconds},v1={expected}" == sign(SECRET, int(seconds), body)


def test_without_a_secret_nothing_is_signed() -> None:
    with hook("200 OK") as receiver:
        courier(receiver.url, secret=b"").send(MESSAGE)
        assert "Sonde-Signature" not in receiver.got[0][1]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("400 Bad Request", Reject),
        ("404 Not Found", Reject),
        ("410 Gone", Reject),
        ("429 Too Many Requests", Retry),
        ("503 Service Unavailable", Retry),
        ("500 Internal Server Error", Doubtful),
        ("504 Gateway Timeout", Doubtful),
        ("", Doubtful),
    ],
)
def test_what_an_answer_means(answer: str, error: type[Exception]) -> None:
    with hook(answer) as receiver, pytest.raises(error) as caught:
        courier(receiver.url).send(MESSAGE)
    assert type(caught.value) is error
    assert len(receiver.got) == 1, "tried again without being told"


def test_retry_after_is_kept_to() -> None:
    with hook("503 Service Unavailable", "Retry-After: 17\r\n") as receiver, pytest.raises(Retry) as caught:
        courier(receiver.url).send(MESSAGE)
    assert caught.value.after == 17


def test_redirects_are_not_followed() -> None:
    with hook("200 OK") as inside:
        location = f"Location: {inside.url}\r\n"
        with hook("307 Temporary Redirect", location) as receiver, pytest.raises(Reject, match="not followed"):
            courier(receiver.url).send(MESSAGE)
        assert inside.got == []


def test_nobody_there_is_no_doubt() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Retry) as caught:
            courier(f"http://127.0.0.1:{taken.getsockname()[1]}/").send(MESSAGE)
    assert not isinstance(caught.value, Doubtful)


def test_one_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_TIMEOUT", urllib3.Timeout(connect=5.0, read=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Doubtful):
        courier(f"http://127.0.0.1:{silent.getsockname()[1]}/").send(MESSAGE)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
        ),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("2130706433", "0x7f000001", "127.1", "224.0.0.1", "ff02::1"),
    ],
)
def test_private_addresses_are_refused_however_they_are_written(host: str) -> None:
    with pytest.raises(Reject, match="private or of this machine"):
        addresses_of(host, 80, private=False)


def test_a_hook_on_this_machine_is_never_reached_unless_allowed() -> None:
    with hook("200 OK") as receiver:
        with pytest.raises(Reject, match="allow_private"):
            courier(receiver.url, private=False).send(MESSAGE)
        assert receiver.got == []


@pytest.mark.parametrize("host", ["1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_not(host: str) -> None:
    assert addresses_of(host, 443, private=False) == [host]


def test_a_name_that_nobody_has_is_for_later() -> None:
    with pytest.raises(Retry, match="was not found"):
        addresses_of("no-such-host.invalid", 443, private=False)


# -- e-mail


class Mailbox:
    """What a mail server does with a letter."""

    def __init__(self, answer: str = "250 OK") -> None:
        self.answer = answer
        self.letters: list[Letter] = []

    async def handle_DATA(  # noqa: N802 - the server calls it so
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        self.letters.append(message_from_bytes(envelope.content))
        return self.answer


class Post(Controller):
    """A mail server on loopback, on a port of its own."""

    def __init__(self, box: Mailbox, **options: Any) -> None:
        super().__init__(box, hostname="127.0.0.1", port=0, **options)

    @property
    def number(self) -> int:
        server: Any = self.server
        return int(server.sockets[0].getsockname()[1])

    def _trigger_server(self) -> None:
        with socket.create_connection(("127.0.0.1", self.number), 5.0) as probe:
            probe.recv(1024)


@contextmanager
def post(box: Mailbox, **options: Any) -> Iterator[int]:
    server = Post(box, **options)
    server.start()
    try:
        yield server.number
    finally:
        server.stop()


def letterbox(port: int, **changes: Any) -> Email:
    settings: dict[str, Any] = {
        "server": "127.0.0.1",
        "sender": "sonde@example.org",
        "to": ["a@example.org", "b@example.org"],
    }
    return Email(**{**settings, "port": port, "tls": "none", **changes})


def test_a_letter_arrives() -> None:
    box = Mailbox()
    with post(box) as port:
        letterbox(port).send(MESSAGE)
    (letter,) = box.letters
    assert letter["Subject"] == "[Sonde] co2 is 1200"
    assert letter["To"] == "a@example.org, b@example.org"
    assert letter["Message-ID"] == "<abc123@example.org>"
    assert letter["Auto-Submitted"] == "auto-generated"
    payload: Any = letter.get_payload(decode=True)
    assert "critical" in payload.decode()


def test_a_subject_cannot_bring_a_header_of_its_own() -> None:
    box = Mailbox()
    with post(box) as port:
        letterbox(port).send(Message("x", "a\r\nBcc: c@example.org", "text", {"repeat": True}))
    assert box.letters[0]["Bcc"] is None
    assert box.letters[0]["Subject"] == "[Sonde] (repeat) a Bcc: c@example.org"


@pytest.mark.parametrize(("answer", "error"), [("451 later", Retry), ("554 never", Reject)])
def test_what_a_mail_server_means(answer: str, error: type[Exception]) -> None:
    with post(Mailbox(answer)) as port, pytest.raises(error, match=answer):
        letterbox(port).send(MESSAGE)


def test_a_mail_server_that_is_not_there_is_for_later() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Retry, match="cannot be used"):
            letterbox(taken.getsockname()[1]).send(MESSAGE)


def test_whoever_signs_in_does_so_after_the_way_is_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        seen.append((session.ssl is not None, data))
        return AuthResult(success=data == LoginPassword(b"night", b"watch"), handled=False)

    authority = Authorities.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    box = Mailbox()
    with post(box, tls_context=context_of(authority.server()), authenticator=check, auth_required=True) as port:
        letterbox(port, tls="starttls", user="night", password="watch").send(MESSAGE)
        with pytest.raises(Retry, match="535"):
            letterbox(port, tls="starttls", user="night", password="wrong").send(MESSAGE)
    assert len(box.letters) == 1
    assert seen[0] == (True, LoginPassword(b"night", b"watch"))


def test_a_mail_server_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    context = context_of(Authorities.make(tmp_path).server())
    with post(Mailbox(), tls_context=context) as port, pytest.raises(Retry, match="certificate"):
        letterbox(port, tls="starttls").send(MESSAGE)


def test_a_hook_with_tls_is_checked_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authorities.make(tmp_path)
    with hook("200 OK") as receiver:
        receiver.socket = context_of(authority.server(hosts=("localhost",))).wrap_socket(
            receiver.socket, server_side=True
        )
        port = receiver.server_address[1]
        with pytest.raises(Retry, match="secure"):
            courier(f"https://localhost:{port}/").send(MESSAGE)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        courier(f"https://localhost:{port}/").send(MESSAGE)
        with pytest.raises(Retry, match="secure"):
            courier(f"https://127.0.0.1:{port}/").send(MESSAGE)
        assert len(receiver.got) == 1
