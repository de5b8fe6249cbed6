"""What this sink knows of nodes' streams, and what it checks of entries that come in one."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sonde.access import may_write
from sonde.clock import Micros
from sonde.command import NODE_STEPS, Step
from sonde.entry import Entry, EntryKind, Lane
from sonde.errors import Conflict, Forbidden, Invalid, Problem, Reject
from sonde.ports import Credential, Outgoing, StreamId
from sonde.profile import Profile
from sonde.reading import Batch, decode
from sonde.routing import CONTROL, home_too, partition_of
from sonde.sink import batches, names
from sonde.sink.limits import Limits
from sonde.template import faults

_REMEMBERED: Final = 10_000
_LANES: Final = (Lane.CONTROL, Lane.LIVE, Lane.BACKLOG)
_DIGEST_BYTES: Final = 16


class Streams:
    """Up to which seq each stream is durable, as far as this process has seen. Forgotten with it: then the node's own
    receipts count."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def check(self, node: str, stream: StreamId, confirmed: int, first: int) -> None:
        """:class:`Conflict` with ``known`` if ``first`` does not follow what is known."""
        known = max(self._known.get((node, stream.epoch, stream.lane), 0), confirmed)
        if first > known + 1:
            raise Conflict(f"seq {first} came, and after {known} comes {known + 1}", known=known)

    def durable(self, node: str, stream: StreamId, seq: int) -> None:
        """The stream is durable up to ``seq``."""
        key = (node, stream.epoch, stream.lane)
        self._known[key] = max(self._known.pop(key, 0), seq)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


@dataclass(slots=True)
class Checked:
    """The entries of a request that can be taken, the readings of those that have some, and the last seq."""

    entries: list[Entry]
    parts: list[Batch]
    until: int


def check_stream(who: Credential, stream: StreamId, entries: Sequence[Outgoing]) -> None:
    """:class:`Forbidden` if ``who`` is no node; :class:`Invalid` if the entries do not follow each other."""
    if not who.node:
        raise Forbidden(
            "this token belongs to no node",
            hint="Make one that does: sonde token create NAME --scope ingest --node NODE",
        )
    wrong = names.what_is_wrong(stream.epoch)
    if wrong is not None:
        raise _wrong(None, "epoch", wrong)
    if stream.lane not in _LANES:
        raise _wrong(None, "lane", f"there is no lane {stream.lane}; there are {', '.join(map(str, map(int, _LANES)))}")
    if not entries:
        raise _wrong(None, "entries", "there is none")
    expected, count = entries[0].seq, None
    for index, entry in enumerate(entries):
        if entry.seq != expected or not 1 <= entry.seq <= entry.until:
            raise _wrong(index, "seq", f"{entry.seq} to {entry.until} cannot follow; {expected} should")
        if entry.readings < 0 or (count is not None and entry.count != count + entry.readings):
            raise _wrong(index, "count", f"{entry.count} does not follow from {count} and {entry.readings} readings")
        expected, count = entry.until + 1, entry.count


def check_entries(
    who: Credential, stream: StreamId, entries: Sequence[Outgoing], now: Micros, limits: Limits
) -> Checked:
    """The entries up to the first that can never be taken; that one's error, a :class:`Reject`, if it is the first."""
    checked = Checked([], [], 0)
    for index, outgoing in enumerate(entries):
        try:
            _check_digest(index, outgoing)
            payload, batch = _CHECKS.get(outgoing.kind, _unknown)(who, outgoing, index, limits)
        except Reject:
            if index == 0:
                raise
            break
        rows = len(batch) if batch is not None else 0
        if batch is not None and rows:
            checked.parts.append(batches.mark_ahead(batch, now, limits))
        checked.entries.append(
            Entry(
                kind=outgoing.kind,
                source=who.node,
                rows=rows,
                digest=outgoing.digest,
                lane=stream.lane,
                epoch=stream.epoch,
                seq=outgoing.seq,
                count=outgoing.count,
                payload=payload,
            )
        )
        checked.until = outgoing.until
    return checked


def copies(node: str, entries: Sequence[Entry], partitions: int) -> Mapping[int, Sequence[Entry]]:
    """The profiles in a control lane, once more for the other partitions in which readings of their devices come: the node's
    home, and that of the device, for those who send for it without the node. They are known again when they come again."""
    found: dict[int, list[Entry]] = {}
    for entry in entries if partitions > 1 else ():
        if home_too(entry.kind, entry.lane):
            homes = {partition_of(name, partitions) for name in (node, entry.payload["device"])}
            copy = msgspec.structs.replace(entry, key=_copy_key(entry), epoch="", seq=0, count=0)
            for number in homes - {CONTROL}:
                found.setdefault(number, []).append(copy)
    return found


def _copy_key(entry: Entry) -> bytes:
    named = msgspec.msgpack.encode([entry.source, entry.epoch, entry.lane, entry.seq, entry.digest])
    return hashlib.sha256(b"sonde copy\0" + named).digest()[:_DIGEST_BYTES]


def _check_digest(index: int, outgoing: Outgoing) -> None:
    if hashlib.sha256(outgoing.content).digest()[:_DIGEST_BYTES] != outgoing.digest:
        raise _wrong(
            index, "digest", f"seq {outgoing.seq} does not hold what its digest says; it was damaged on its way"
        )
    if outgoing.kind != EntryKind.TOMBSTONE and outgoing.until != outgoing.seq:
        raise _wrong(index, "until", "only a tombstone stands for several seqs")


def _readings(who: Credential, outgoing: Outgoing, index: int, limits: Limits) -> tuple[Any, Batch]:
    batch = batches.checked(decode(outgoing.content), limits)
    if len(batch) != outgoing.readings:
        raise _wrong(index, "readings", f"{outgoing.readings} were announced and {len(batch)} came")
    for device in batch.columns.column("device").dictionary.to_pylist() if who.devices else ():
        _check_device(who, device)
    return None, batch


class _Tombstone(msgspec.Struct):
    until: int
    readings: int
    reason: str = ""


def _tombstone(who: Credential, outgoing: Outgoing, index: int, limits: Limits) -> tuple[Any, None]:
    said = _payload(outgoing, index, _Tombstone)
    if said.until != outgoing.until or said.readings != outgoing.readings:
        raise _wrong(index, "content", f"a tombstone up to {outgoing.until} that says otherwise in its content")
    return msgspec.to_builtins(said), None


def _profile(who: Credential, outgoing: Outgoing, index: int, limits: Limits) -> tuple[Any, None]:
    profile = _payload(outgoing, index, Profile)
    for name in (profile.device, *profile.metrics, *profile.commands):
        wrong = names.what_is_wrong(name)
        if wrong is not None:
            raise _wrong(index, "profile", f"{name[:64]!a}: {wrong}")
    for fault in faults(profile):
        raise _wrong(index, "profile", fault)
    _check_device(who, profile.device)
    return msgspec.to_builtins(profile), None


def _command(who: Credential, outgoing: Outgoing, index: int, limits: Limits) -> tuple[Any, None]:
    step = _payload(outgoing, index, Step)
    if step.step not in NODE_STEPS:
        raise _wrong(index, "step", f"a node cannot say of a command that it is {step.step}")
    _check_device(who, step.device)
    return msgspec.to_builtins(step), None


def _unknown(who: Credential, outgoing: Outgoing, index: int, limits: Limits) -> tuple[Any, None]:
    raise _wrong(index, "kind", f"a node cannot send entries of kind {outgoing.kind}")


_CHECKS: Final[dict[int, Callable[[Credential, Outgoing, int, Limits], tuple[Any, Batch | None]]]] = {
    EntryKind.READINGS: _readings,
    EntryKind.TOMBSTONE: _tombstone,
    EntryKind.PROFILE: _profile,
    EntryKind.COMMAND: _command,
}
"""What a node may send. Rules, purges, settings and acknowledgements are not among it: those are an operator's."""


def _payload(outgoing: Outgoing, index: int, type: Any) -> Any:
    if outgoing.readings and outgoing.kind != EntryKind.TOMBSTONE:
        raise _wrong(index, "readings", "only batches have readings")
    try:
        return msgspec.json.decode(outgoing.content, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(index, "content", f"not what an entry of kind {outgoing.kind} holds ({error})") from None


def _check_device(who: Credential, device: str) -> None:
    if not may_write(who, device):
        raise Forbidden(
            f"the token {who.name!r} may not write the device {device!r}",
            hint=f"It may write {', '.join(who.devices)}; make one that may: sonde token create NAME --device PATTERN",
        )


def _wrong(index: int | None, field: str, message: str) -> Invalid:
    return Invalid(Problem(index, field, message))
