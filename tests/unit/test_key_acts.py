"""Key rings as people change them: what is added opens, what rotates seals, and what is needed is not retired unseen."""

import base64
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from sonde.assemble.acts import open_trail
from sonde.assemble.keys.acts import KeyLine, Ring, add, listed, retire, ring_of_log, ring_of_outbox, rotate
from sonde.assemble.keys.rings import again, configured, log_ring
from sonde.assemble.keys.source import keys_from
from sonde.assemble.keys.watch import RingUse, RingWatch, sealing_key
from sonde.clock import SystemClock
from sonde.codec import Codec
from sonde.config import load
from sonde.directory import DataDirectory
from sonde.entry import Body, Entry, EntryKind
from sonde.errors import Conflict, Hold, InUse, Invalid, KeyMissing, KeyRetired, NotFound
from sonde.frame import Opener, Sealer
from sonde.keyring import KeyRing, LiveRing, name_of
from sonde.log.segments import SegmentLog
from sonde.log.walk import frames, verify
from sonde.node.outbox import SqliteOutbox
from sonde.process.gather import Gatherer, Unread

ONE, TWO = bytes(range(32)), bytes(range(1, 33))
TICK = Body([Entry(EntryKind.TICK)])


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory.create(tmp_path / "data")


def ring_of(directory: DataDirectory, **environment: str) -> Ring:
    return ring_of_log(directory, load(environment=environment).settled())


@contextmanager
def log_of(directory: DataDirectory) -> Iterator[SegmentLog]:
    log = SegmentLog(directory.log)
    yield log
    log.close()


def write(directory: DataDirectory, ring: KeyRing, count: int, codec: Codec = Codec.AES_GCM) -> None:
    """``count`` frames of one session."""
    sealer = Sealer(ring, codec)
    with log_of(directory) as log:
        log.append(0, [sealer.seal(TICK, 1_800_000_000_000_000 + i) for i in range(count)])


def states(lines: list[KeyLine]) -> dict[str, tuple[str, int]]:
    return {line.name: (line.state, line.need.frames) for line in lines}


def base64_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_a_key_that_rotates_in_seals_and_the_one_before_still_opens(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    write(directory, first, 3)
    made = rotate(ring_of(directory))
    assert (made.before, made.taken_up) == (first.active, None)
    second = KeyRing.load(directory.keys)
    assert second.active == made.key == name_of(second.key(made.key))
    assert second.key(first.active) == first.key(first.active)
    assert stat.S_IMODE(directory.keys.stat().st_mode) == 0o600
    write(directory, second, 2)
    assert states(listed(ring_of(directory))) == {made.key: ("seals", 2), first.active: ("opens", 3)}
    assert len(list(frames(directory.log, second))) == 5


def test_a_key_may_be_added_first_and_rotate_in_by_its_name(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    (name,) = add(ring_of(directory), {name_of(TWO): TWO})
    assert KeyRing.load(directory.keys).active == first.active
    assert rotate(ring_of(directory), name).key == name
    assert KeyRing.load(directory.keys).active == name
    with pytest.raises(NotFound, match="'other'"):
        rotate(ring_of(directory), "other")


def test_what_nothing_needs_is_retired(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    made = rotate(ring_of(directory))
    write(directory, KeyRing.load(directory.keys), 2)
    assert retire(ring_of(directory), first.active).frames == 0
    assert set(KeyRing.load(directory.keys).keys) == {made.key}
    with pytest.raises(NotFound):
        retire(ring_of(directory), first.active)


def test_what_frames_need_is_retired_by_force_alone_and_says_what_is_lost(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    write(directory, first, 3)
    rotate(ring_of(directory))
    before = directory.keys.read_bytes()
    with pytest.raises(Conflict, match=r"3 frames with 0 readings in 1 segment, sealed from 2027-01-15.*--force"):
        retire(ring_of(directory), first.active)
    assert directory.keys.read_bytes() == before
    assert retire(ring_of(directory), first.active, force=True).frames == 3
    ring = KeyRing.load(directory.keys)
    assert first.active not in ring.keys
    with pytest.raises(KeyRetired, match=first.active):
        ring.key(first.active)
    assert states(listed(ring_of(directory)))[first.active] == ("retired", 3)
    found = verify(directory.log, ring)
    assert (found.sound, found.opened, found.retired) == (True, 0, 3)
    add(ring_of(directory), first.keys)  # there was a copy
    assert len(list(frames(directory.log, KeyRing.load(directory.keys)))) == 3


def test_frames_of_a_retired_key_are_passed_over_together(directory: DataDirectory) -> None:
    first, second = KeyRing("a", {"a": ONE}), KeyRing("b", {"b": TWO}, frozenset({"a"}))
    write(directory, first, 1000)
    write(directory, second, 1)
    with log_of(directory) as log:
        clock = SystemClock()
        gatherer = Gatherer(log, 0, Opener(second), 0, clock=clock, turns=lambda frame, turned: False)
        passed = gatherer.gather(0.0, clock.monotonic(), 100)
        assert isinstance(passed, Unread)
        assert (passed.offset, passed.next_offset, passed.reason) == (0, 1000, "retired")
        after = gatherer.gather(0.0, clock.monotonic(), 100)
        assert not isinstance(after, Unread)
        assert [frame.offset for frame in after] == [1000]


def test_a_key_that_is_lost_may_be_given_up_so_that_the_rest_goes_on(directory: DataDirectory) -> None:
    write(directory, KeyRing("a", {"a": ONE}), 2)
    KeyRing("b", {"b": TWO}).save(directory.keys)
    assert states(listed(ring_of(directory))) == {"b": ("seals", 0), "a": ("missing", 2)}
    assert retire(ring_of(directory), "a", force=True).frames == 2
    assert KeyRing.load(directory.keys).retired == {"a"}


def test_the_key_that_seals_and_the_only_one_stay(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    with pytest.raises(Conflict, match=r"seals.*sonde keys rotate"):
        retire(ring_of(directory), first.active, force=True)
    with pytest.raises(Conflict, match="only key"):
        retire(ring_of(directory, SONDE_LOG_ENCRYPTION_KEY=base64_of(TWO)), first.active, force=True)


def test_keys_of_the_configuration_are_changed_there(directory: DataDirectory) -> None:
    ring = ring_of(directory, SONDE_LOG_ENCRYPTION_KEY=f"{base64_of(ONE)},{base64_of(TWO)}")
    assert states(listed(ring)) == {name_of(ONE): ("seals", 0), name_of(TWO): ("opens", 0)}
    assert {line.place for line in listed(ring)} == {"[log] encryption_key"}
    with pytest.raises(Conflict, match=r"comes from \[log\] encryption_key.*first there"):
        rotate(ring)
    with pytest.raises(Conflict, match="stands in"):
        retire(ring, name_of(TWO), force=True)
    assert not directory.keys.exists()


def test_a_wrong_key_takes_no_other_ones_place(directory: DataDirectory) -> None:
    KeyRing("a", {"a": ONE}).save(directory.keys)
    write(directory, KeyRing("a", {"a": ONE}), 2)
    before = directory.keys.read_bytes()
    with pytest.raises(Hold, match="another key is called 'a'"):
        add(ring_of(directory), {"a": TWO})
    directory.keys.unlink()
    with pytest.raises(Hold, match="not the key 'a' that sealed 2 frames"):
        add(ring_of(directory), {"a": TWO})
    assert not directory.keys.exists()
    add(ring_of(directory), {"a": ONE, name_of(TWO): TWO})
    assert KeyRing.load(directory.keys) == KeyRing("a", {"a": ONE, name_of(TWO): TWO})
    assert before


def test_without_any_key_none_is_drawn_beside_what_is_sealed(directory: DataDirectory) -> None:
    write(directory, KeyRing("a", {"a": ONE}), 2)
    for change in (lambda: rotate(ring_of(directory)), lambda: add(ring_of(directory), None)):
        with pytest.raises(Hold, match=r"keys\.json is gone"):
            change()
    assert not directory.keys.exists()


def test_plain_frames_need_no_key(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    write(directory, first, 2, Codec.PLAIN)
    rotate(ring_of(directory))
    assert retire(ring_of(directory), first.active).frames == 0


def test_acts_are_in_the_audit_trail_without_the_keys(directory: DataDirectory) -> None:
    first = log_ring(directory, load().settled())
    (name,) = add(ring_of(directory), None)
    rotate(ring_of(directory), name)
    retire(ring_of(directory), first.active)
    with open_trail(directory) as trail:
        acts = [act for _, act in reversed(trail.read(None, 10))]
    assert [(act.what, act.on) for act in acts] == [
        ("key.add", name),
        ("key.rotate", name),
        ("key.retire", first.active),
    ]
    said = repr(acts)
    for key in (*first.keys.values(), *KeyRing.load(directory.keys).keys.values()):
        assert base64_of(key) not in said


def test_the_outbox_has_a_ring_of_its_own(directory: DataDirectory) -> None:
    ring = ring_of_outbox(directory, load().settled())
    KeyRing("a", {"a": ONE}).save(ring.path)
    live = LiveRing(KeyRing.load(ring.path))
    outbox = SqliteOutbox(directory.node / "outbox.db", live)
    outbox.put(2, EntryKind.READINGS, b"first", 1)
    rotate(ring)
    live.now = KeyRing.load(ring.path)
    assert outbox.sealing_key() == live.active
    outbox.put(2, EntryKind.READINGS, b"second", 1)
    assert states(listed(ring)) == {live.active: ("seals", 1), "a": ("opens", 1)}
    with pytest.raises(Conflict, match="1 frame with 1 readings"):
        retire(ring, "a")
    assert [entry.content for entry in outbox.peek(2, 1 << 20)] == [b"first", b"second"]
    outbox.confirm(2, 1)
    assert retire(ring, "a").frames == 0
    live.now = KeyRing.load(ring.path)
    assert [entry.content for entry in outbox.peek(2, 1 << 20)] == [b"second"]
    outbox.close()


# -- while a program runs


def test_a_running_program_takes_a_change_up_and_says_so(directory: DataDirectory) -> None:
    ring = LiveRing(log_ring(directory, load().settled()))
    sealing = {ring.active}
    watch = RingWatch(ring, directory.keys, lambda: KeyRing.load(directory.keys), (), lambda: sealing)
    watch.look()
    assert sealing_key(directory.keys) == ring.active
    with pytest.raises(InUse):
        RingUse(directory.keys)
    first = ring.active
    KeyRing("b", {**ring.now.keys, "b": TWO}).save(directory.keys)
    watch.look()
    assert ring.active == "b"
    assert sealing_key(directory.keys) == first, "a committer still seals with the first"
    with pytest.raises(Conflict, match="still seals"):
        retire(ring_of(directory), first)
    sealing.clear()
    sealing.add("b")
    watch.look()
    assert sealing_key(directory.keys) == "b"
    watch.stop()
    assert sealing_key(directory.keys) is None


def test_a_change_that_cannot_be_used_changes_nothing_until_it_is_mended(directory: DataDirectory) -> None:
    ring = LiveRing(log_ring(directory, load().settled()))
    before, whole = ring.now, directory.keys.read_bytes()
    watch = RingWatch(ring, directory.keys, lambda: KeyRing.load(directory.keys), (), lambda: {ring.active})
    for harm in (b"", b"{}", whole[:30]):
        directory.keys.write_bytes(harm)
        watch.look()
        assert "keys.json" in watch.problem
        assert ring.now == before
    directory.keys.unlink()
    watch.look()
    assert "cannot be read" in watch.problem
    directory.keys.write_bytes(whole)
    watch.look()
    assert watch.problem == ""
    watch.stop()


# -- where keys come from


def test_keys_from_files_the_environment_and_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(f"{base64_of(ONE)}\n{base64.urlsafe_b64encode(TWO).decode()}\n")
    both = {name_of(ONE): ONE, name_of(TWO): TWO}
    assert keys_from(f"file:{file}") == both
    assert keys_from(f"command:cat '{file}'") == both
    monkeypatch.setenv("ANY_NAME", base64_of(ONE))
    assert keys_from("env:ANY_NAME") == {name_of(ONE): ONE}
    KeyRing("named", {"named": TWO}).save(tmp_path / "ring.json")
    assert keys_from(f"file:{tmp_path / 'ring.json'}") == {"named": TWO}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("file:nowhere", "nowhere cannot be read"),
        ("env:SONDE_TEST_NONE", "empty or not set"),
        ("command:false", "'false' of --key ended with 1"),
        ("command:true", "'true' of --key printed nothing"),
        ("command:/no/such/program", "cannot be run"),
        ("command:'", "cannot be run"),
        ("command:echo secret-canary", "does not hold a key"),
        pytest.param(base64_of(secrets.token_bytes(32)), "would be seen by everybody", id="a key itself"),
    ],
)
def test_sources_that_hold_no_key(source: str, said: str) -> None:
    with pytest.raises((Hold, Invalid)) as refused:
        keys_from(source)
    assert said in str(refused.value)
    assert "secret-canary" not in str(refused.value)


def test_the_configuration_may_name_a_command(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(base64_of(ONE))
    settings = load(
        environment={"SONDE_LOG_ENCRYPTION_KEY": f"command:{sys.executable} -c 'print(open(\"{file}\").read())'"}
    )
    secret = settings.settled().log.encryption_key
    assert configured(secret, "[log] encryption_key") == (ONE,)
    with pytest.raises(Hold, match=r"of \[log\] encryption_key prints is no key"):
        configured(SecretStr("command:echo short"), "[log] encryption_key")
    assert not load(environment={"SONDE_LOG_ENCRYPTION_KEY": "command:"}).settings


def test_a_command_gets_no_terminal_to_wait_on() -> None:
    with pytest.raises(Hold, match="printed nothing"):
        configured(SecretStr("command:cat"), "[log] encryption_key")


def test_a_ring_of_two_names_comes_back_with_what_was_retired(tmp_path: Path) -> None:
    ring = KeyRing("a", {"a": ONE}, frozenset({"x", "y"}))
    ring.save(tmp_path / "keys.json")
    assert KeyRing.load(tmp_path / "keys.json") == ring
    with pytest.raises(KeyRetired):
        ring.key("x")
    with pytest.raises(KeyMissing):
        replace(ring, retired=frozenset()).key("x")


def test_what_else_is_wrong_in_a_changed_file_is_for_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text(f"[log]\nencryption_key = {base64_of(ONE)}\n")
    loaded = load(file)
    for text in ("[nonsense]\n", "no section", f"[server]\nport = high\n[log]\nencryption_key = {base64_of(TWO)}\n"):
        file.write_text(text)
        assert again(loaded) == loaded.settled()
    file.write_text("[log]\nencryption_key = short\n")
    with pytest.raises(Hold, match="encryption_key"):
        again(loaded)
    file.write_text(f"[log]\nencryption_key = {base64_of(TWO)}\n")
    assert configured(again(loaded).log.encryption_key, "key") == (TWO,)
