"""The server's end of commands: races, lost answers, nodes that come and go, two servers on one log."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.commands.order import Order
from sonde.clock import SECOND, Micros, SystemClock
from sonde.command import Command, Poll, State, Step, StepKind, Tasks
from sonde.control.audit import MemoryAuditTrail
from sonde.entry import Entry, EntryKind, Lane
from sonde.errors import Conflict, Forbidden, Invalid, NotFound
from sonde.frame import Opener
from sonde.metrics import Metrics
from sonde.ports import Credential
from sonde.question import Commands
from sonde.store.memory import MemoryStore
from tests.api_world import LOG, StoringJournal

ANN = Credential("ann", "ann", frozenset({"command"}))
T0: Micros = 1_767_225_600 * SECOND


class Clock(SystemClock):
    """Moves when it is told."""

    at: Micros = T0

    def now(self) -> Micros:
        return self.at


def node(name: str) -> Credential:
    return Credential(name, name, frozenset({"ingest"}), node=name)


@dataclass
class World:
    journal: StoringJournal
    store: MemoryStore
    clock: Clock
    audit: MemoryAuditTrail
    servers: list[Dispatcher]
    seqs: dict[str, int] = field(default_factory=dict)

    @property
    def server(self) -> Dispatcher:
        return self.servers[0]

    async def declare(self, name: str, device: str = "lamp") -> None:
        profile = {"device": device, "commands": {"flash": {"parameters": {"n": {"type": "int"}}}}}
        await self.say(name, EntryKind.PROFILE, profile)
        await until(lambda: all(server.node_of(device) == name for server in self.servers))

    async def say(self, name: str, kind: EntryKind, payload: Any) -> None:
        """A node says something in its control lane."""
        seq = self.seqs[name] = self.seqs.get(name, 0) + 1
        digest = f"{name}-{seq}".encode().ljust(16)
        entry = Entry(kind, name, digest=digest, lane=Lane.CONTROL, epoch="stream", seq=seq, payload=payload)
        await self.journal.record([entry], 0)

    async def step(self, name: str, command: Command, kind: StepKind) -> None:
        step = Step(id=command.id, step=kind, device=command.device, command=command.command, time=self.clock.at)
        await self.say(name, EntryKind.COMMAND, msgspec.to_builtins(step))

    async def give(self, device: str = "lamp", server: int = 0, **more: Any) -> Command:
        return await self.servers[server].accept(ANN, Order(device, "flash", **more))

    async def poll(
        self, name: str, epoch: str = "e1", session: str = "s1", seen: int = 0, wait: float = 20.0, server: int = 0
    ) -> Tasks:
        return await self.servers[server].poll(node(name), Poll(epoch, session, seen), wait)

    def state(self, command: Command) -> State | None:
        found = self.server.find(command.id)
        return None if found is None else found.state

    async def wait_for(self, command: Command, state: State) -> None:
        await until(lambda: self.state(command) == state)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def world(path: Path, servers: int = 1) -> AsyncIterator[World]:
    store = MemoryStore(LOG)
    journal, clock, audit = StoringJournal(lambda: store), Clock(), MemoryAuditTrail()
    await journal.record([Entry(EntryKind.SETTINGS, "config", payload={"windows": [300]})], 0)
    made = [
        Dispatcher(journal.log, Opener(journal.ring), lambda: store, journal, audit, clock=clock, metrics=Metrics())
        for _ in range(servers)
    ]
    for server in made:
        server.start(asyncio.get_running_loop())
    here = World(journal, store, clock, audit, made)
    try:
        await here.declare("edge")
        yield here
    finally:
        for server in made:
            await asyncio.to_thread(server.stop, 10.0)
        store.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_a_waiting_node_gets_a_command_at_once_and_only_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            polling = asyncio.create_task(here.poll("edge"))
            await until(lambda: here.server.is_online("lamp"))
            command = await here.give(parameters={"n": 3})
            first = await polling
            assert [(t.id, t.parameters, t.begun) for t in first.tasks] == [(command.id, {"n": 3}, False)]
            assert (first.log, 0 < first.tasks[0].expires_in <= 300) == (LOG, True)
            assert here.state(command) == State.HANDED
            assert (await here.poll("edge", seen=first.number, wait=0.0)).tasks == []

    run(test())


def test_a_lost_answer_comes_again_and_so_does_what_a_dead_node_may_not_have_taken(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            command = await here.give()
            lost = await here.poll("edge")
            again = await here.poll("edge")  # it has not seen the answer
            assert [t.id for t in lost.tasks] == [t.id for t in again.tasks] == [command.id]
            assert (await here.poll("edge", seen=again.number, wait=0.0)).tasks == []
            restarted = await here.poll("edge", session="s2")
            assert [t.id for t in restarted.tasks] == [command.id]
            await here.step("edge", command, StepKind.DELIVERED)
            await here.step("edge", command, StepKind.RUNNING)
            await here.wait_for(command, State.RUNNING)
            (task,) = (await here.poll("edge", session="s3")).tasks
            assert task.begun, "what was seen to run must never run again"
            await here.step("edge", command, StepKind.SUCCEEDED)
            await here.wait_for(command, State.SUCCEEDED)
            assert (await here.poll("edge", session="s4", wait=0.0)).tasks == []

    run(test())


def test_a_server_that_was_restarted_hands_over_what_it_cannot_know_to_have_arrived(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, servers=2) as here:
            command = await here.give()
            first = await here.poll("edge", server=0)
            (task,) = (await here.poll("edge", seen=first.number + 50, server=1)).tasks
            assert task.id == command.id

    run(test())


def test_only_the_owner_gets_it_and_ownership_goes_to_whoever_declares_last(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            command = await here.give()
            assert (await here.poll("twin", wait=0.0)).tasks == []
            polling = asyncio.create_task(here.poll("twin"))
            await here.declare("twin")
            assert [t.id for t in (await polling).tasks] == [command.id]
            assert (await here.poll("edge", wait=0.0)).tasks == []
            await here.step("edge", command, StepKind.SUCCEEDED)  # of a device that is not its any more
            await here.step("twin", command, StepKind.FAILED)
            await here.wait_for(command, State.FAILED)

    run(test())


def test_a_node_whose_token_does_not_cover_the_device_any_more_gets_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            command = await here.give()
            bounded = Credential("edge", "edge", frozenset({"ingest"}), ("pump-*",), node="edge")
            assert (await here.server.poll(bounded, Poll("e1", "s1"), 0.0)).tasks == []
            assert here.state(command) == State.QUEUED

    run(test())


def test_cancelling_and_handing_over_race_and_one_wins(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, servers=2) as here:
            outcomes = set()
            seen = 0
            for turn in range(30):
                command = await here.give(server=turn % 2)
                await until(lambda c=command: all(s.find(c.id) for s in here.servers))  # type: ignore[misc]
                polling = asyncio.create_task(here.poll("edge", seen=seen, wait=0.2, server=turn % 2))
                await asyncio.sleep(random.uniform(0, 0.01))
                try:
                    await here.servers[1 - turn % 2].cancel(ANN, command.id)
                    cancelled = True
                except Conflict:
                    cancelled = False
                tasks = await polling
                seen = max(seen, tasks.number)
                handed = command.id in [t.id for t in tasks.tasks]
                assert handed != cancelled
                outcomes.add(cancelled)
                if handed:
                    await here.step("edge", command, StepKind.SUCCEEDED)
            assert outcomes

    run(test())


def test_two_servers_and_two_epochs_hand_each_command_to_one_epoch(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, servers=2) as here:
            got: dict[str, list[str]] = {"a": [], "b": []}
            done = asyncio.Event()

            async def listen(epoch: str, server: int) -> None:
                seen = 0
                while not done.is_set():
                    tasks = await here.poll("edge", epoch=epoch, seen=seen, wait=0.05, server=server)
                    got[epoch] += [task.id for task in tasks.tasks]
                    seen = tasks.number

            listening = [asyncio.create_task(listen(epoch, server)) for server, epoch in enumerate("ab")]
            commands = [await here.give(server=n % 2) for n in range(40)]
            await until(lambda: len(set(got["a"]) | set(got["b"])) == len(commands))
            done.set()
            await asyncio.gather(*listening)
            assert not set(got["a"]) & set(got["b"])
            for command in commands:
                known = here.server.find(command.id)
                assert known is not None
                assert command.id in got[known.epoch]

    run(test())


def test_time_ends_what_nobody_asked_for_and_doubts_what_nobody_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            handed = await here.give(expires_in=60)
            await here.poll("edge", wait=1.0)
            queued = await here.give(expires_in=60)
            here.clock.at += 61 * SECOND
            await here.wait_for(queued, State.EXPIRED)
            (recalled,) = (await here.poll("edge", session="s2", wait=5.0)).tasks
            assert (recalled.id, recalled.expires_in < 0) == (handed.id, True)
            assert here.state(handed) == State.HANDED
            here.clock.at += 60 * SECOND
            await here.wait_for(handed, State.UNKNOWN)
            await here.step("edge", handed, StepKind.EXPIRED)
            await here.wait_for(handed, State.EXPIRED)
            assert (await here.poll("edge", session="s3", wait=0.0)).tasks == []

    run(test())


def test_a_node_that_came_back_without_its_book(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            command = await here.give()
            await here.poll("edge", epoch="e1")
            await here.step("edge", command, StepKind.DELIVERED)
            await here.wait_for(command, State.DELIVERED)
            polling = asyncio.create_task(here.poll("edge", epoch="e2", session="s2", wait=60.0))
            await here.wait_for(command, State.UNKNOWN)
            after = await here.give()
            assert [t.id for t in (await polling).tasks] == [after.id]

    run(test())


def test_a_newer_poll_ends_one_whose_connection_is_dead(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            dead = asyncio.create_task(here.poll("edge", wait=60.0))
            await until(lambda: here.server.is_online("lamp"))
            alive = asyncio.create_task(here.poll("edge", wait=60.0))
            assert (await dead).tasks == []
            command = await here.give()
            assert [t.id for t in (await alive).tasks] == [command.id]

    run(test())


def test_polls_end_when_the_server_stops(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            polling = asyncio.create_task(here.poll("edge", wait=60.0))
            await until(lambda: here.server.is_online("lamp"))
            await asyncio.to_thread(here.server.stop, 10.0)
            async with asyncio.timeout(30):
                assert (await polling).tasks == []

    run(test())


def test_the_same_key_at_two_servers_at_once_gives_one_command(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, servers=2) as here:
            for turn in range(10):
                made = await asyncio.gather(
                    *(here.give(server=server, idempotency_key=f"k{turn}") for server in (0, 1, 0, 1))
                )
                assert len({command.id for command in made}) == 1
            found = here.store.ask(Commands(limit=1000)).rows
            assert found.num_rows == 10
            with pytest.raises(Conflict):
                await here.give(parameters={"n": 1}, idempotency_key="k0")

    run(test())


def test_an_old_key_is_known_from_the_store(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            first = await here.give(idempotency_key="k")
            await here.server.cancel(ANN, first.id)
            here.server._known._recent.clear()
            again = await here.give(idempotency_key="k")
            assert (again.id, again.state) == (first.id, State.CANCELLED)

    run(test())


def test_a_dispatcher_begins_from_the_store_and_the_log_behind_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            queued, over = await here.give(), await here.give()
            await here.server.cancel(ANN, over.id)
            other = Dispatcher(
                here.journal.log,
                Opener(here.journal.ring),
                lambda: here.store,
                here.journal,
                here.audit,
                clock=here.clock,
                metrics=Metrics(),
            )
            other.start(asyncio.get_running_loop())
            here.servers.append(other)
            await until(lambda: other.find(queued.id) is not None)
            assert other.find(over.id) is None
            assert (await other.known(over.id)) is not None
            assert [t.id for t in (await here.poll("edge", server=1)).tasks] == [queued.id]
            await asyncio.to_thread(other.stop, 10.0)

    run(test())


def test_who_and_what_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as here:
            with pytest.raises(Forbidden, match="no node"):
                await here.server.poll(ANN, Poll("e", "s"), 0.0)
            for poll in (Poll("", "s"), Poll("e", ""), Poll("e" * 65, "s"), Poll("e", "s", -1)):
                with pytest.raises(Invalid):
                    await here.server.poll(node("edge"), poll, 0.0)
            with pytest.raises(NotFound):
                here.server.only_device_with("fly")
            assert here.server.only_device_with("flash") == "lamp"
            await here.declare("edge", "second-lamp")
            with pytest.raises(Invalid, match="2 devices"):
                here.server.only_device_with("flash")
            before = len(here.audit.read(None, 100))
            with pytest.raises(NotFound):
                await here.give("nobody")
            assert len(here.audit.read(None, 100)) == before

    run(test())
