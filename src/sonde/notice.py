"""News of alerts for people outside: one event of one alert, to be told to one target, and what became of it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from sonde.clock import Micros
from sonde.moment import format_time

Fate = Literal["waiting", "sent", "failed", "stale"]
SEVERITIES: Final = ("info", "warning", "critical")
_NAMED: Final = 20  # alerts of a summary that are named
_TIMES: Final = ("time", "since", "resolved_at")


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One event of an alert for one target. ``news`` is the event as it stands in a message.

    ``doubtful``: a try was begun and nobody knows how it ended, so the next one may be a repeat. ``message`` is the id of
    the message that it goes with; ``said`` what the last try met.
    """

    id: str
    target: str
    made: Micros
    due: Micros
    news: Mapping[str, Any]
    fate: Fate = "waiting"
    message: str = ""
    tries: int = 0
    doubtful: bool = False
    said: str = ""
    settled: Micros | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What a courier carries: ``body`` for programs, ``subject`` and ``text`` for people."""

    id: str
    subject: str
    text: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events a target wants: of alerts at least as bad, by patterns of a shell. ``events``: fired, resolved …"""

    severity: str = "info"
    events: frozenset[str] = frozenset({"fired", "resolved"})
    rule: str = "*"
    device: str = "*"
    site: str = "*"
    zone: str = "*"

    def covers(self, news: Mapping[str, Any]) -> bool:
        """Whether the target is to hear of an event."""
        return (
            news["event"] in self.events
            and SEVERITIES.index(news["severity"]) >= SEVERITIES.index(self.severity)
            and all(fnmatchcase(news[name] or "", getattr(self, name)) for name in ("rule", "device", "site", "zone"))
        )


def notice_id(target: str, log: str, partition: int, offset: int, alert: str, event: str) -> str:
    """The same event of the same log is the same notice, however often it is read."""
    identity = msgspec.json.encode([target, log, partition, offset, alert, event])
    return hashlib.sha256(b"notice\0" + identity).hexdigest()[:32]


def compose(id_: str, notices: Sequence[Notice], now: Micros) -> Message:
    """One message about all ``notices``. Alerts that a backlog raised are only summed up: they are history."""
    news = [notice.news for notice in notices]
    fresh = [one for one in news if not one["retroactive"]]
    old = [one for one in news if one["retroactive"] and one["event"] == "fired"]
    lines = [_line(one) for one in fresh]
    body: dict[str, Any] = {
        "version": 1,
        "id": id_,
        "sent": format_time(now),
        "repeat": any(notice.doubtful for notice in notices),
        "alerts": [_shown(one) for one in fresh],
    }
    if old:
        body["retroactive"] = _summary(old)
        lines.append(_summary_line(body["retroactive"]))
    text = "\n".join(lines) or "Alerts that a backlog had raised are over"
    return Message(id_, _subject(lines or [text]), text, {**body, "text": text})


def _shown(news: Mapping[str, Any]) -> dict[str, Any]:
    """An event with its times as text."""
    return {k: format_time(v) if k in _TIMES and v is not None else v for k, v in news.items()}


def _line(news: Mapping[str, Any]) -> str:
    by = f" by {news['who']}" if news["who"] else ""
    why = f": {news['why']}" if news["why"] else ""
    return f"{news['severity']} · {news['event']}{by}{why} · {news['message']} · {format_time(news['time'])}"


def _summary(old: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rules: dict[str, int] = {}
    for one in old:
        rules[one["rule"]] = rules.get(one["rule"], 0) + 1
    return {
        "count": len(old),
        "rules": rules,
        "since": format_time(min(one["since"] for one in old)),
        "until": format_time(max(one["time"] for one in old)),
        "alerts": [one["alert_id"] for one in old[:_NAMED]],
    }


def _summary_line(summary: Mapping[str, Any]) -> str:
    rules = ", ".join(f"{rule} {count}" for rule, count in summary["rules"].items())
    return f"{summary['count']} in the past, from readings that came late ({rules}) · {summary['since']} to {summary['until']}"


def _subject(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return " ".join(f"{lines[0].rpartition(' · ')[0] or lines[0]}{more}".split())[:200]


def described(notice: Notice) -> dict[str, Any]:
    """A notice as programs and people see it."""
    return {
        "id": notice.id,
        "target": notice.target,
        "fate": notice.fate,
        "event": notice.news["event"],
        "alert_id": notice.news["alert_id"],
        "made": format_time(notice.made),
        "due": format_time(notice.due),
        "settled": format_time(notice.settled) if notice.settled is not None else None,
        "message_id": notice.message,
        "tries": notice.tries,
        "doubtful": notice.doubtful,
        "said": notice.said,
    }
