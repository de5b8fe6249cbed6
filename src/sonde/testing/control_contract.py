"""What every adapter of port ``Control`` must do. Subclass it, and give ``control`` as a fixture."""

from dataclasses import replace

import pytest

from sonde.clock import DAY, SECOND, Clock, Micros, SystemClock
from sonde.errors import Conflict
from sonde.ports import Control, Credential, Session
from sonde.token import Token, digest, new_secret, session_id


class ControlContract:
    """Tests of one adapter; ``clock`` must be the one that the adapter was made with."""

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    def control(self, clock: Clock) -> Control:
        """A new, empty one. Override it."""
        raise NotImplementedError

    def test_a_token_comes_back_as_it_was_made(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock, scopes=frozenset({"ingest", "read"}), devices=("a-*", "b"), node="cellar")
        token = _create(control, made)
        found = control.find_token(token.digest)
        assert found is not None
        assert replace(found, last_used=None) == made

    def test_an_unknown_token_is_nobodys(self, control: Control) -> None:
        assert control.find_token(Token.make().digest) is None

    def test_use_is_recorded(self, control: Control, clock: Clock) -> None:
        before = clock.now()
        token = _create(control, _credential("one", clock))
        assert control.tokens()[0].last_used is None
        control.find_token(token.digest)
        used = control.tokens()[0].last_used
        assert used is not None
        assert used >= before

    def test_two_valid_tokens_a_name_and_no_third(self, control: Control, clock: Clock) -> None:
        _create(control, _credential("one", clock))
        second = _credential("one", clock)
        _create(control, second)
        _create(control, _credential("other", clock))
        with pytest.raises(Conflict) as refused:
            _create(control, _credential("one", clock))
        assert "revoke" in refused.value.hint.lower()
        assert control.revoke(second.id) == 1
        _create(control, _credential("one", clock))

    def test_an_expired_token_leaves_room_for_another(self, control: Control, clock: Clock) -> None:
        _create(control, _credential("one", clock, expires=clock.now() - SECOND))
        _create(control, _credential("one", clock))
        _create(control, _credential("one", clock))
        assert len(control.tokens()) == 3

    def test_the_same_id_twice_is_a_conflict(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        with pytest.raises(Conflict):
            control.create_token(made, Token.make().digest)

    def test_revoking_by_name_or_id(self, control: Control, clock: Clock) -> None:
        first, second, third = (_credential(name, clock) for name in ("one", "one", "other"))
        tokens = [_create(control, c) for c in (first, second, third)]
        assert control.revoke("one") == 2
        assert control.revoke("one") == 0
        assert control.revoke(third.id) == 1
        assert control.revoke("nobody") == 0
        found = [control.find_token(t.digest) for t in tokens]
        assert all(c is not None and c.revoked for c in found)

    def test_tokens_are_listed_oldest_first(self, control: Control, clock: Clock) -> None:
        late, early = _credential("late", clock), replace(_credential("early", clock), created=1)
        _create(control, late)
        _create(control, early)
        assert [c.name for c in control.tokens()] == ["early", "late"]

    def test_a_link_is_used_up(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        key = digest(new_secret())
        _put(control, key, "link", made, clock.now() + DAY)
        taken = control.sessions.take(key, "link", clock.now())
        assert taken is not None
        assert taken.id == made.id
        assert control.sessions.take(key, "link", clock.now()) is None

    def test_a_cookie_lasts_until_it_expires(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        key = digest(new_secret())
        expires = clock.now() + DAY
        _put(control, key, "cookie", made, expires)
        assert control.sessions.take(key, "cookie", clock.now()) is not None
        assert control.sessions.take(key, "cookie", expires - 1) is not None
        assert control.sessions.take(key, "cookie", expires) is None

    def test_a_link_is_no_cookie(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        key = digest(new_secret())
        _put(control, key, "link", made, clock.now() + DAY)
        assert control.sessions.take(key, "cookie", clock.now()) is None
        assert control.sessions.take(key, "link", clock.now()) is not None

    def test_sessions_end_with_their_token(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        key = digest(new_secret())
        _put(control, key, "cookie", made, clock.now() + DAY)
        control.revoke(made.id)
        assert control.sessions.take(key, "cookie", clock.now()) is None

    def test_sessions_are_listed_newest_first(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        keys = [digest(new_secret()) for _ in range(3)]
        for number, key in enumerate(keys):
            _put(control, key, "cookie" if number else "link", made, clock.now() + DAY, created=clock.now() + number)
        found = control.sessions.all(clock.now())
        assert [s.id for s in found] == [session_id(key) for key in reversed(keys)]
        assert [s.kind for s in found] == ["cookie", "cookie", "link"]
        newest = found[0]
        assert (newest.name, newest.credential_id, newest.address, newest.agent) == (
            "one",
            made.id,
            "10.0.0.1",
            "Fox ü",
        )
        assert (newest.last_used, newest.last_address) == (None, "")
        assert control.sessions.all(clock.now() + DAY + 10) == []

    def test_the_use_of_a_cookie_is_recorded(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        key = digest(new_secret())
        _put(control, key, "cookie", made, clock.now() + DAY)
        moment = clock.now() + SECOND
        assert control.sessions.take(key, "cookie", moment, "10.0.0.9") is not None
        (found,) = control.sessions.all(clock.now())
        assert (found.last_used, found.last_address, found.address) == (moment, "10.0.0.9", "10.0.0.1")

    def test_ending_a_session(self, control: Control, clock: Clock) -> None:
        made = _credential("one", clock)
        _create(control, made)
        keys = [digest(new_secret()) for _ in range(2)]
        for key in keys:
            _put(control, key, "cookie", made, clock.now() + DAY)
        assert control.sessions.end(session_id(keys[0]))
        assert not control.sessions.end(session_id(keys[0]))
        assert not control.sessions.end("nobody")
        assert control.sessions.take(keys[0], "cookie", clock.now()) is None
        assert control.sessions.take(keys[1], "cookie", clock.now()) is not None

    def test_revoking_a_token_leaves_the_sessions_of_others(self, control: Control, clock: Clock) -> None:
        first, second = _credential("one", clock), _credential("one", clock)
        for made in (first, second):
            _create(control, made)
            _put(control, digest(new_secret()), "cookie", made, clock.now() + DAY)
        control.revoke(first.id)
        assert [s.credential_id for s in control.sessions.all(clock.now())] == [second.id]

    def test_sessions_of_an_expired_token_are_not_valid(self, control: Control, clock: Clock) -> None:
        ends = clock.now() + DAY
        made = _credential("one", clock, expires=ends)
        _create(control, made)
        key = digest(new_secret())
        _put(control, key, "cookie", made, ends + DAY)
        assert control.sessions.take(key, "cookie", ends - 1) is not None
        assert control.sessions.take(key, "cookie", ends) is None
        assert control.sessions.all(ends) == []


def _credential(
    name: str,
    clock: Clock,
    *,
    scopes: frozenset[str] = frozenset({"ingest"}),
    devices: tuple[str, ...] = (),
    node: str = "",
    expires: int | None = None,
) -> Credential:
    return Credential(Token.make().id, name, scopes, devices, node, expires, created=clock.now())


def _create(control: Control, credential: Credential) -> Token:
    token = Token.make()
    control.create_token(credential, token.digest)
    return token


def _put(
    control: Control, key: bytes, kind: str, credential: Credential, expires: Micros, created: Micros | None = None
) -> None:
    made = expires - DAY if created is None else created
    control.sessions.put(
        key,
        Session(
            session_id(key), kind, credential.id, credential.name, made, expires, address="10.0.0.1", agent="Fox ü"
        ),
    )
