"""``sonde tail``: the live feed in a terminal."""

import sys
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.cells import cell_len

from sonde.cli.calling import calling
from sonde.cli.options import DEFAULT_DATA, Ca, Data, Json, TokenFile, Url
from sonde.cli.tables import cell_text
from sonde.cli.terminal import ACCENT, is_live, note, warn
from sonde.client import AlertTurned, Corrected, Event, Gap, Reading
from sonde.cursor import Cursor
from sonde.errors import Invalid
from sonde.kind import Quality
from sonde.moment import format_time, parse_span, parse_time

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_WEEK: Final = 7 * 86_400
_WIDTHS: Final = (8, 8, 6)  # of device, metric and value, until longer ones come
_WIDEST: Final = 48
Patterns = list[str] | None


def _pattern(name: str) -> Any:
    return typer.Option(f"--{name}", metavar="PATTERN", help=f"Only {name}s like this; may be repeated.")


@app.command()
def tail(
    data: Data = DEFAULT_DATA,
    device: Annotated[Patterns, _pattern("device")] = None,
    metric: Annotated[Patterns, _pattern("metric")] = None,
    site: Annotated[Patterns, _pattern("site")] = None,
    zone: Annotated[Patterns, _pattern("zone")] = None,
    since: Annotated[
        str, typer.Option(metavar="5m|TIME|CURSOR", help="With what was received since then; else from now on.")
    ] = "",
    rate: Annotated[float | None, typer.Option(metavar="N", help="At most N readings of a series a second.")] = None,
    url: Url = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    json: Json = False,
) -> None:
    """Readings as they come. Patterns are shell-style: --device 'Site-01/*'.

    When the connection is lost it is made again, and nothing is missed. Ctrl-C ends it.
    """
    cursor = _cursor(since)
    show = _Lines(sys.stdout, json=json)
    with calling(data, url, token_file, ca, "sonde tail", _WEEK) as client:
        feed = client.follow(
            device=device,
            metric=metric,
            site=site,
            zone=zone,
            rate=rate,
            cursor=cursor,
            since=since if since and not cursor else None,
            trouble=show.trouble,
        )
        try:
            for event in feed.events():
                show.event(event)
        except KeyboardInterrupt:
            if feed.cursor:
                note(f"go on from here with --since {feed.cursor}")


def _cursor(since: str) -> str | None:
    """``since`` if it is a cursor; :class:`Invalid` if it is nothing at all."""
    for parse in (parse_span, parse_time):
        try:
            parse(since or "1s", "since")
        except Invalid as error:
            wrong = error
        else:
            return None
    try:
        cursor = Cursor.parse(since)
    except Invalid:
        raise wrong from None
    if not cursor.offsets:
        raise wrong
    return str(cursor)


class _Lines:
    """A line for each reading: aligned columns, wider when something longer comes; or JSON."""

    def __init__(self, stream: Any, *, json: bool) -> None:
        self._stream = stream
        self._json = json
        self._live = is_live(stream)
        self._widths = list(_WIDTHS)
        self._troubled = False

    def event(self, event: Event) -> None:
        if self._troubled:
            self._troubled = False
            note("the server answers again")
        if isinstance(event, Gap):
            warn(f"readings between {event.first} and {event.until} are not here ({event.reason})")
        if self._json:
            if isinstance(event, Reading):
                shown = {**msgspec.to_builtins(event), "time": format_time(event.time)}
                self._stream.write(
                    msgspec.json.encode({k: v for k, v in shown.items() if k != "event_id"}).decode() + "\n"
                )
        elif isinstance(event, Reading):
            self._stream.write(self._line(event))
        elif isinstance(event, AlertTurned):
            note(f"alert {event.alert['state']}: {event.alert['message']}")
        elif not isinstance(event, Gap | Corrected):
            note(f"{event.device} {event.id}: {cell_text(event.value)}")
        self._stream.flush()

    def trouble(self, problem: str) -> None:
        """Say once that the server is away."""
        if not self._troubled:
            self._troubled = True
            note(f"{problem}; trying again")

    def _line(self, reading: Reading) -> str:
        labels = f" {{{', '.join(f'{k}={v}' for k, v in reading.labels.items())}}}" if reading.labels else ""
        cells = [cell_text(reading.device), cell_text(reading.metric + labels), cell_text(reading.value)]
        self._widths = [min(_WIDEST, max(w, cell_len(c))) for w, c in zip(self._widths, cells, strict=True)]
        device, metric, value = (c + " " * (w - cell_len(c)) for c, w in zip(cells, self._widths, strict=True))
        number = isinstance(reading.value, int | float) and not isinstance(reading.value, bool)
        value = " " * (self._widths[2] - cell_len(cells[2])) + cells[2] if number else value
        time = format_time(reading.time)
        quality = f"  {Quality(reading.quality).name.lower()}" if reading.quality else ""
        if self._live:
            return f"\x1b[2m{time[11:23]}\x1b[0m  {_accent(device)}  {metric}  {value}{quality}".rstrip() + "\n"
        return f"{time}  {device}  {metric}  {value}{quality}".rstrip() + "\n"


def _accent(text: str) -> str:
    return typer.style(text, fg=ACCENT)
