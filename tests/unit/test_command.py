"""The life of a command: every step in every state, by whoever says it."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonde.clock import SECOND
from sonde.command import (
    BY_NODE,
    BY_SERVER,
    DOUBT_LASTS,
    NODE_STEPS,
    OVER,
    Board,
    Command,
    State,
    Step,
    StepKind,
    begin,
    command_json,
    command_result,
    fold,
)
from sonde.entry import Entry, EntryKind
from sonde.errors import Invalid

T0 = 1_767_225_600_000_000
SERVER_CAN = {
    (State.QUEUED, StepKind.HANDED),
    (State.QUEUED, StepKind.CANCELLED),
    (State.QUEUED, StepKind.EXPIRED),
    (State.HANDED, StepKind.UNKNOWN),
    (State.DELIVERED, StepKind.UNKNOWN),
    (State.RUNNING, StepKind.UNKNOWN),
}
NODE_CAN = {
    *((State.HANDED, kind) for kind in NODE_STEPS),
    *((State.DELIVERED, kind) for kind in NODE_STEPS - {StepKind.DELIVERED}),
    *((State.RUNNING, kind) for kind in NODE_STEPS - {StepKind.DELIVERED, StepKind.EXPIRED}),
    *((State.UNKNOWN, kind) for kind in NODE_STEPS),
}


_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def step(kind: StepKind, **more: Any) -> Step:
    return Step(id="c1", step=kind, device="boiler", command="heat", **more)


def accepted(**more: Any) -> Step:
    return step(StepKind.ACCEPTED, who="ann", expires=T0 + 60 * SECOND, **more)


def command(state: State) -> Command:
    node = "" if state == State.QUEUED else "edge"
    return msgspec.structs.replace(begin(accepted(), T0), state=state, node=node, epoch="e1" if node else "")


def entry(said: Step, node: str = "") -> Entry:
    payload = msgspec.to_builtins(said)
    return Entry(EntryKind.COMMAND, source=node or "ann", epoch="e1" if node else "", payload=payload)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", StepKind)
def test_what_the_server_may_say(state: State, kind: StepKind) -> None:
    after = fold(command(state), step(kind, node="edge", epoch="e1"), T0 + SECOND)
    assert (None if after is None else after.state) == (State(kind) if (state, kind) in SERVER_CAN else None)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", StepKind)
def test_what_its_node_may_say(state: State, kind: StepKind) -> None:
    after = fold(command(state), step(kind), T0 + SECOND, "edge")
    assert (None if after is None else after.state) == (State(kind) if (state, kind) in NODE_CAN else None)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", StepKind)
def test_another_node_may_say_nothing(state: State, kind: StepKind) -> None:
    assert fold(command(state), step(kind), T0 + SECOND, "other") is None


def test_the_tables_name_no_way_out_of_an_end() -> None:
    assert not OVER & (BY_SERVER.keys() | BY_NODE.keys())


def test_a_whole_life() -> None:
    board = Board()
    board.apply(entry(accepted(parameters={"to": 60})), T0)
    board.apply(entry(step(StepKind.HANDED, node="edge", epoch="e1")), T0 + 1)
    assert command_json(board.open["c1"])["state"] == "queued"
    board.apply(entry(step(StepKind.DELIVERED), "edge"), T0 + 2)
    board.apply(entry(step(StepKind.RUNNING, progress=0.5, message="half"), "edge"), T0 + 3)
    assert (board.open["c1"].progress, board.open["c1"].message) == (0.5, "half")
    done = board.apply(entry(step(StepKind.SUCCEEDED, message="warm", details={"t": 60}), "edge"), T0 + 4)
    assert done is not None
    after = done[0]
    assert (after.state, after.progress, after.details, after.message) == ("succeeded", 1.0, {"t": 60}, "warm")
    times = (after.accepted_at, after.handed_at, after.delivered_at, after.started_at, after.finished_at)
    assert times == (T0, T0 + 1, T0 + 2, T0 + 3, T0 + 4)
    assert not board.open


def test_it_is_not_handed_out_after_its_time() -> None:
    late = T0 + 60 * SECOND
    assert fold(command(State.QUEUED), step(StepKind.HANDED, node="edge", epoch="e1"), late) is None
    assert fold(command(State.QUEUED), step(StepKind.EXPIRED), late) is not None


def test_the_first_to_hand_it_out_wins() -> None:
    board = Board()
    board.apply(entry(accepted()), T0)
    assert board.apply(entry(step(StepKind.HANDED, node="edge", epoch="e1")), T0 + 1)
    assert board.apply(entry(step(StepKind.HANDED, node="edge", epoch="e2")), T0 + 2) is None
    assert board.apply(entry(step(StepKind.CANCELLED)), T0 + 3) is None
    assert board.open["c1"].epoch == "e1"


def test_who_is_in_doubt_may_know_better_later_but_not_for_ever() -> None:
    doubtful = fold(command(State.RUNNING), step(StepKind.UNKNOWN), T0)
    assert doubtful is not None
    assert not doubtful.is_over
    soon, late = T0 + DOUBT_LASTS, T0 + DOUBT_LASTS + 1
    assert fold(doubtful, step(StepKind.SUCCEEDED), soon, "edge") is not None
    assert fold(doubtful, step(StepKind.SUCCEEDED), late, "edge") is None


def test_what_a_node_itself_cannot_tell_nobody_can() -> None:
    over = fold(command(State.RUNNING), step(StepKind.UNKNOWN), T0, "edge")
    assert over is not None
    assert over.is_over
    assert fold(over, step(StepKind.SUCCEEDED), T0 + 1, "edge") is None


def test_nothing_happened_after_the_log_knew_of_it_nor_before_it_was_asked_for() -> None:
    running = command(State.DELIVERED)
    ahead = fold(running, step(StepKind.RUNNING, time=T0 + 99 * SECOND), T0 + 5, "edge")
    behind = fold(running, step(StepKind.RUNNING, time=T0 - 99 * SECOND), T0 + 5, "edge")
    assert ahead is not None
    assert behind is not None
    assert (ahead.started_at, behind.started_at) == (T0 + 5, T0)


@pytest.mark.parametrize(
    "payload", [None, [], {"id": "x"}, {"id": "x", "step": "flown", "device": "d", "command": "c"}]
)
def test_what_is_no_step_is_refused(payload: Any) -> None:
    with pytest.raises(Invalid):
        Board().apply(Entry(EntryKind.COMMAND, payload=payload), T0)


def test_a_node_cannot_begin_a_command() -> None:
    board = Board()
    assert board.apply(entry(accepted(), "edge"), T0) is None
    assert not board.open


said = st.tuples(
    st.sampled_from([k for k in StepKind if k != StepKind.ACCEPTED]), st.sampled_from(["", "edge", "other"])
)


@_UNHURRIED
@given(st.lists(st.tuples(said, st.integers(0, 40 * SECOND)), max_size=12))
def test_whatever_is_said_a_command_ends_once_and_stays_so(steps: list[tuple[tuple[StepKind, str], int]]) -> None:
    board, now = Board(), T0
    board.apply(entry(accepted()), now)
    ended: Command | None = None
    seen = [State.QUEUED]
    for (kind, node), later in steps:
        now += later
        done = board.apply(entry(step(kind, node="edge", epoch="e1"), node), now)
        assert ended is None or done is None
        if done is not None:
            seen.append(done[0].state)
            ended = done[0] if done[0].is_over else None
            assert node != "other"
    if State.RUNNING in seen:
        assert State.HANDED in seen[: seen.index(State.RUNNING)]
    if seen[-1] in {State.CANCELLED, State.EXPIRED} and State.HANDED not in seen:
        assert len(seen) == 2


@_UNHURRIED
@given(st.lists(said, max_size=8), st.lists(st.integers(0, 7), max_size=8))
def test_saying_a_thing_twice_changes_nothing_more(steps: list[tuple[StepKind, str]], again: list[int]) -> None:
    once, twice = Board(), Board()
    for board in (once, twice):
        board.apply(entry(accepted()), T0)
    for number, (kind, node) in enumerate(steps):
        one = entry(step(kind, node="edge", epoch="e1"), node)
        once.apply(one, T0 + number)
        twice.apply(one, T0 + number)
        if number in again:
            twice.apply(one, T0 + number)
    assert {k: c.state for k, c in once.open.items()} == {k: c.state for k, c in twice.open.items()}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (StepKind.ACCEPTED, "pending"),
        (StepKind.DELIVERED, "pending"),
        (StepKind.RUNNING, "pending"),
        (StepKind.SUCCEEDED, "success"),
        (StepKind.FAILED, "error"),
        (StepKind.EXPIRED, "error"),
        (StepKind.CANCELLED, "error"),
        (StepKind.UNKNOWN, "error"),
    ],
)
def test_what_the_live_feed_says(kind: StepKind, status: str) -> None:
    message = command_result(step(kind, message="m", progress=0.5), T0)
    assert message is not None
    assert message["value"]["status"] == status
    assert message["value"]["details"] == {"state": kind, "progress": 0.5}
    assert (message["type"], message["id"], message["device"]) == ("command_result", "c1", "boiler")
    assert message["timestamp"] == "2026-01-01T00:00:00.000000Z"


def test_handing_a_command_over_is_no_news() -> None:
    assert command_result(step(StepKind.HANDED), T0) is None
