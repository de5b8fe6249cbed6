"""What ``docs/live.md`` shows in Python works as it stands there, and its tables name every message."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sonde.message import KINDS, Command, Ping, Subscribe, Unsubscribe
from tests.live_world import LiveWorld, one

PAGE = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
FIRST, _SECOND = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


class Enough(Exception):
    """The example goes on for ever."""


def test_the_first_example_prints_readings() -> None:
    printed: list[tuple[Any, ...]] = []

    def show(*said: Any) -> None:
        printed.append(said)
        if len(printed) == 2:
            raise Enough

    with LiveWorld() as world:
        code = FIRST.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{world.port}").replace(
            "5m", "2026-01-01T00:00:00Z"
        )
        world.send(one(812.5, "room", "co2"), one(1, "room", "other"), one(813.5, "room", "co2"))
        with pytest.raises(Enough):
            exec(code, {"TOKEN": world.tokens["read"], "print": show})
    assert printed == [("room", 812.5), ("room", 813.5)]


@pytest.mark.parametrize("message", [Subscribe, Unsubscribe, Ping, Command])
def test_every_message_and_member_is_in_the_tables(message: type[msgspec.Struct]) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{message.__struct_config__.tag}`"))
    assert set(re.findall(r"`([a-z_]+)`", row.split("|")[2])) == set(message.__struct_fields__) - {"request_id"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_in_the_table(kind: str) -> None:
    assert re.search(rf"^\|.*`{kind}`", PAGE, flags=re.MULTILINE)
