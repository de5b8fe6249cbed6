"""What every store must keep of commands. Part of :class:`sonde.testing.store_contract.StoreContract`."""

import msgspec

from sonde.changes import Definition, Happened
from sonde.clock import DAY, Micros
from sonde.command import OVER, Command, State
from sonde.ports import Store
from sonde.question import Commands, CommandSteps, Profiles
from sonde.testing.asking import rows_of
from sonde.testing.store_feed import START, Feed


def command(id_: str, at: Micros, state: State, device: str = "d") -> Command:
    return Command(id_, device, "heat", {"to": 60}, "ann", state, at, at + DAY, changed_at=at)


class CommandsContract:
    """Tests of what is kept of commands and their devices; the fixture ``store`` is the contract's."""

    def test_a_profile_belongs_to_the_node_that_declared_it(self, store: Store) -> None:
        feed, profile = Feed(), {"device": "d"}
        for node in ("n1", "n2"):
            store.commit(feed.step(definitions=[Definition("profile", "d", profile, 1, node)]))
            assert [row["node"] for row in rows_of(store, Profiles())] == [node]
        assert list(store.load().definitions) == [Definition("profile", "d", profile, 1, "n2")]

    def test_commands_are_whole_rows_and_those_not_over_are_loaded(self, store: Store) -> None:
        feed = Feed()
        kinds = [State.QUEUED, State.HANDED, State.RUNNING, State.UNKNOWN, *OVER]
        asked = [command(f"c{number}", START + number, state) for number, state in enumerate(kinds)]
        sure = msgspec.structs.replace(command("sure", START + 99, State.UNKNOWN), finished_at=START)
        store.commit(feed.step(commands=[*asked, sure]))
        assert sorted(store.load().commands, key=lambda c: c.id) == asked[:4]
        assert [row["id"] for row in rows_of(store, Commands())] == ["sure", *(c.id for c in reversed(asked))]
        assert {row["id"] for row in rows_of(store, Commands(state="open"))} == {"c0", "c1", "c2", "c3"}
        assert {row["id"] for row in rows_of(store, Commands(state="queued"))} == {"c0", "c1"}
        done = msgspec.structs.replace(asked[2], state=State.SUCCEEDED, details={"a": [1, None]}, progress=1.0)
        store.commit(feed.step(commands=[done]))
        (row,) = rows_of(store, Commands(id="c2"))
        assert (row["state"], row["details"], row["parameters"]) == ("succeeded", '{"a":[1,null]}', '{"to":60}')
        assert (row["accepted_at"], row["finished_at"], row["who"]) == (START + 2, None, "ann")
        assert len(store.load().commands) == 3

    def test_commands_by_device_name_and_time(self, store: Store) -> None:
        feed = Feed()
        store.commit(feed.step(commands=[command(f"c{n}", START + n, State.QUEUED, f"d{n % 2}") for n in range(6)]))
        assert [row["id"] for row in rows_of(store, Commands(device="d1"))] == ["c5", "c3", "c1"]
        assert [row["id"] for row in rows_of(store, Commands(since=START + 2, until=START + 4))] == ["c3", "c2"]
        assert rows_of(store, Commands(command="fly")) == []
        assert store.ask(Commands(limit=2)).total == 6

    def test_the_steps_of_commands_in_both_orders(self, store: Store) -> None:
        feed = Feed()
        steps = ["accepted", "delivered", "running", "succeeded"]
        times = [0, 5, 5, 9]
        store.commit(
            feed.step(
                happened=[
                    Happened("c", "d", "heat", s, START + t, s, None, [s]) for s, t in zip(steps, times, strict=True)
                ]
            )
        )
        oldest = rows_of(store, CommandSteps(id="c", oldest_first=True))
        assert [row["step"] for row in oldest] == steps
        assert oldest[0] == {
            "id": "c",
            "device": "d",
            "command": "heat",
            "step": "accepted",
            "time": START,
            "message": "accepted",
            "progress": None,
            "details": '["accepted"]',
        }
        assert [row["step"] for row in rows_of(store, CommandSteps(device="d", limit=2))] == ["succeeded", "running"]
        assert store.ask(CommandSteps(limit=1, since=START + 5)).total == 3
