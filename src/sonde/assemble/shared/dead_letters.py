"""Dead letters for people: what waits, and is sent again after a fix."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from sonde.assemble.acts import note_in, open_trail
from sonde.assemble.extras import load
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Hold, NotFound
from sonde.ports import DeadLetter, DeadLetters

_MANY = 1_000_000


@contextmanager
def dead_letters_of(settings: Settings) -> Iterator[DeadLetters]:
    """Those beside the log that the settings name, closed afterwards; :class:`Hold` where the log is in files."""
    if settings.topic is None:
        raise Hold(
            "a log in files has no dead letters: what could not be read is still in it, and stands in /gaps",
            hint="sonde log verify names it",
        )
    with closing(load("sonde.assemble.shared.brokers").find_dead_letters(settings)) as letters:
        yield letters


def chosen(letters: DeadLetters, names: Sequence[str]) -> Sequence[DeadLetter]:
    """The letters of those names, all if there are none; :class:`NotFound` if one does not wait."""
    waiting = letters.letters(_MANY)
    if not names:
        return waiting
    by_name = {letter.name: letter for letter in waiting}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise NotFound(f"no dead letter {missing[0]!r} waits", hint="See sonde dlq list")
    return [by_name[name] for name in dict.fromkeys(names)]


def send_again(
    directory: DataDirectory, settings: Settings, letters: DeadLetters, wanted: Sequence[DeadLetter]
) -> Iterator[tuple[DeadLetter, int]]:
    """Put each into its partition of the log again, once that is in the audit trail; each with its new offset."""
    with open_trail(directory, settings) as trail:
        for letter in wanted:
            note_in(trail, "dlq.retry", letter.name, reason=letter.reason)
            yield letter, letters.take_back(letter)
