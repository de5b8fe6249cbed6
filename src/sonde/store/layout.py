"""Where readings and windows lie at one moment: generations inside the database, parts beside it."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sonde.changes import READINGS, WINDOWS
from sonde.store.hidden import Hidden
from sonde.store.part import Content, Part
from sonde.store.schema import columns_of, generation
from sonde.store.views import READINGS_COLUMNS, WINDOWS_COLUMNS, comments, readings_view, windows_view

FIELDS: Final = {"readings": columns_of(READINGS), "windows": columns_of(WINDOWS)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Generations, oldest first; the last one of each content takes what is new, the others wait to be sealed."""

    version: int
    readings: tuple[int, ...]
    windows: tuple[int, ...]
    parts: tuple[Part, ...] = ()
    folder: Path | None = None
    hidden: Hidden = field(default_factory=Hidden)

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
        """The select that gives all rows of ``content`` that are not hidden, or only those of ``parts``; ``where`` applies to
        each place."""
        conditions = [f"({text})" for text in (self.hidden.kept(content), where) if text]
        places = []
        if generations:
            places += [rows_in(content, number) + _where(conditions) for number in self.generations(content)]
        gen = ", gen" if content == "windows" else ""
        for purges, chosen in self.hidden.groups(self.parts_of(content) if parts is None else parts):
            purged = [f"not ({purge.taken(content)})" for purge in purges]
            files = f"select {FIELDS[content]}{gen} from read_parquet([{self.files(chosen)}])"
            places.append(files + _where([*conditions, *purged]))
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


def _where(conditions: list[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def rows_in(content: Content, number: int) -> str:
    """The select that gives the rows of one generation."""
    gen = f", {number} as gen" if content == "windows" else ""
    return f"select {FIELDS[content]}{gen} from {generation(content, number)}"


def widths_sql(layout: Layout) -> str:
    """The select that gives every width of window in the store."""
    return f"select width from store.newest union select width from ({layout.source('windows', parts=[])})"
