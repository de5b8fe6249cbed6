"""Tables on standard output."""

import pytest

from sonde.cli.tables import cell_text, print_columns, print_table


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(["name", "count", "note"], [["a", "bcd"], [5, 12345], [None, "x"]])
    assert capsys.readouterr().out == "name  count  note\na         5\nbcd   12345  x\n"


def test_wide_characters_take_their_room(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(["a", "b"], [["温度", "t"], ["x", "y"]])
    assert capsys.readouterr().out == "a     b\n温度  x\nt     y\n"


def test_control_characters_cannot_reach_the_terminal() -> None:
    assert cell_text("\x1b[31mred\n") == "\\x1b[31mred\\x0a"


def test_nothing_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], empty="no tokens yet")
    assert capsys.readouterr().err == "no tokens yet\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (1.5, "1.5"), (0.1 + 0.2, "0.3"), ({"a": 1}, '{"a":1}'), (10**6, "1000000")],
)
def test_values(value: object, text: str) -> None:
    assert cell_text(value) == text
