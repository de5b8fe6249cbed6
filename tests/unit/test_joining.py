"""How a node joins: codes that work once, what they give, and what a certificate is worth beside its token."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.access import Access
from sonde.audit import Act
from sonde.certificate import Authority, new_key, read_certificates, request_pem
from sonde.clock import DAY, SECOND, SystemClock
from sonde.control.sqlite import SqliteControl
from sonde.errors import Conflict, Forbidden, Invalid, NotFound, Retry, SondeError, Throttled, Unauthenticated
from sonde.joining import Joining, credential_digest, parse_code
from sonde.people import People
from sonde.ports import Control
from sonde.token import Token, digest

HERE = "192.0.2.1"
AUTHORITY = Authority.make(SystemClock().now())


class World:
    """A control database, and who may join by it."""

    def __init__(self, control: Control, *, authority: Authority | None = AUTHORITY, certified: bool = False) -> None:
        self.control, self.clock = control, SystemClock()
        self.acts: list[str] = []
        self.trail_is_full = False
        self.access = Access(control, self.clock, certified=certified, cache_seconds=0.0)
        self.joining = Joining(self.access, self.clock, self.note, lambda: authority, pinned=True)

    def note(self, what: str, on: str = "", /, **detail: str) -> None:
        if self.trail_is_full:
            raise Retry("the trail cannot be written")
        Act(0, "test", what, on, "", detail)
        self.acts.append(f"{what} {on}")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = SqliteControl(tmp_path / "control.db")
    yield made
    made.close()


@pytest.fixture
def world(control: Control) -> World:
    return World(control)


def joined(world: World, name: str = "attic", *devices: str) -> tuple[str, bytes]:
    """A token, and the digest in the certificate beside it."""
    code, _ = parse_code(world.joining.invite(name, devices).code)
    made = world.joining.join(code, request_pem(new_key()), HERE)
    return made.token, read_certificates(made.certificate.encode(), "made")[0].credential


def test_a_code_gives_a_credential_bounded_to_its_name_and_devices(world: World) -> None:
    invitation = world.joining.invite("attic", ["attic-*"])
    code, fingerprint = parse_code(invitation.code)
    assert fingerprint == AUTHORITY.description.fingerprint
    made = world.joining.join(code, request_pem(new_key()), HERE)
    who = world.access.check(made.token, "ingest", HERE)
    assert (who.name, who.node, who.devices, sorted(who.scopes)) == ("attic", "attic", ("attic-*",), ["ingest"])
    (certificate,) = read_certificates(made.certificate.encode(), "made")
    assert (certificate.subject, certificate.credential) == ("attic", digest(made.token))
    assert AUTHORITY.made(made.certificate.encode(), "made")
    assert world.acts == ["node.invite attic", "node.join attic"]
    assert invitation.code not in repr(invitation)
    assert made.token not in repr(made)


def test_a_code_opens_nothing_else(world: World) -> None:
    code, _ = parse_code(world.joining.invite("attic").code)
    for scope in ("ingest", "read", "command", "admin"):
        with pytest.raises(Forbidden):
            world.access.check(code, scope, HERE)


def test_a_code_works_once(world: World) -> None:
    code, _ = parse_code(world.joining.invite("attic").code)
    world.joining.join(code, "", HERE)
    with pytest.raises(Unauthenticated, match="used before"):
        world.joining.join(code, "", HERE)


def test_of_many_at_once_one_gets_in(control: Control) -> None:
    world = World(control)
    code, _ = parse_code(world.joining.invite("attic").code)
    got, start = [], threading.Barrier(8)

    def rush() -> None:
        own = World(control)  # each as if it were the first to see the code
        start.wait()
        try:
            got.append(own.joining.join(code, "", HERE).token)
        except Unauthenticated:
            return

    threads = [threading.Thread(target=rush) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_code_ends(world: World) -> None:
    code, _ = parse_code(world.joining.invite("attic", lasts=SECOND).code)
    deadline = threading.Event()
    while world.clock.now() < world.control.tokens()[0].expires:  # type: ignore[operator]
        deadline.wait(0.05)
    with pytest.raises(Unauthenticated, match="too old"):
        world.joining.join(code, "", HERE)


def test_wrong_codes_are_slowed_for_their_address(world: World) -> None:
    code, _ = parse_code(world.joining.invite("attic").code)
    refused = [refusal(world, Token.make().text) for _ in range(20)]
    assert refused[0] is Unauthenticated
    assert refused[-1] is Throttled
    world.joining.join(code, "", "192.0.2.99")


def refusal(world: World, code: str) -> type[SondeError]:
    with pytest.raises(SondeError) as raised:
        world.joining.join(code, "", HERE)
    return raised.type


def test_a_request_that_is_none_does_not_use_the_code_up(world: World) -> None:
    code, _ = parse_code(world.joining.invite("attic").code)
    with pytest.raises(Invalid, match="request"):
        world.joining.join(code, "nonsense", HERE)
    world.joining.join(code, "", HERE)


def test_what_cannot_be_written_down_does_not_happen(world: World) -> None:
    world.trail_is_full = True
    with pytest.raises(Retry):
        world.joining.invite("attic")
    assert not world.control.tokens()
    world.trail_is_full = False
    code, _ = parse_code(world.joining.invite("attic").code)
    world.trail_is_full = True
    with pytest.raises(Retry):
        world.joining.join(code, "", HERE)
    world.trail_is_full = False
    assert world.joining.join(code, "", HERE).token


def test_the_newest_invitation_counts(world: World) -> None:
    first, _ = parse_code(world.joining.invite("attic").code)
    second, _ = parse_code(world.joining.invite("attic").code)
    with pytest.raises(Unauthenticated):
        world.joining.join(first, "", HERE)
    world.joining.join(second, "", HERE)


def test_joining_again_ends_what_the_node_had(world: World) -> None:
    before, _ = joined(world)
    after, _ = joined(world)
    with pytest.raises(Unauthenticated):
        world.access.check(before, "ingest", HERE)
    world.access.check(after, "ingest", HERE)
    for _ in range(5):
        joined(world)
    other, _ = joined(world, "cellar")
    assert world.access.check(other, "ingest", HERE).node == "cellar"


def test_two_tokens_made_by_hand_are_in_the_way(world: World) -> None:
    people = People(world.control, world.clock, world.note)
    for _ in range(2):
        people.create_token("attic", ["ingest"])
    with pytest.raises(Conflict, match="revoke"):
        world.joining.invite("attic")


def test_a_token_is_no_code(world: World) -> None:
    token, _ = People(world.control, world.clock, world.note).create_token("boss", ["admin"])
    with pytest.raises(Forbidden, match="no code"):
        world.joining.join(token.text, "", HERE)


def test_without_an_authority_there_is_a_token_alone(control: Control) -> None:
    world = World(control, authority=None)
    code, fingerprint = parse_code(world.joining.invite("attic").code)
    made = world.joining.join(code, request_pem(new_key()), HERE)
    assert (fingerprint, made.certificate, made.authority) == ("", "", "")
    who = world.access.check(made.token, "ingest", HERE)
    with pytest.raises(NotFound):
        world.joining.renew(who, digest(made.token), request_pem(new_key()))


@pytest.mark.parametrize(("name", "devices"), [("", ()), ("x" * 300, ()), ("a\nb", ()), ("local", ()), ("a", ("",))])
def test_names_that_are_none(world: World, name: str, devices: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        world.joining.invite(name, devices)


@pytest.mark.parametrize("lasts", [0, -1, 31 * DAY])
def test_an_invitation_lasts_a_second_to_thirty_days(world: World, lasts: int) -> None:
    with pytest.raises(Invalid, match="lasts"):
        world.joining.invite("attic", lasts=lasts)


def test_a_certificate_is_a_credential_and_ends_with_its_token(world: World) -> None:
    token, certificate = joined(world)
    assert world.access.check(None, "ingest", HERE, certificate).node == "attic"
    assert credential_digest(token, b"") == credential_digest(None, certificate) == certificate
    People(world.control, world.clock, world.note).revoke_token("attic")
    with pytest.raises(Unauthenticated):
        world.access.check(None, "ingest", HERE, certificate)
    with pytest.raises(Unauthenticated):
        world.access.check(token, "ingest", HERE, certificate)


def test_where_certificates_are_required_a_nodes_token_alone_is_worth_nothing(control: Control) -> None:
    world = World(control, certified=True)
    token, certificate = joined(world)
    _, other = joined(world, "cellar")
    for shown in (b"", other, bytes(32)):
        with pytest.raises(Forbidden, match="certificate"):
            world.access.check(token, "ingest", HERE, shown)
    world.access.check(token, "ingest", HERE, certificate)
    world.access.check(None, "ingest", HERE, certificate)
    plain, _ = People(world.control, world.clock, world.note).create_token("boss", ["admin"])
    world.access.check(plain.text, "read", HERE)


def test_only_a_node_renews_and_the_new_one_names_the_same_token(world: World) -> None:
    token, certificate = joined(world)
    who = world.access.check(token, "ingest", HERE)
    made = world.joining.renew(who, certificate, request_pem(new_key()))
    assert read_certificates(made.certificate.encode(), "made")[0].credential == certificate
    boss, credential = People(world.control, world.clock, world.note).create_token("boss", ["admin"])
    with pytest.raises(Forbidden):
        world.joining.renew(credential, boss.digest, request_pem(new_key()))


def test_a_code_that_was_not_copied_whole(world: World) -> None:
    code = world.joining.invite("attic").code
    for cut in (
        code[:-1],
        code[1:],
        code[:60],
        code.replace(".", ""),
        code + "x",
        "",
        "nonsense",
        code[:-5] + "\u00e9",
    ):
        with pytest.raises(Invalid, match="CODE"):
            parse_code(cut)
    assert parse_code(f" {code}\n") == parse_code(code)
