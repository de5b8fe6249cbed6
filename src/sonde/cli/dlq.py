"""``sonde dlq``: what of the log could not be read."""

from typing import Annotated

import typer

from sonde.assemble.shared.dead_letters import chosen, dead_letters_of, send_again
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import installation, load_settings
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done, note
from sonde.errors import Hold
from sonde.moment import format_time
from sonde.ports import DeadLetter

app = typer.Typer(
    help="What of the log could not be read: list, retry.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most letters to show.")] = 100,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Show the records of the log that could not be read and wait here, oldest first: where they stood, when that was
    noticed, why."""
    with dead_letters_of(load_settings(config, data, set_).settled()) as letters:
        found = letters.letters(limit + 1)
    if json:
        print_json([_fields(letter) for letter in found[:limit]])
    else:
        print_table([_fields(letter) for letter in found[:limit]], empty="no dead letters")
    if len(found) > limit:
        note(f"there are more than {limit}: --limit")


@app.command()
def retry(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[LETTER]...", help="PARTITION:OFFSET, as sonde dlq list shows them.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
) -> None:
    """Put letters into their partition of the log again, after what was wrong has been mended. Each fills the hole that it
    left; one that still cannot be read comes back as a new letter."""
    if bool(names) == all_:
        raise Hold("name the letters, or say --all", hint="See sonde dlq list")
    directory, settings = installation(data, config, set_)
    with dead_letters_of(settings) as letters:
        number = 0
        for letter, offset in send_again(directory, settings, letters, chosen(letters, names or ())):
            typer.echo(f"{letter.name} is at {letter.partition}:{offset} now")
            number += 1
    done(f"sent {number} again")


def _fields(letter: DeadLetter) -> dict[str, object]:
    return {
        "letter": letter.name,
        "noticed": format_time(letter.noticed),
        "reason": letter.reason,
        "bytes": len(letter.frame),
        "why": letter.why,
    }
