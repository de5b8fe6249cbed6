"""HTML of the pages for people. Everything that comes from outside is escaped; no script stands in a page."""

from collections.abc import Iterable
from html import escape
from typing import Final

from sonde.errors import SondeError

_HEAD: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="dark light">'
)


def layout(title: str, body: str, *, here: str = "") -> str:
    """A whole page."""
    places = (("/", "Start"), ("/docs", "HTTP api"))
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == here else ""}>{name}</a>' for path, name in places
    )
    return (
        f'{_HEAD}<title>{escape(title)} · Sonde</title><link rel="icon" href="/static/sonde.svg">'
        '<link rel="stylesheet" href="/static/sonde.css"></head><body>'
        f'<header><a class="name" href="/">Sonde</a><nav>{links}</nav></header>{body}</body></html>'
    )


def dashboard_page(modules: Iterable[str]) -> str:
    """The frame that the dashboard's modules fill; all of them are fetched at once."""
    preloads = "".join(f'<link rel="modulepreload" href="/static/{escape(name)}">' for name in modules)
    sheets = "".join(
        f'<link rel="stylesheet" href="/static/{name}">' for name in ("sonde.css", "vendor/uplot.css", "dashboard.css")
    )
    return (
        f'{_HEAD}<title>Sonde</title><link rel="icon" href="/static/sonde.svg">{sheets}{preloads}'
        '<script type="module" src="/static/app.js"></script></head><body class="dashboard"><div id="app">'
        '<noscript><p class="problem">The dashboard needs JavaScript. The <a href="/docs">HTTP api</a> does not.</p></noscript>'
        "</div></body></html>"
    )


def start_page(base: str, notice: str) -> str:
    """The start for who is not signed in: how to get in, how to send a reading, how to ask for it back."""
    said = f'<p class="problem" role="alert">{escape(notice)}</p>' if notice else ""
    sign_in = (
        "<h1>Sonde</h1><p>Sign in to see the dashboard: open the link that the server printed, or go to "
        '<a href="/sign-in">sign in</a>. <code>sonde token link</code> makes another link. Programs send a token: '
        "<code>Authorization: Bearer sonde_…</code></p>"
    )
    return layout("Start", f"<main>{said}{sign_in}{_example(base)}</main>", here="/")


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
