"""The key ring: what it takes, what it refuses, and its file."""

import stat
from pathlib import Path

import pytest

from sonde.errors import Hold, KeyMissing
from sonde.keyring import KeyRing

KEY = bytes(range(32))


def test_it_comes_back_from_its_file_which_only_its_owner_may_read(tmp_path: Path) -> None:
    ring = KeyRing("new", {"old": KEY, "new": KEY[::-1]})
    ring.save(tmp_path / "keys.json")
    assert KeyRing.load(tmp_path / "keys.json") == ring
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_the_form_of_its_file_stays() -> None:
    text = b'{"active":"a","keys":{"a":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}'
    ring = KeyRing.from_json(text, "here")
    assert (ring.active, ring.keys) == ("a", {"a": KEY})
    assert ring.to_json() == text


def test_a_new_key_is_random() -> None:
    one, other = KeyRing.generate(), KeyRing.generate()
    assert one.key("key-1") != other.key("key-1")
    assert len(one.key("key-1")) == 32


def test_a_key_that_is_not_there() -> None:
    with pytest.raises(KeyMissing, match="'other'"):
        KeyRing.generate().key("other")
    with pytest.raises(KeyMissing, match="'b'"):
        KeyRing("b", {"a": KEY})


@pytest.mark.parametrize("name", ["", "x" * 33, "ä" * 17, "a\0b", "tab\t", "\ud800", "line\n"])
def test_names_that_a_frame_cannot_hold(name: str) -> None:
    with pytest.raises(Hold):
        KeyRing(name, {name: KEY})


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"!"])
def test_keys_of_another_length(key: bytes) -> None:
    with pytest.raises(Hold, match="32"):
        KeyRing("a", {"a": key})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"active": "a", "keys": {"a": "not base64!"}}',
        b'{"active": "a", "keys": {"a": "AAAA"}}',
        b'{"active": "a", "keys": {"a": 7}}',
        b"\xff\xfe",
        b'{"active": "a", "keys": {"\xff": ""}}',
    ],
)
def test_files_that_are_no_key_ring(data: bytes) -> None:
    with pytest.raises(Hold):
        KeyRing.from_json(data, "keys.json")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Hold, match=r"keys\.json"):
        KeyRing.load(tmp_path / "keys.json")


def test_keys_are_not_shown() -> None:
    ring = KeyRing("a", {"a": b"secret of thirty-two bytes, here"})
    assert "secret" not in repr(ring)
    with pytest.raises(Hold) as refused:
        KeyRing("a", {"a": b"too short a secret"})
    assert "secret" not in str(refused.value)
