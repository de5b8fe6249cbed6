"""``docs/configuration.md`` says what the model says: every key, its default, its bounds, its older names.

After a change of the model: ``python -m tests.test_docs_config`` writes the tables anew.
"""

from pathlib import Path

from sonde.config import as_tables
from sonde.config.older import CHANGED, names

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- the tables: from the model -->\n", "<!-- end of the tables -->\n"


def parts(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(BEGIN)
    tables, _, after = rest.partition(END)
    return before, tables, after


def test_every_key_stands_in_the_docs_as_it_is() -> None:
    _, tables, _ = parts(PAGE.read_text())
    assert tables == "\n" + as_tables() + "\n"


def test_every_older_name_stands_in_the_docs() -> None:
    text = PAGE.read_text()
    for name in names():
        section, dot, key = name.rpartition(".")
        assert f"[{section}] {key}" in text if dot else f"`{name}`" in text, name


def test_what_becomes_of_older_names_that_would_do_harm_is_explained() -> None:
    _, _, after = parts(PAGE.read_text())
    for name in CHANGED:
        section, dot, key = name.rpartition(".")
        assert (f"`[{section}] {key}`" if dot else f"`{name}`") in after, name


if __name__ == "__main__":
    before, _, after = parts(PAGE.read_text())
    PAGE.write_text(f"{before}{BEGIN}\n{as_tables()}\n{END}{after}")
