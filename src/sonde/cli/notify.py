"""``sonde notify``: whom Sonde tells of alerts."""

from typing import Annotated

import typer

from sonde.assemble.controls import open_notices
from sonde.assemble.notify import named_target, trial
from sonde.cli.options import DEFAULT_DATA, Config, Data, Json, Sets
from sonde.cli.settings import load_settings, place_of
from sonde.cli.tables import print_json, print_table
from sonde.cli.terminal import done
from sonde.notice import described

app = typer.Typer(help="Whom Sonde tells of alerts.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
_SHOWN = ("made", "target", "event", "alert_id", "fate", "tries", "said")


@app.command("list")
def list_(
    data: Data = DEFAULT_DATA,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")] = 20,
    config: Config = None,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Show what was told to whom, and what became of it; newest first."""
    with open_notices(*place_of(data, config, set_)) as notices:
        found = [described(notice) for notice in notices.recent(None, limit)]
    if json:
        print_json(found)
    else:
        print_table([{name: one[name] for name in _SHOWN} for one in found], empty="nobody was told of anything yet")


@app.command("test")
def send_test(
    name: Annotated[str, typer.Argument(metavar="TARGET", help="Such as webhook.ops or email.night.")],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
) -> None:
    """Send a message that says it is a test, now; exit 1 if it was not taken."""
    named_target(load_settings(config, data, set_).settled(), name).send(trial())
    done(f"{name} took it")
