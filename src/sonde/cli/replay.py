"""``sonde replay``: files sent as telemetry."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sonde.assemble.remote import ClientTls, client_tls
from sonde.assemble.replay import Progress, ReplayOptions, Sink, Summary, local_sink, replay_files
from sonde.cli.options import DEFAULT_DATA, Ca, Data, bearer_token
from sonde.cli.progress import progress_bar
from sonde.cli.running import Stop
from sonde.cli.settings import place_of
from sonde.cli.terminal import done, is_live, note, warn
from sonde.config.values import parse_speed
from sonde.errors import Hold, Invalid, Problem

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV or Parquet files.")],
    data: Data = DEFAULT_DATA,
    device: Annotated[str, typer.Option(metavar="NAME", help="Name of the device; else as the files say.")] = "",
    site: Annotated[str, typer.Option(metavar="NAME", help="Site of its readings.")] = "",
    zone: Annotated[str, typer.Option(metavar="NAME", help="Zone of its readings.")] = "",
    time_column: Annotated[str, typer.Option(metavar="COLUMN", help="Column with the time; else found by name.")] = "",
    time_format: Annotated[str, typer.Option(metavar="FORMAT", help="As strptime has it; else ISO 8601.")] = "",
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Of times without an offset, as Europe/Brussels.")] = "",
    metric: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Send only these columns.")] = None,
    speed: Annotated[str, typer.Option(metavar="60|max", help="How many times faster than it was.")] = "max",
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, for ever.")] = False,
    url: Annotated[str, typer.Option(metavar="URL", help="Another sink, with the token in SONDE_TOKEN.")] = "",
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Token for --url.")] = None,
    ca: Ca = None,
) -> None:
    """Send CSV or Parquet files as telemetry, through a node, to the server that runs on the data directory.

    Columns become metrics, and times stay what they are in the files. Done twice, nothing is stored twice; what was
    interrupted goes on.
    """
    options = ReplayOptions(
        device=device,
        site=site,
        zone=zone,
        time_column=time_column,
        time_format=time_format,
        timezone=timezone,
        metrics=tuple(metric or ()),
        speed=_speed(speed),
        loop=loop,
    )
    stop = Stop()
    target = nullcontext(_remote(url, token_file, client_tls(url, ca, data))) if url else local_sink(*place_of(data))
    with target as sink, progress_bar("sending", counts="rows") as report:
        said: set[str] = set()

        def tell(progress: Progress) -> None:
            report(progress.rows, progress.total)
            if progress.problem and progress.problem not in said:
                said.add(progress.problem)
                warn(progress.problem)

        summary = replay_files(files, options, sink, tell, stop.wanted)
    _print(summary)


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise Invalid(Problem(None, "--speed", f"{text!r} {error}")) from None


def _remote(url: str, token_file: Path | None, tls: ClientTls | None) -> Sink:
    token = bearer_token(token_file)
    if not token:
        raise Hold("there is no token for --url", hint="Put a node's token into SONDE_TOKEN, or name --token-file")
    return Sink(url, token, tls=tls)


def _print(summary: Summary) -> None:
    rate = summary.readings / summary.seconds if summary.seconds else 0.0
    text = f"{summary.readings:,} readings from {summary.rows:,} rows in {summary.seconds:.1f} s ({rate:,.0f}/s)"
    if summary.blank:
        note(f"{summary.blank:,} cells had no value and were left out")
    if summary.resumed:
        note(f"{summary.resumed:,} rows had been sent before")
    if summary.rejected:
        warn(f"the sink refused {summary.rejected:,} batches; see its log")
    if not summary.complete:
        note(f"{'' if is_live(sys.stderr) else 'sonde: '}stopped; the same command goes on from here")
        raise typer.Exit(1)
    done(f"sent {text}")
