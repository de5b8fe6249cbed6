"""Key rings as the commands open them."""

import base64
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from sonde.assemble.keys.rings import open_ring
from sonde.config import master_keys
from sonde.errors import Hold

ONE, TWO = bytes(range(32)), bytes(range(1, 33))


def test_a_new_key_is_drawn_once_and_kept(tmp_path: Path) -> None:
    ring = open_ring(tmp_path / "keys.json", ())
    assert open_ring(tmp_path / "keys.json", ()) == ring
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert open_ring(tmp_path / "other.json", ()).active != ring.active


def test_keys_of_the_configuration_come_first_and_those_of_the_file_still_open(tmp_path: Path) -> None:
    kept = open_ring(tmp_path / "keys.json", ())
    ring = open_ring(tmp_path / "keys.json", (ONE, TWO))
    assert ring.key(ring.active) == ONE
    assert set(ring.keys.values()) == {ONE, TWO, *kept.keys.values()}
    rotated = open_ring(tmp_path / "keys.json", (TWO, ONE))
    assert rotated.key(ring.active) == ONE  # a key has one name wherever it stands


def test_a_key_of_the_configuration_is_not_written_down(tmp_path: Path) -> None:
    open_ring(tmp_path / "keys.json", (ONE,))
    assert not (tmp_path / "keys.json").exists()


def test_no_key_is_drawn_in_place_of_one_that_is_lost(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("x")
    with pytest.raises(Hold, match="is gone"):
        open_ring(tmp_path / "keys.json", (), tmp_path / "id")


def test_keys_are_read_in_both_alphabets() -> None:
    key = bytes([251, 239, 190] * 10 + [0, 1])
    standard, url = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    assert standard != url
    assert master_keys(SecretStr(f"{standard}, {url}")) == (key, key)
