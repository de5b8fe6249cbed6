"""Access: scopes, revocation, wrong tokens, sign-in."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sonde.access import Access, may_write
from sonde.clock import DAY, SECOND, Micros
from sonde.control.memory import MemoryControl
from sonde.control.sqlite import SqliteControl
from sonde.errors import Forbidden, NotFound, Throttled, Unauthenticated
from sonde.metrics import Metrics
from sonde.ports import Credential
from sonde.token import Token

HERE = "127.0.0.1"


class HandClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> Micros:
        return 1_750_000_000 * SECOND + int(self.seconds * SECOND)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, signal: threading.Event, seconds: float) -> bool:
        self.seconds += seconds
        return signal.is_set()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def control(clock: HandClock) -> MemoryControl:
    return MemoryControl(clock)


def create(
    control: MemoryControl | SqliteControl, *scopes: str, expires: Micros | None = None
) -> tuple[str, Credential]:
    token = Token.make()
    credential = Credential(token.id, token.id, frozenset(scopes), expires=expires)
    control.create_token(credential, token.digest)
    return token.text, credential


def test_a_token_with_the_scope_passes(control: MemoryControl, clock: HandClock) -> None:
    text, made = create(control, "ingest")
    assert replace(Access(control, clock).check(text, "ingest", HERE), last_used=None) == made


@pytest.mark.parametrize("scope", ["read", "command", "admin"])
def test_a_token_without_the_scope_does_not(control: MemoryControl, clock: HandClock, scope: str) -> None:
    text, _ = create(control, "ingest")
    with pytest.raises(Forbidden, match=scope):
        Access(control, clock).check(text, scope, HERE)


@pytest.mark.parametrize("scope", ["ingest", "read", "command", "admin"])
def test_admin_may_everything(control: MemoryControl, clock: HandClock, scope: str) -> None:
    text, _ = create(control, "admin")
    Access(control, clock).check(text, scope, HERE)


def test_no_token_is_nobody_even_here(control: MemoryControl, clock: HandClock) -> None:
    with pytest.raises(Unauthenticated, match="none was given"):
        Access(control, clock).check(None, "read", HERE)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_anonymous_scopes_on_this_machine(control: MemoryControl, clock: HandClock, address: str) -> None:
    access = Access(control, clock, anonymous=frozenset({"read"}))
    access.check(None, "read", address)
    with pytest.raises(Forbidden):
        access.check(None, "ingest", address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "", "unix"])
def test_anonymous_scopes_are_for_this_machine_alone(control: MemoryControl, clock: HandClock, address: str) -> None:
    with pytest.raises(Unauthenticated):
        Access(control, clock, anonymous=frozenset({"read"})).check(None, "read", address)


def test_a_wrong_token_is_not_taken_for_none(control: MemoryControl, clock: HandClock) -> None:
    with pytest.raises(Unauthenticated):
        Access(control, clock, anonymous=frozenset({"read"})).check("wrong", "read", HERE)


def test_a_revocation_is_seen_within_a_second(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    text, made = create(control, "ingest")
    access.check(text, "ingest", HERE)
    control.revoke(made.id)
    clock.seconds += 1.0
    with pytest.raises(Unauthenticated):
        access.check(text, "ingest", HERE)


def test_an_expiry_is_seen_at_once(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    text, _ = create(control, "ingest", expires=clock.now() + SECOND // 2)
    access.check(text, "ingest", HERE)
    clock.seconds += 0.5
    with pytest.raises(Unauthenticated, match="expired"):
        access.check(text, "ingest", HERE)


def test_a_look_up_a_second_at_most(clock: HandClock) -> None:
    class Counting(MemoryControl):
        asked = 0

        def find_token(self, digest: bytes) -> Credential | None:
            self.asked += 1
            return super().find_token(digest)

    control = Counting(clock)
    access = Access(control, clock)
    text, _ = create(control, "ingest")
    for _ in range(10_000):
        clock.seconds += 0.001
        access.check(text, "ingest", HERE)
    assert control.asked <= 11


def test_wrong_tokens_are_slowed_and_counted(control: MemoryControl, clock: HandClock) -> None:
    metrics = Metrics()
    access = Access(control, clock, metrics=metrics)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            access.check(Token.make().text, "ingest", "10.0.0.1")
    with pytest.raises(Throttled) as refused:
        access.check(Token.make().text, "ingest", "10.0.0.1")
    assert metrics.registry.get_sample_value("sonde_api_wrong_tokens_total") == 11
    assert refused.value.after is not None
    clock.seconds += refused.value.after
    with pytest.raises(Unauthenticated):
        access.check(Token.make().text, "ingest", "10.0.0.1")
    with pytest.raises(Throttled):
        access.check(Token.make().text, "ingest", "10.0.0.1")


def test_wrong_tokens_harm_nobody_else(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    known, _ = create(control, "ingest")
    elsewhere, _ = create(control, "ingest")
    new, _ = create(control, "ingest")
    access.check(known, "ingest", "10.0.0.1")
    for _ in range(50):
        with pytest.raises((Unauthenticated, Throttled)):
            access.check("wrong", "ingest", "10.0.0.1")
    clock.seconds += 1
    access.check(known, "ingest", "10.0.0.1")  # it was right a while ago
    access.check(elsewhere, "ingest", "10.0.0.2")  # another address
    with pytest.raises(Throttled):
        access.check(new, "ingest", "10.0.0.1")  # never seen: it waits


def test_one_network_counts_as_one_address(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    for i in range(10):
        with pytest.raises(Unauthenticated):
            access.check("wrong", "ingest", f"2001:db8::{i:x}")
    with pytest.raises(Throttled):
        access.check("wrong", "ingest", "2001:db8::ffff")


def test_what_is_remembered_is_bounded(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    for i in range(30_000):
        with pytest.raises(Unauthenticated):
            access.check("wrong", "ingest", f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}")
    assert len(access._wrong._forgiven) <= 10_000


def sign_in(access: Access, link: str, address: str = "") -> str:
    return access.open_session(access.use_link(link, address), address)


def test_signing_in_with_a_link(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    _, made = create(control, "admin")
    link = access.make_link(made.id)
    cookie = sign_in(access, link, HERE)
    assert access.check_cookie(cookie, "read", HERE).id == made.id
    with pytest.raises(Unauthenticated, match="used before"):
        sign_in(access, link, HERE)


def test_a_link_and_a_cookie_end(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    _, made = create(control, "read")
    link, other = access.make_link(made.id), access.make_link(made.id)
    cookie = sign_in(access, link, HERE)
    clock.seconds += 3601
    with pytest.raises(Unauthenticated):
        sign_in(access, other, HERE)
    access.check_cookie(cookie, "read", HERE)
    clock.seconds += 7 * DAY / SECOND
    with pytest.raises(Unauthenticated):
        access.check_cookie(cookie, "read", HERE)


def test_a_cookie_ends_with_its_token(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    _, made = create(control, "read")
    cookie = sign_in(access, access.make_link(made.id), HERE)
    access.check_cookie(cookie, "read", HERE)
    control.revoke(made.id)
    clock.seconds += 1
    with pytest.raises(Unauthenticated):
        access.check_cookie(cookie, "read", HERE)


def test_a_cookie_is_no_token_and_a_link_no_cookie(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    text, made = create(control, "read")
    link = access.make_link(made.id)
    for wrong in (text, link):
        with pytest.raises(Unauthenticated):
            access.check_cookie(wrong, "read", HERE)
    with pytest.raises(Unauthenticated):
        access.check(sign_in(access, link, HERE), "read", HERE)


def test_links_are_made_for_known_tokens(control: MemoryControl, clock: HandClock) -> None:
    with pytest.raises(NotFound):
        Access(control, clock).make_link("nobody")


def test_guessing_links_is_slowed(control: MemoryControl, clock: HandClock) -> None:
    access = Access(control, clock)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            sign_in(access, "guess", "10.0.0.1")
    with pytest.raises(Throttled):
        sign_in(access, "guess", "10.0.0.1")


@pytest.mark.parametrize(
    ("patterns", "device", "may"),
    [
        ((), "anything", True),
        (("lab-*",), "lab-1", True),
        (("lab-*",), "Lab-1", False),
        (("lab-*",), "x-lab-1", False),
        (("lab-?", "roof"), "roof", True),
        (("lab-?", "roof"), "roof2", False),
        (("lab-[12]",), "lab-2", True),
        (("lab-*",), "lab-1\nx", True),
        (("a.b",), "axb", False),
    ],
)
def test_patterns_of_devices(patterns: tuple[str, ...], device: str, may: bool) -> None:
    assert may_write(Credential("id", "name", frozenset({"ingest"}), patterns), device) is may


def test_no_secret_is_in_the_file(tmp_path: Path, clock: HandClock) -> None:
    control = SqliteControl(tmp_path / "control.db", clock)
    access = Access(control, clock)
    text, made = create(control, "admin")
    link = access.make_link(made.id)
    cookie = sign_in(access, link, HERE)
    content = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    for secret in (text.split("_")[2], link, cookie):
        assert secret.encode() not in content
    assert secret not in repr(access.__dict__)
    control.close()
