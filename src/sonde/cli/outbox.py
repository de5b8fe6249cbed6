"""``sonde outbox``: what waits in a node."""

import typer

from sonde.assemble.outbox import LANES, listed, put_back
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import load_settings
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done, note
from sonde.directory import DataDirectory
from sonde.moment import format_time
from sonde.ports import Waiting

app = typer.Typer(help="What waits in a node.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command("list")
def list_(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show what waits to be sent, lane by lane, and what a sink refused."""
    waiting, letters = listed(DataDirectory.open(data))
    refused = [
        {
            "lane": LANES[letter.lane],
            "time": format_time(letter.time),
            "readings": letter.readings,
            "bytes": letter.bytes,
            "reason": letter.reason,
        }
        for letter in letters
    ]
    if json:
        totals = {"entries": sum(w.entries for w in waiting), "readings": sum(w.readings for w in waiting)}
        print_json({**totals, "lanes": [_lane(w) for w in waiting], "refused": refused})
        return
    print_table([_lane(w) for w in waiting])
    if refused:
        note("\nRefused; `sonde outbox retry` puts them back into their lanes:\n")
        print_table(refused)


@app.command()
def retry(data: Data = DEFAULT_DATA, config: Config = None, set_: Sets = None) -> None:
    """Put everything that was refused back into its lane, to be sent again."""
    number = put_back(DataDirectory.open(data), load_settings(config, data, set_).settled())
    done(f"put back {number} refused batch{'' if number == 1 else 'es'}")


def _lane(waiting: Waiting) -> dict[str, object]:
    return {
        "lane": LANES[waiting.lane],
        "entries": waiting.entries,
        "readings": waiting.readings,
        "bytes": waiting.bytes,
        "oldest": None if waiting.oldest is None else format_time(waiting.oldest),
        "refused": waiting.rejected,
    }
