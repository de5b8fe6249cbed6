"""HTML of the pages for people. Everything that comes from outside is escaped; there is no script."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from sonde.errors import SondeError

_ROUTES: Final = (
    ("/devices", "devices and their newest values"),
    ("/kpis/live", "each zone now"),
    ("/trends?sensor_type=co2", "a day of CO₂ in windows of 5 minutes"),
    ("/alerts/recent", "the newest alerts"),
    ("/utilization/heatmap", "how rooms are used"),
    ("/historical-data?limit=20", "raw readings"),
    ("/ledger", "what became of every reading"),
    ("/gaps", "what is missing, and why"),
    ("/health", "how this server is"),
    ("/config-summary", "the settings in force"),
)
_STORED: Final = (
    ("readings", "readings"),
    ("series", "series"),
    ("devices", "devices"),
    ("alerts_firing", "alerts firing"),
    ("parts", "sealed parts"),
)


def layout(title: str, body: str, *, here: str = "") -> str:
    """A whole page."""
    places = (("/", "Start"), ("/docs", "HTTP api"))
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == here else ""}>{name}</a>' for path, name in places
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="dark light">'
        f'<title>{escape(title)} · Sonde</title><link rel="icon" href="/static/sonde.svg">'
        '<link rel="stylesheet" href="/static/sonde.css"></head><body>'
        f'<header><a class="name" href="/">Sonde</a><nav>{links}</nav></header>{body}</body></html>'
    )


def start_page(base: str, name: str | None, totals: Mapping[str, Any] | None, notice: str) -> str:
    """The start: what is stored (if the caller may see it), how to send a reading, how to ask for it back."""
    return layout("Start", f"<main>{_stored(name, totals, notice)}{_example(base)}{_questions()}</main>", here="/")


def sign_in_page(link: str, error: SondeError | None = None) -> str:
    """A page whose button uses the link up; without a link, how to get one."""
    said = f'<p class="problem" role="alert">{escape(str(error))}</p>' if error else ""
    field = (
        f'<input type="hidden" name="link" value="{escape(link)}">'
        "<p>The link works once. After that this browser stays signed in for a week.</p>"
        if link
        else "<p>The server prints a sign-in link when it starts; <code>sonde token link</code> makes another.</p>"
        "<label>The part of the link after <code>link=</code>"
        '<input name="link" autocomplete="off" spellcheck="false" required></label>'
    )
    form = f'<form method="post" action="/sign-in">{field}<button>Sign in</button></form>'
    return layout("Sign in", f'<main class="narrow"><h1>Sign in</h1>{said}{form}</main>')


def _stored(name: str | None, totals: Mapping[str, Any] | None, notice: str) -> str:
    if notice:
        return f'<h1>What is stored</h1><p class="problem" role="alert">{escape(notice)}</p>'
    if totals is None:
        return (
            "<h1>What is stored</h1><p>Sign in to see it: open the link that the server printed, or go to "
            '<a href="/sign-in">sign in</a>. Programs send a token: <code>Authorization: Bearer sonde_…</code></p>'
        )
    figures = "".join(f"<div><dt>{label}</dt><dd>{int(totals[key] or 0):,}</dd></div>" for key, label in _STORED)
    size = f"<div><dt>size of parts</dt><dd>{_bytes(int(totals['part_bytes'] or 0))}</dd></div>"
    return f'<h1>What is stored</h1><dl class="figures">{figures}{size}</dl>{_who(name)}'


def _who(name: str | None) -> str:
    if name is None:
        return ""
    return (
        f'<form class="inline" method="post" action="/sign-out">Signed in as <b>{escape(name)}</b> '
        '<button class="plain">Sign out</button></form>'
    )


def _example(base: str) -> str:
    make = "SONDE_TOKEN=$(sonde token create me --scope ingest --scope read)"
    send = (
        f"curl {base}/telemetry \\\n"
        '  -H "Authorization: Bearer $SONDE_TOKEN" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        """  -d '{"device": "press-7", "metric": "temperature", "value": 21.5}'"""
    )
    ask = f'curl "{base}/devices/press-7" \\\n  -H "Authorization: Bearer $SONDE_TOKEN"'
    return (
        "<h2>Send a reading, ask for it back</h2>"
        f"<pre><code>{escape(make)}</code></pre><pre><code>{escape(send)}</code></pre>"
        f"<pre><code>{escape(ask)}</code></pre>"
    )


def _questions() -> str:
    rows = "".join(
        f'<tr><td><a href="{escape(path)}"><code>{escape(path)}</code></a></td><td>{escape(text)}</td></tr>'
        for path, text in _ROUTES
    )
    return (
        f'<h2>Questions</h2><table>{rows}</table><p>All of them, with every parameter: <a href="/docs">HTTP api</a></p>'
    )


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
