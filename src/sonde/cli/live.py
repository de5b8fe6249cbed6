"""The tables that a running Sonde shows in a terminal: what comes in, what is durable, what is stored, what is wrong."""

from collections import deque
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sonde.cli.terminal import ACCENT
from sonde.clock import SECOND
from sonde.status import Status

_RATE_OVER: Final = 10  # tables; five seconds
_FIGURE: Final = 6  # characters: the columns stand still while the first thousands come in


class _Rates:
    """Remembers the last few statuses, for the rates between them."""

    def __init__(self) -> None:
        self._seen: deque[Status] = deque(maxlen=_RATE_OVER + 1)

    def _remember(self, status: Status) -> None:
        self._seen.append(status)

    def _rate(self, name: str) -> float:
        first, last = self._seen[0], self._seen[-1]
        seconds = (last.now - first.now) / SECOND
        return max(0.0, (getattr(last, name) - getattr(first, name)) / seconds) if seconds > 0 else 0.0


class StatusTable(_Rates):
    """``sonde up``."""

    def draw(self, status: Status) -> RenderableType:
        """The table for ``status``."""
        self._remember(status)
        flow = _columns(4)
        flow.add_row(*_row("taken in", status.received, self._rate("received"), _refused(status)))
        flow.add_row(*_row("durable", status.durable, self._rate("durable"), _last_write(status)))
        flow.add_row(*_row("stored", status.stored, self._rate("stored"), _behind(status)))
        return Group(Text(), flow, Text(), _facts(status), *_problems(status))


class NodeTable(_Rates):
    """``sonde node``."""

    def draw(self, status: Status) -> RenderableType:
        """The table for ``status``, whose ``durable`` is what the sink has confirmed."""
        self._remember(status)
        flow = _columns(4)
        flow.add_row(*_row("measured", status.received, self._rate("received"), ""))
        flow.add_row(*_row("confirmed", status.durable, self._rate("durable"), ""))
        facts = _columns(2)
        facts.add_row(Text("  sensors ", "dim"), Text(_sensors(status)))
        facts.add_row(Text("  outbox  ", "dim"), Text(_outbox(status)))
        return Group(Text(), flow, Text(), facts, *_problems(status))


def _problems(status: Status) -> list[RenderableType]:
    return [
        Text.assemble(("  ! ", "bold yellow"), (problem, "yellow")) for problem in (*status.problems, *status.warnings)
    ]


def _columns(count: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for number in range(count):
        figure = number in {1, 2} and count == 4
        table.add_column(
            justify="right" if figure else "left", no_wrap=number < count - 1, min_width=_FIGURE if figure else None
        )
    return table


def _row(name: str, count: int, rate: float, remark: str) -> tuple[Text, Text, Text, Text]:
    return (
        Text(f"  {name}", "dim"),
        Text(f"{count:,}", f"bold {ACCENT}" if count else ""),
        Text(f"{rate:,.0f}/s" if rate >= 10 or rate == 0 else f"{rate:.1f}/s"),
        Text(remark, "dim"),
    )


def _facts(now: Status) -> Table:
    table = _columns(2)
    facts = [
        ("series", f"{now.series:,}"),
        ("alerts", f"{now.alerts_firing:,} firing" if now.alerts_firing else "none firing"),
        ("disk", f"{_bytes(now.disk_free)} free"),
        ("sensors", _sensors(now)),
        ("outbox", _outbox(now)),
    ]
    for name, text in facts:
        if text:
            style = "yellow" if name == "alerts" and now.alerts_firing else ""
            table.add_row(Text(f"  {name:<8}", "dim"), Text(text, style))
    return table


def _refused(now: Status) -> str:
    parts = [f"{now.duplicate:,} duplicate" if now.duplicate else "", f"{now.refused:,} refused" if now.refused else ""]
    return ", ".join(part for part in parts if part)


def _last_write(now: Status) -> str:
    if now.last_durable is None:
        return ""
    return f"last write {_ago((now.now - now.last_durable) / SECOND)}"


def _behind(now: Status) -> str:
    behind = now.log_end > now.stored_offset and now.lag_seconds >= 1
    return f"{now.lag_seconds:.0f} s behind" if behind else "up to date"


def _ago(seconds: float) -> str:
    if seconds < 2:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _sensors(now: Status) -> str:
    return "   ".join(f"{name} {state}" for name, state in sorted(now.sensors.items()))


def _outbox(now: Status) -> str:
    held = [lane for lane in now.outbox if lane.readings or lane.rejected]
    if not now.outbox:
        return ""
    if not held:
        return "empty"
    return "   ".join(
        f"{lane.lane} {lane.readings:,}" + (f" ({lane.rejected} refused)" if lane.rejected else "") for lane in held
    )


def _bytes(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
