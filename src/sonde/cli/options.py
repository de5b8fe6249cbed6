"""Options that several commands have."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_DATA: Final = Path("sonde-data")

Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", envvar="SONDE_DATA", show_envvar=False, help="Data directory.")
]
OwnData = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", envvar="SONDE_DATA", show_envvar=False, help="Directory of its own files."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="SONDE_CONFIG",
        show_envvar=False,
        help="Configuration; else config.ini in the data directory, else here.",
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set one setting; may be repeated.")
]
Url = Annotated[
    str, typer.Option(metavar="URL", envvar="SONDE_URL", show_envvar=False, help="Ask this server instead.")
]
TokenFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Token for --url; else the variable SONDE_TOKEN.")]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        envvar="SONDE_CA",
        show_envvar=False,
        help="Authority to trust for --url; else that of the data directory, else those of the system.",
    ),
]
Host = Annotated[str | None, typer.Option(metavar="HOST", help="Address to listen on; else loopback.")]
Port = Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 takes any; else 8000.")]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines, as when the output is no terminal.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_address(sets: Sequence[str] | None, host: str | None, port: int | None) -> list[str]:
    """``--set``, and what ``--host`` and ``--port`` set."""
    given = [("host", host), ("port", port)]
    return [*(sets or ()), *(f"server.{key}={value}" for key, value in given if value is not None)]


def bearer_token(token_file: Path | None) -> str:
    """The token for a server elsewhere: of a file, else of ``SONDE_TOKEN`` or ``SONDE_TOKEN_FILE``; empty if none is given."""
    named = token_file or (Path(os.environ["SONDE_TOKEN_FILE"]) if os.environ.get("SONDE_TOKEN_FILE") else None)
    if token_file is None and os.environ.get("SONDE_TOKEN"):
        return os.environ["SONDE_TOKEN"].strip()
    return named.read_text().strip() if named else ""
