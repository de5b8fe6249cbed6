"""The example of rooms, and what its questions have to answer."""

import csv
import io
from pathlib import Path
from typing import Final

ROOMS: Final = Path(__file__).parents[1] / "examples/rooms"
QUESTIONS: Final = ("per_second", "forward_fill")
Row = tuple[str, str, float | None, float | None, float | None]


def expected(question: str) -> list[Row]:
    return answered((ROOMS / f"expected_{question}.csv").read_text())


def asked(question: str, folder: str = ".") -> str:
    return (ROOMS / folder / f"{question}.sql").read_text()


def answered(text: str) -> list[Row]:
    """An answer in CSV, however its writer spells a second."""
    rows = csv.DictReader(io.StringIO(text))
    return [(row["room"], _second(row["second"]), *(_number(row[name]) for name in "ivr")) for row in rows]  # type: ignore[misc]


def _second(text: str) -> str:
    return text.replace(" ", "T").removesuffix("Z").removesuffix("+00").removesuffix(".000000")


def _number(text: str) -> float | None:
    return float(text) if text else None
