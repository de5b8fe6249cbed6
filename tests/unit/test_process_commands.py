"""Commands in the processor: what the log tells of them reaches the store, the same after every restart and rebuild."""

from typing import Any

import msgspec

from sonde.command import State, Step, StepKind
from sonde.entry import Entry, EntryKind, Lane
from sonde.testing.plain_store import PlainStore
from tests.processor_world import T0, World


def said(world: World, kind: StepKind, id_: str = "c1", key: bytes = b"", **more: Any) -> None:
    step = Step(id=id_, step=kind, device="d", command="heat", **more)
    world.write(Entry(EntryKind.COMMAND, "ann", key=key, digest=b"x" * 16, payload=msgspec.to_builtins(step)))


class Node:
    """A node that says steps in its control lane."""

    def __init__(self, world: World, name: str = "edge") -> None:
        self.world, self.name, self.seq = world, name, 0

    def says(self, kind: StepKind, id_: str = "c1", **more: Any) -> Entry:
        self.seq += 1
        step = Step(id=id_, step=kind, device="d", command="heat", **more)
        entry = Entry(
            EntryKind.COMMAND,
            self.name,
            digest=msgspec.json.encode(step)[-16:],
            lane=Lane.CONTROL,
            epoch="e1",
            seq=self.seq,
            payload=msgspec.to_builtins(step),
        )
        self.world.write(entry)
        return entry


def begun(world: World, id_: str = "c1") -> Node:
    said(world, StepKind.ACCEPTED, id_, who="ann", expires=T0 * 2, parameters={"to": 60})
    said(world, StepKind.HANDED, id_, node="edge", epoch="e1")
    return Node(world)


def test_a_command_goes_its_way_whether_steps_come_together_or_one_by_one() -> None:
    together, singly = World(), World()
    for world in (together, singly):
        node = begun(world)
        for kind in (StepKind.DELIVERED, StepKind.RUNNING, StepKind.SUCCEEDED):
            if world is singly:
                world.catch_up()
                world.processor = world.another()
            node.says(kind)
        world.catch_up()
    assert together.store.commands == singly.store.commands
    assert together.store.commands["c1"].state == State.SUCCEEDED
    assert [h.step for h in together.store.happened] == ["accepted", "delivered", "running", "succeeded"]


def test_mistake_15_a_step_that_comes_again_counts_once() -> None:
    world = World()
    node = begun(world)
    twice = node.says(StepKind.RUNNING, progress=0.2)
    node.says(StepKind.RUNNING, progress=0.9)
    world.write(twice)
    world.catch_up()
    assert world.store.commands["c1"].progress == 0.9
    assert [h.progress for h in world.store.happened] == [None, 0.2, 0.9]


def test_the_same_acceptance_written_twice_begins_one_command() -> None:
    world = World()
    for _ in range(2):
        said(world, StepKind.ACCEPTED, key=b"c1", who="ann", expires=T0 * 2)
        said(world, StepKind.CANCELLED)
    world.catch_up()
    assert world.store.commands["c1"].state == State.CANCELLED
    assert [h.step for h in world.store.happened] == ["accepted", "cancelled"]


def test_what_another_node_says_of_it_changes_nothing() -> None:
    world = World()
    begun(world)
    Node(world, "forger").says(StepKind.SUCCEEDED)
    world.catch_up()
    assert world.store.commands["c1"].state == State.HANDED


def test_an_entry_that_is_no_step_is_set_aside_and_the_rest_goes_on() -> None:
    world = World()
    world.write(Entry(EntryKind.COMMAND, "ann", payload={"nonsense": 1}))
    begun(world)
    world.catch_up()
    assert "c1" in world.store.commands
    assert [mark.reason for mark in world.store.marks] == ["set_aside"]


def test_a_rebuild_knows_the_same() -> None:
    world = World()
    for number in range(6):
        node = begun(world, f"c{number}")
        node.seq = number * 10
        for kind in (StepKind.DELIVERED, StepKind.RUNNING, StepKind.FAILED)[: number % 4]:
            node.says(kind, f"c{number}")
        world.catch_up()
    before = world.store
    world.store = PlainStore()
    world.processor = world.another()
    world.catch_up()
    assert world.store.commands == before.commands
    assert world.store.happened == before.happened


def test_a_device_belongs_to_whoever_declared_it_last() -> None:
    world = World()
    for source in ("n1", "n2", "n2", "n1"):
        world.write(Entry(EntryKind.PROFILE, source, payload={"device": "d", "commands": {"heat": {}}}))
        world.catch_up()
        assert world.store.definitions["profile", "d"].source == source
