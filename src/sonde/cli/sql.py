"""``sonde sql``: anything that one SELECT can ask, with a server running or not."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from pydantic import SecretStr

from sonde.assemble.ask import ask_database, ask_remote, ask_running
from sonde.assemble.formats import BINARY, FORMATS, cells
from sonde.assemble.remote import Remote, client_tls
from sonde.assemble.server import find_running
from sonde.cli.options import DEFAULT_DATA, Ca, Config, Data, Sets, TokenFile, Url, bearer_token
from sonde.cli.settings import installation, load_settings
from sonde.cli.tables import print_columns
from sonde.cli.terminal import note
from sonde.config import Settings
from sonde.directory import DataDirectory
from sonde.errors import Hold

_DATABASES = ("postgresql://", "postgres://")
app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    ARROW = "arrow"
    PARQUET = "parquet"


@app.command()
def sql(
    query: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT.")],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Ask in SQL, over the views readings, windows, alerts, devices and gaps.

    Times print as RFC 3339 in UTC; the width of a window is a text such as 5m. Nothing can be changed by it. Where the store is
    PostgreSQL, that answers, with no server between; --url may be that of such a database too.
    """
    if format_ in BINARY and sys.stdout.isatty():
        raise Hold(
            f"{format_} is no text for a terminal", hint=f"Send it to a file: … --format {format_} > rows.{format_}"
        )
    if url.startswith(_DATABASES):
        rows = ask_database(SecretStr(url), query, load_settings(config, data, set_).settled().api)
    elif url:
        rows = ask_remote(Remote(url, _bearer(token_file), client_tls(url, ca, data)), query)
    else:
        rows = _ask_here(*installation(data, config, set_), query)
    if format_ == Format.TABLE:
        print_columns(rows.column_names, cells(rows))
        note(f"{rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}")
    else:
        sys.stdout.buffer.write(FORMATS[format_](rows))
        sys.stdout.buffer.flush()


def _ask_here(directory: DataDirectory, settings: Settings, query: str) -> pa.Table:
    """A database answers by itself; a store in files belongs to the server, if one runs."""
    if settings.database is not None:
        return ask_database(settings.database, query, settings.api)
    server = find_running(directory)
    if server is not None:
        return ask_running(directory, server, query)
    from sonde.assemble.embedded.offline import ask_store  # noqa: PLC0415  # the database only where it is needed

    rows, behind = ask_store(directory, settings, query)
    if behind:
        note(f"no server runs, and {behind:,} frames of the log are not in the store yet; sonde up stores them")
    return rows


def _bearer(token_file: Path | None) -> dict[str, str]:
    token = bearer_token(token_file)
    return {"Authorization": f"Bearer {token}"} if token else {}
