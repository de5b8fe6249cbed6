"""What readings are, beside their values: the number of each one's series, and its quality."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sonde.changes import Definition, Series
from sonde.clock import SECOND, Micros
from sonde.entry import Entry
from sonde.errors import Invalid
from sonde.process.dedupe import Sifted
from sonde.process.definitions import Definitions
from sonde.process.marking import Marking
from sonde.process.numbering import Numbering
from sonde.process.rows import Arrived, Rows


class Roll:
    """Gives every series one number, whichever partition names it. The numbers are its own, not the store's; they stay for as
    long as it lives. Any thread may use it."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self._numbers: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def numbers(self, series: Iterable[Series]) -> list[int]:
        """The numbers of some series."""
        with self._lock:
            return [self._number(one) for one in series]

    def _number(self, series: Series) -> int:
        number = self._numbers.setdefault(series[1:], len(self.series))
        if number == len(self.series):
            self.series.append(series._replace(id=number))
        return number


class Meaning:
    """Numbers the series of one partition as they come, and knows the profiles in force there. Any thread may use it."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._on_roll = np.zeros(0, np.int32)
        self._numbering = Numbering()
        self._definitions = Definitions()
        self._marking = Marking()
        self._lock = threading.Lock()

    def on_roll(self, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The numbers that series have on the roll, by those that :meth:`of` gave."""
        with self._lock:
            new = self._numbering.series[len(self._on_roll) :]
            if new:
                self._on_roll = np.append(self._on_roll, np.array(self._roll.numbers(new), np.int32))
            return self._on_roll[numbers]

    def series(self, number: int) -> Series:
        """The series with a number that was given out."""
        return self._numbering.series[number]

    @property
    def floor(self) -> Micros | None:
        """The moment before which no reading is kept."""
        return self._definitions.floors.get("readings")

    def begin(self, definitions: Iterable[Definition]) -> None:
        """Put what a store knows in force, and nothing else."""
        with self._lock:
            self._definitions = Definitions(definitions)
            self._marking = Marking()
            self._marking.learn(self._numbering.series, self._definitions.profiles)

    def apply(self, entries: Sequence[Entry], log_time: Micros) -> None:
        """Put new definitions in force; those that make no sense are left to the processor, which says so."""
        with self._lock:
            changed = [definition for entry in entries for definition in self._applied(entry, log_time)]
            devices = {d.name for d in changed if d.kind == "profile"}
            if devices:
                theirs = [s for s in self._numbering.series if s.device in devices]
                self._marking.learn(theirs, self._definitions.profiles)

    def of(self, sifted: Sifted) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8]]:
        """Series and quality of the readings of one frame, as the store will have them."""
        arrived = Arrived.of(sifted.batches, sifted.pieces)
        with self._lock:
            series, new = self._numbering.number(arrived.batch)
            self._marking.learn(new, self._definitions.profiles)
            arrived.mark_clocks(round(self._definitions.settings.future_limit * SECOND))
            if self._marking.is_needed:
                rows = Rows.of(arrived, series)
                self._marking.mark(rows)
                arrived.quality[rows.order] = rows.quality
        return series, arrived.quality

    def _applied(self, entry: Entry, log_time: Micros) -> list[Definition]:
        try:
            return self._definitions.apply(entry, log_time)
        except Invalid:
            return []
