"""Where readings and windows lie at one moment: generations inside the database, parts beside it."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sonde.changes import READINGS, WINDOWS
from sonde.clock import Micros
from sonde.store.schema import (
    READINGS_COLUMNS,
    WINDOWS_COLUMNS,
    columns_of,
    comments,
    generation,
    readings_view,
    windows_view,
)

Content = Literal["readings", "windows"]
FIELDS: Final = {"readings": columns_of(READINGS), "windows": columns_of(WINDOWS)}


@dataclass(frozen=True, slots=True)
class Part:
    """One sealed file: what it holds, and which part of the log that came from. Times are inclusive."""

    name: str
    content: Content
    rows: int
    bytes: int
    checksum: str
    min_time: Micros
    max_time: Micros
    min_series: int
    max_series: int
    first_offset: int
    next_offset: int
    supersedes: tuple[str, ...] = ()

    def meets(self, since: Micros | None, until: Micros | None, series: Sequence[int] | None) -> bool:
        """Whether it may hold rows of this span and of these series (sorted)."""
        if (since is not None and self.max_time < since) or (until is not None and self.min_time >= until):
            return False
        return series is None or any(self.min_series <= one <= self.max_series for one in series)

    def within(self, since: Micros | None, until: Micros | None) -> bool:
        """Whether all its rows are of this span."""
        return (since is None or since <= self.min_time) and (until is None or self.max_time < until)


@dataclass(frozen=True, slots=True)
class Layout:
    """Generations, oldest first; the last one of each content takes what is new, the others wait to be sealed."""

    version: int
    readings: tuple[int, ...]
    windows: tuple[int, ...]
    parts: tuple[Part, ...] = ()
    folder: Path | None = None

    def generations(self, content: Content) -> tuple[int, ...]:
        return self.readings if content == "readings" else self.windows

    def parts_of(self, content: Content) -> list[Part]:
        return [part for part in self.parts if part.content == content]

    def source(
        self,
        content: Content,
        *,
        parts: Collection[Part] | None = None,
        generations: bool = True,
        where: str = "",
    ) -> str:
        """The select that gives all rows of ``content``, or only those of ``parts``; ``where`` applies to each place."""
        columns, condition = FIELDS[content], f" where {where}" if where else ""
        places = []
        if generations:
            places += [rows_in(content, number) + condition for number in self.generations(content)]
        chosen = self.parts_of(content) if parts is None else parts
        if chosen:
            gen = ", gen" if content == "windows" else ""
            places.append(f"select {columns}{gen} from read_parquet([{self.files(chosen)}]){condition}")
        return " union all ".join(places) if places else self._nothing(content)

    def files(self, parts: Collection[Part]) -> str:
        """The files of ``parts`` as a list of SQL literals."""
        return ", ".join("'" + str(self._folder / part.name).replace("'", "''") + "'" for part in parts)

    def views(self, *, temporary: bool = False) -> str:
        """The statements that make the views ``readings`` and ``windows`` show this layout."""
        make = "create or replace temporary view" if temporary else "create or replace view"
        statements = [
            f"{make} readings as {readings_view(self.source('readings'))}",
            f"{make} windows as {windows_view(self.source('windows'))}",
        ]
        if not temporary:
            statements += [*comments("readings", READINGS_COLUMNS), *comments("windows", WINDOWS_COLUMNS)]
        return "; ".join(statements)

    @property
    def _folder(self) -> Path:
        assert self.folder is not None, "a store in memory has no parts"
        return self.folder

    def _nothing(self, content: Content) -> str:
        return rows_in(content, self.generations(content)[-1]) + " where false"


def rows_in(content: Content, number: int) -> str:
    """The select that gives the rows of one generation."""
    gen = f", {number} as gen" if content == "windows" else ""
    return f"select {FIELDS[content]}{gen} from {generation(content, number)}"


def widths_sql(layout: Layout) -> str:
    """The select that gives every width of window in the store."""
    return f"select width from store.newest union select width from ({layout.source('windows', parts=[])})"
