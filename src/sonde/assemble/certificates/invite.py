"""A node is invited: beside the sink, or over its api."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from sonde.access import Access
from sonde.assemble.acts import note_local
from sonde.assemble.certificates.authority import LOCAL_NAMES, load_authority, server_files
from sonde.assemble.remote import Remote
from sonde.assemble.server import find_running
from sonde.assemble.tokens import open_control
from sonde.certificate import read_certificates
from sonde.clock import SECOND, SystemClock
from sonde.config import Settings, is_loopback
from sonde.directory import DataDirectory
from sonde.errors import Invalid, Problem
from sonde.joining import Joining
from sonde.moment import format_time, parse_span

_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Invited:
    """A code for a node, and the address to join at, if it is known. ``expires`` is RFC 3339."""

    node: str
    expires: str
    url: str
    code: str = field(repr=False)


class _Answer(msgspec.Struct):
    node: str
    code: str
    expires: str


def invite_here(directory: DataDirectory, settings: Settings, node: str, devices: Sequence[str], lasts: str) -> Invited:
    """By whoever may write the control database; a server may be running on it or not."""
    files = server_files(directory, settings)
    clock = SystemClock()
    with open_control(directory, settings) as control:
        joining = Joining(
            Access(control, clock),
            clock,
            partial(note_local, directory, settings),
            partial(load_authority, directory),
            pinned=files is not None and files.own,
        )
        made = joining.invite(node, devices, _span(lasts))
    return Invited(made.node, format_time(made.expires), _url(directory, settings), made.code)


def invite_there(remote: Remote, node: str, devices: Sequence[str], lasts: str) -> Invited:
    """By an administrator, over the api."""
    body = msgspec.json.encode({"node": node, "devices": list(devices), "lasts": lasts})
    answer = msgspec.json.decode(remote.post("/nodes/invitations", body, _JSON), type=_Answer)
    return Invited(answer.node, answer.expires, remote.url, answer.code)


def _span(text: str) -> int:
    try:
        return round(parse_span(text) * SECOND)
    except Invalid:
        raise Invalid(Problem(None, "--lasts", f"{text!r} is no span such as 1h")) from None


def _url(directory: DataDirectory, settings: Settings) -> str:
    """Where a node reaches the server: under the first name of its certificate that others can use; on a server that listens
    on loopback alone, there."""
    server = find_running(directory)
    if server is None:
        return ""
    if is_loopback(settings.server.host) or not server.certificate:
        return server.url
    shown = read_certificates(Path(server.certificate).read_bytes(), server.certificate)[0]
    names = [name for name in shown.names if name not in LOCAL_NAMES]
    return f"https://{names[0]}:{server.url.rpartition(':')[2]}" if names else server.url
