"""``docs/dependencies.md`` has every dependency, and no other."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


EXTRAS = [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~ \[;]", requirement)[0] for requirement in requirements}


def test_every_library_stands_in_the_table_and_no_other() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row[1].strip().startswith("library")]
    listed = {name for row in rows for name in row[1].strip().split(", ")}
    assert listed == names(PROJECT["project"]["dependencies"]) | names(EXTRAS)
    assert all(cell.strip() for row in rows for cell in row[2:4]), "what it does here, and why this one"


def test_everything_for_development_is_named() -> None:
    said = PAGE.partition("For development only:")[2].partition("\n\n")[0]
    assert names(PROJECT["dependency-groups"]["dev"]) <= set(re.findall(r"[\w-]+", said))


def test_the_lock_file_pins_all_of_it() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    wanted = [*PROJECT["project"]["dependencies"], *EXTRAS, *PROJECT["dependency-groups"]["dev"]]
    assert names(wanted) <= pinned
