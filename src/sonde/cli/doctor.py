"""``sonde doctor``: what is wrong, in plain words, and how to mend it."""

import os
import sys
from collections.abc import Iterable
from dataclasses import asdict

import typer

from sonde.assemble.doctor.examine import Finding, Patient, examine, examine_remote
from sonde.assemble.remote import Remote, client_tls
from sonde.cli.options import DEFAULT_DATA, Ca, Config, Data, Json, Sets, TokenFile, Url, bearer_token
from sonde.cli.settings import config_file
from sonde.cli.tables import print_json
from sonde.cli.terminal import is_live
from sonde.config import load
from sonde.directory import DataDirectory

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MARKS = {"ok": ("ok", typer.colors.GREEN), "warning": ("!", typer.colors.YELLOW), "wrong": ("x", typer.colors.RED)}


@app.command()
def doctor(
    data: Data = DEFAULT_DATA,
    config: Config = None,
    set_: Sets = None,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """Say in plain words what is wrong, and how to mend it. Looks only; the server may be running or not.

    Exits with 1 if anything is wrong.
    """
    if url:
        token = bearer_token(token_file)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        findings: Iterable[Finding] = examine_remote(Remote(url, headers, client_tls(url, ca, data)))
    else:
        findings = examine(Patient(DataDirectory(data), load(config_file(config, data), os.environ, set_ or ())))
    found = [_told(finding, quiet=json) for finding in findings]
    if json:
        print_json([asdict(finding) for finding in found])
    if any(finding.state == "wrong" for finding in found):
        raise typer.Exit(1)


def _told(finding: Finding, *, quiet: bool) -> Finding:
    """Print a finding as soon as it is there: a check may take a while."""
    if not quiet:
        word, colour = _MARKS[finding.state]
        live = is_live(sys.stdout)
        mark = typer.style(f"{word:<3}", fg=colour, bold=True) if live else f"{word:<3}"
        typer.echo(f"{mark} {finding.check:<13} {' '.join(finding.text.split())}")
        if finding.mend and finding.state != "ok":
            typer.echo(typer.style(f"{'':<18}{finding.mend}", dim=True) if live else f"{'':<18}{finding.mend}")
    return finding
