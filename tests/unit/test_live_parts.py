"""The parts of the live feed, one by one."""

import json
import math
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from sonde.api.live.group import Group
from sonde.api.live.index import Index
from sonde.api.live.items import Items
from sonde.api.live.parcel import LARGE, MOST, Parcel
from sonde.api.live.place import Place
from sonde.api.live.recent import Recent
from sonde.api.live.thinning import Held, Thinning
from sonde.api.live.wanted import Wanted
from sonde.api.live.writer import Readings
from sonde.changes import Corrected, Progress, Series, Step
from sonde.cursor import Cursor
from sonde.errors import Invalid
from sonde.fresh import Fresh
from sonde.message import Subscribe, read_message, request_id_of
from sonde.reading import Batch, Reading, Value
from sonde.webframe import text_frame

NAMES = ("a", "b", "ab", "Site-01/x", "[", "ü", "A")
series_of = st.builds(Series, st.just(0), *[st.sampled_from(NAMES)] * 4, st.just("{}"))
number = st.integers(0, 2**62)


@given(st.dictionaries(st.integers(0, 9), number, min_size=1), st.data())
def test_a_cursor_comes_back_from_its_text(offsets: dict[int, int], data: st.DataObject) -> None:
    within = data.draw(st.dictionaries(st.sampled_from(sorted(offsets)), st.integers(1, 1000)))
    cursor = Cursor("log", offsets, within)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text", ["", ".", "a.b", "a.1", "a.1-", "a.1-2-3-4", "a.-1-2", "a.1--2", "ä.0-1", f"a.0-{2**63}"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a cursor"):
        Cursor.parse(text)


@given(st.binary(max_size=70_000) | st.integers(0, 70_000).map(bytes))
def test_a_frame_is_read_as_the_standard_says(text: bytes) -> None:
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=1 << 20)
    client.receive_data(text_frame(text))
    (frame,) = client.events_received()
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, text)  # type: ignore[union-attr]


values: st.SearchStrategy[Value] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.lists(st.integers(-5, 5) | st.text(max_size=5), max_size=3)
)


@given(st.lists(st.tuples(values, st.sampled_from(NAMES), st.integers(0, 7 * 10**15)), min_size=1, max_size=8))
def test_readings_are_written_as_they_were_measured(rows: list[tuple[Value, str, int]]) -> None:
    readings = [
        Reading(device=name, metric="m", time=time, value=value, labels={"k": name}, quality=int(value is None))
        for value, name, time in rows
    ]
    batch = Batch.of(readings)
    numbers, quality = np.arange(len(rows), dtype=np.int32), batch.columns["quality"].to_numpy()
    known = [Series(i, r.device, "m", "", "", json.dumps(r.labels, ensure_ascii=False)) for i, r in enumerate(readings)]
    written = Readings(Fresh(0, 0, 1, 0, batch, numbers, quality), np.arange(len(rows)), known.__getitem__)
    for i, reading in enumerate(readings):
        found = json.loads(written.v1(i))
        assert found["value"] == reading.value or math.isclose(found["value"], reading.value)  # type: ignore[arg-type]
        assert type(found["value"]) is type(reading.value)
        assert (found["device"], found["labels"]) == (reading.device, reading.labels)
        assert found.get("quality", 0) == reading.quality
        assert written.plain(i).startswith(b"\x81")


@given(
    series_of,
    st.lists(st.sampled_from([*NAMES, "*", "a*", "?", "[ab]", "Site-*/x", "**"]), max_size=3).map(tuple),
    st.sampled_from(["device", "metric", "site", "zone"]),
)
def test_patterns_are_those_of_a_shell(series: Series, patterns: tuple[str, ...], field: str) -> None:
    wanted = replace(Wanted(), **{field: patterns})  # type: ignore[arg-type]
    name = getattr(series, field)
    assert wanted.matches(series) == (not patterns or any(fnmatchcase(name, pattern) for pattern in patterns))


@given(st.lists(series_of, max_size=12), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20))
def test_the_index_knows_who_wants_what_whenever_they_come(names: list[Series], acts: list[tuple[int, bool]]) -> None:
    """Groups come and go while series appear: the index is as if each series were matched anew."""
    words = [
        Wanted(), Wanted(device=("a",)), Wanted(device=("a", "ab")), Wanted(metric=("a*",)),
        Wanted(device=("[",)), Wanted(site=("b",), kinds=frozenset({"alert"})),
    ]  # fmt: skip
    index, groups = Index(names.__getitem__), [Group(w) for w in words]
    there: set[Group] = set()
    for step, (which, come) in enumerate(acts):
        group = groups[which]
        if come and group not in there:
            index.add(group)
            there.add(group)
        elif not come and group in there:
            index.remove(group)
            there.remove(group)
        known = names[: 1 + step * len(names) // max(len(acts), 1)]
        if not known:
            continue
        found = index.rows(np.array([*range(len(known)), -1], np.int32)).tolist()
        wanting = [[g for g in groups if g in there and g.wanted.matches(one)] for one in known]
        assert found == [i for i, who in enumerate(wanting) if who]
        for i, who in enumerate(wanting):
            assert not there or set(index.of(i)) == set(who)


def held(row: int, offset: int = 0) -> Held:
    return Held(b"%d" % row, 0, offset, row)


def test_thinning_lets_the_first_through_at_once_and_then_the_newest_in_time() -> None:
    thinning = Thinning(2.0)
    assert thinning.put(1, held(1)) == 0
    assert thinning.take(10.0) == [b"1"]
    assert thinning.next() is None
    assert thinning.put(1, held(2, 5)) == 0
    assert thinning.put(1, held(3, 6)) == 1
    assert thinning.put(2, held(4, 7)) == 0
    assert thinning.take(10.1) == [b"4"]
    assert thinning.next() == 10.5
    assert thinning.oldest() == {0: (6, 3)}
    assert thinning.take(10.5) == [b"3"]
    assert thinning.oldest() == {}


def test_a_message_ends_at_a_number_of_readings_or_of_bytes() -> None:
    group, place = Group(Wanted()), Place("log", {0: 7})
    for row in range(2 * MOST + 1):
        group.add(0, Held(b"{}", 0, 7, row), place)
    place.move(0, 8)
    frames = group.take(place, 0.0)
    assert [(frame.readings, str(frame.behind)) for frame in frames] == [
        (MOST, f"log.0-7-{MOST}"),
        (MOST, f"log.0-7-{2 * MOST}"),
        (1, "log.0-8"),
    ]
    parcel = Parcel(Wanted())
    parcel.add(bytes(LARGE))
    assert parcel.is_full


def test_recent_frames_are_bounded_and_read_without_a_hole() -> None:
    recent = Recent(10_000)
    for offset in range(30):
        recent.put(Fresh(0, offset, offset + 1, 0, bytes=1000))
    assert not recent.read(0, 0, 30, 100)
    first = next(offset for offset in range(30) if recent.holds(0, offset))
    assert [f.offset for f in recent.read(0, first, 28, 100)] == list(range(first, 28))
    recent.put(Fresh(0, 31, 32, 0))
    assert recent.read(0, 29, 40, 100)[-1].offset == 29
    recent.put(Fresh(0, 40, 41, 0, bytes=1 << 30))
    assert recent.holds(0, 40), "the newest stays, whatever its size"


def test_corrections_of_one_series_become_one_and_very_many_a_single_one() -> None:
    items, progress = Items(), Progress("log", 0, 1)
    one, other = Series(1, "a", "m", "", "", "{}"), Series(2, "b", "m", "", "", '{"k":"v"}')
    items.put(Step(progress, corrected=[Corrected(one, 10, 20), Corrected(other, 5, 5)]))
    items.put(Step(progress, corrected=[Corrected(one, 15, 30)]))
    first, second = items.take()
    assert first.series == one
    assert (first.members["from"][-7:], first.members["to"][-7:]) == ("000010Z", "000030Z")
    assert json.loads(msgspec.json.encode(second.members))["series"]["labels"] == {"k": "v"}
    assert not list(items.take())
    items.put(Step(progress, corrected=[Corrected(one._replace(device=str(n)), n, n) for n in range(2000)]))
    (only,) = items.take()
    assert (only.series, only.members["series"]) == (None, None)
    assert only.members["to"][-7:] == "001999Z"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.sampled_from(["subscribe", "ping", "a*", 1.0, ["x"], "5m"])
        for name in ("type", "id", "device", "metric", "rate", "cursor", "since", "kinds", "request_id", "parameters")
    },
)


@given(st.text() | members.map(json.dumps) | json_values.map(json.dumps))
def test_whatever_is_said_is_a_message_or_invalid(text: str) -> None:
    request_id_of(text)
    try:
        message = read_message(text)
    except Invalid:
        return
    if isinstance(message, Subscribe):
        Wanted.of(message).matches(Series(0, "a", "b", "c", "d", "{}"))


def test_words_are_the_same_in_whatever_order_they_are_said() -> None:
    def wanted(**said: Any) -> Wanted:
        message = read_message(json.dumps({"type": "subscribe", **said}))
        assert isinstance(message, Subscribe)
        return Wanted.of(message)

    assert wanted(device=["b", "a", "a"], kinds=["alert", "data"]) == wanted(device=["a", "b"], kinds=["data", "alert"])
    assert wanted(device="a").only_devices == ("a",)
    assert wanted(device=["a", "b*"]).only_devices is None
    assert wanted().only_devices is None
