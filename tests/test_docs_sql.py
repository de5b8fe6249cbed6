"""The page about SQL names every view with all its columns."""

import re
from pathlib import Path

import pytest

from sonde.testing.answers import VIEWS

PAGE = (Path(__file__).parents[1] / "docs" / "sql.md").read_text()


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_of_a_view_is_in_the_docs(view: str) -> None:
    (line,) = re.findall(rf"^\| `{view}` \| [^|]+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", line) == VIEWS[view].split()
