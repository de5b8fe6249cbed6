"""The command ``sonde``: its verbs, and how errors reach a person.

A verb's module is imported when the verb is called: ``sonde --help`` is quick, and ``sonde node`` stays small.
"""

import importlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from sonde import __version__
from sonde.cli.terminal import complain
from sonde.errors import SondeError

VERBS: Final[Mapping[str, str]] = {
    "up": "Everything in one process: sensors, sink, log, store, api.",
    "sink": "Only what takes readings in; the log is in Kafka.",
    "processor": "Only what brings readings from Kafka into PostgreSQL.",
    "api": "Only what answers: questions, dashboard, live charts, commands.",
    "node": "Only the edge: sensors and an outbox; the sink is elsewhere.",
    "replay": "Send CSV or Parquet files as telemetry.",
    "status": "How a running Sonde is.",
    "doctor": "What is wrong, in plain words, and how to mend it.",
    "sql": "Ask in SQL.",
    "tail": "Readings as they come, and what came before.",
    "command": "Have a device do something.",
    "commands": "What devices were asked to do: list, show, cancel.",
    "alert": "What is wrong, and who takes care of it: list, show, ack, shelve.",
    "rule": "What alerts are raised for: list, set, remove, preview.",
    "token": "Who may do what: create, list, revoke, link.",
    "session": "Who is signed in: list, revoke.",
    "audit": "Who did what: show, verify.",
    "cert": "Certificates: show, renew.",
    "log": "The log itself: verify, tail, export, import.",
    "notify": "Whom to tell of alerts: list, test.",
    "keys": "The keys that seal: list, add, rotate, retire.",
    "outbox": "What waits in a node: list, retry.",
    "dlq": "What of the log could not be read: list, retry.",
    "purge": "Forget readings for good.",
    "rebuild": "Make the store again from the log.",
    "backup": "Back everything up, while it runs.",
    "restore": "Make a data directory of a backup.",
    "migrate": "Bring the tables in PostgreSQL up to date.",
    "init": "Write a config.ini with every setting.",
    "config": "Settings: check, show.",
}
"""Each verb is the ``app`` of the module of its name beside this one."""


class Verbs(TyperGroup):
    """Knows all verbs by name, and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = get_command(importlib.import_module(f"sonde.cli.{name}").app)
            if "structlog" in sys.modules:
                importlib.import_module("sonde.cli.logs").warnings_only()
        return name, command, rest


app = typer.Typer(
    name="sonde",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for _name, _help in VERBS.items():
    app.command(_name, help=_help)(lambda: None)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sonde {__version__}")
        raise typer.Exit


@app.callback()
def _sonde(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Telemetry that survives the trip, from sensor to chart."""


def main() -> None:
    """Run one command. Exit 0; 1 when it failed, with one line that says why; 2 when it was called wrongly."""
    try:
        app()
    except BrokenPipeError:
        sys.stdout = None  # whoever read has gone: nothing more to say
        sys.exit(1)
    except (SondeError, OSError) as error:
        complain(error)
        sys.exit(1)
