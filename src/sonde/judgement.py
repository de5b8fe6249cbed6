"""What the owner of a rule over windows finds, without I/O: the form in which it goes into the log, and how late data
corrects what was found before.

A window is closed when log time is :data:`GRACE` beyond its end. It is judged then, whether its devices still speak or
not. What late data changes afterwards is judged again: history is corrected, what people have seen stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pyarrow as pa

from sonde.alert import RETROACTIVE_AFTER, Outcome, follow, quiet_span
from sonde.changes import Alert, Series
from sonde.clock import SECOND, Micros
from sonde.errors import Invalid, Problem
from sonde.rule import Floats, Rule
from sonde.watch import Times, of_windows
from sonde.window import run_starts

GRACE: Final[Micros] = 5 * SECOND
_CARED_FOR: Final = ("acknowledged", "shelved")
CORRECTED: Final = "late data corrected it"


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """An alert as its owner found it. ``told``: it is known already, and only its row changes."""

    alert: Alert
    told: bool = False
    why: str = ""


class Findings(msgspec.Struct, omit_defaults=True):
    """What the owner of ``rule`` (as it was set at ``set_at``) found in the windows that began before ``until``.

    ``round`` counts these, so that none counts twice. ``settled`` are the series whose corrections, up to the offset of
    each partition in ``offsets``, have been judged. ``series`` gives the names behind all numbers here, which are those of a
    store: a partition has numbers of its own (:func:`renumbered`). Where it is empty the numbers are the partition's.
    """

    rule: str
    set_at: Micros
    round: int
    until: Micros
    offsets: dict[str, int] = {}
    settled: list[int] = []
    found: list[Found] = []
    gone: list[str] = []
    series: list[Series] = []


def renumbered(findings: Findings, numbers: Sequence[int]) -> Findings:
    """``findings`` with the ``numbers`` of their ``series`` in a partition; :class:`Invalid` if one stands there that has no
    name."""
    own = {-1: -1, **{series.id: number for series, number in zip(findings.series, numbers, strict=True)}}
    try:
        found = [
            msgspec.structs.replace(one, alert=msgspec.structs.replace(one.alert, series=own[one.alert.series]))
            for one in findings.found
        ]
        settled = [own[number] for number in findings.settled]
    except KeyError as missing:
        raise Invalid(Problem(None, "findings", f"the series {missing} has no name")) from None
    return msgspec.structs.replace(findings, found=found, settled=settled, series=[])


def parse(payload: Any) -> Findings:
    """The findings in an entry; :class:`Invalid` if they make no sense."""
    try:
        findings = msgspec.convert(payload, Findings)
    except msgspec.ValidationError as error:
        raise Invalid(Problem(None, "findings", str(error))) from None
    if any(not partition.isdecimal() for partition in findings.offsets):
        raise Invalid(Problem(None, "findings", "a partition that is no number"))
    return findings


class Judged(msgspec.Struct, frozen=True):
    """How far a rule over windows has been judged: :class:`Findings` up to ``round``, windows that began before
    ``until``."""

    round: int
    until: Micros


@dataclass(frozen=True, slots=True)
class Group:
    """The closed windows of one series, zone or site, in order: where each begins, and what the rule looks at."""

    series: Series
    start: Times
    value: Floats


def groups_of(rule: Rule, table: pa.Table) -> Iterator[Group]:
    """The windows of each series, zone or site, from the rows of :class:`sonde.question.Folded`."""
    if not len(table) or rule.of is None:
        return
    names = [table[name].combine_chunks().dictionary_encode() for name in ("metric", "site", "zone")]
    starts = run_starts(table["id"].to_numpy(), *(column.indices.to_numpy() for column in names))
    time = table["start"].cast(pa.int64()).to_numpy()
    value = of_windows(rule.of, {name: table[name].to_numpy() for name in ("count", "sum", "min", "max", "last")})
    heads = table.select(Series._fields).take(pa.array(starts)).to_pylist()
    for head, start, end in zip(heads, starts.tolist(), [*starts[1:].tolist(), len(table)], strict=True):
        yield Group(Series(**head), time[start:end], value[start:end])


def width_of(rule: Rule) -> Micros:
    """The width of the windows that ``rule`` looks at."""
    return (rule.window or 0) * SECOND


def aligned(rule: Rule, time: Micros) -> Micros:
    """The start of the window that ``time`` lies in."""
    return time // width_of(rule) * width_of(rule)


def closed_until(rule: Rule, log_time: Micros) -> Micros:
    """Windows that began before this moment are closed at a log time."""
    return aligned(rule, log_time - GRACE)


def look_back(rule: Rule, start: Micros, known: Sequence[Alert]) -> Micros:
    """From where windows have to be judged again if those from ``start`` on have changed: before that moment no alert was
    open or coming, as ``known``, the alerts of the group, say."""
    before = start - round(rule.duration * SECOND) - width_of(rule)
    touching = [a.since for a in known if a.since <= start and (a.resolved_at is None or a.resolved_at >= before)]
    return aligned(rule, min([before, *touching]))


def is_quiet(rule: Rule, value: Floats) -> bool:
    """Whether ``rule`` holds for none of these values."""
    low, high = quiet_span([rule])
    return bool(((value >= low) & (value <= high)).all())


def judge(rule: Rule, group: Group, open_: Alert | None, log_time: Micros) -> Outcome:
    """Drive an alert over the windows of a group, as they are at a log time."""
    width = width_of(rule)
    old = group.start + (width + GRACE + RETROACTIVE_AFTER) < log_time
    return follow(rule, group.series, open_, group.start, group.value, old, width)


@dataclass(slots=True)
class Corrected:
    """How what is known of a group has to change."""

    found: list[Found] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def correct(known: Sequence[Alert], right: Mapping[str, Alert], until: Micros) -> Corrected:
    """From ``known`` alerts of a group to those that are ``right`` after a correction, judged up to ``until``.

    An alert that was news stays, and may end; so does one that somebody has taken care of. One that was history, or pending,
    becomes what is right.
    """
    corrected = Corrected()
    news = [a for a in known if a.state in _CARED_FOR or (a.state != "pending" and not a.retroactive)]
    rest = {a.id: a for a in known if a not in news}
    right = dict(right)
    for alert in news:
        same = [r for r in right.values() if r.fired_at is not None and _touch(alert, r)]
        for one in same:
            right.pop(one.id, None)
        if alert.state != "resolved":
            corrected.found += _go_on(alert, same, until)
    for alert in rest.values():
        now = right.pop(alert.id, None)
        if now is None:
            corrected.gone.append(alert.id)
        elif now != alert:
            corrected.found.append(Found(now, told=alert.fired_at is not None))
    corrected.found += [Found(alert) for alert in right.values()]
    return corrected


def _go_on(alert: Alert, same: Sequence[Alert], until: Micros) -> list[Found]:
    """What becomes of an alert that is open, if these are right."""
    if not same:
        over = msgspec.structs.replace(alert, state="resolved", resolved_at=until, shelved_until=None)
        return [Found(over, why=CORRECTED)]
    last = max(same, key=lambda one: one.since)
    if last.resolved_at is None:
        return []
    return [Found(msgspec.structs.replace(alert, state="resolved", resolved_at=last.resolved_at, shelved_until=None))]


def _touch(one: Alert, other: Alert) -> bool:
    """Whether two alerts have a moment in common."""
    ends = [a.resolved_at if a.resolved_at is not None else 1 << 62 for a in (one, other)]
    return one.since < ends[1] and other.since < ends[0]
