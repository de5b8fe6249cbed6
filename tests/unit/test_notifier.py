"""Telling people outside: at least once, in groups, marked where it may be a repeat, and never by a rebuild."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from sonde.clock import DAY, SECOND, Micros, SystemClock
from sonde.control.notices import MemoryNotices
from sonde.cursor import Cursor
from sonde.errors import Doubtful, Reject, Retry
from sonde.metrics import Metrics
from sonde.notice import Interest, Message, compose
from sonde.notify.notifier import GIVE_UP, STALE, Notifier
from sonde.question import AlertEvents, Answer, Question, Reached
from sonde.reading import TIME
from sonde.testing.notices_contract import notice

TARGET, LOG = "webhook.ops", "log-1"
START = 19_700 * DAY
TIMES = {"log_time", "time", "until", "since", "fired_at", "resolved_at", "shelved_until"}


def event(offset: int, what: str = "fired", alert: str = "a", **changes: Any) -> dict[str, Any]:
    """A row of :class:`AlertEvents`."""
    return {
        "partition": 0,
        "offset": offset,
        "log_time": START,
        "event": what,
        "time": START,
        "who": "",
        "why": "",
        "until": None,
        "alert_id": alert,
        "rule": "co2-high",
        "site": "s",
        "zone": "z",
        "device": "d",
        "metric": "co2",
        "type": "above",
        "value": 1200.0,
        "peak": 1300.0,
        "threshold": 1000.0,
        "since": START,
        "fired_at": START,
        "resolved_at": None,
        "shelved_until": None,
        "state": "firing",
        "severity": "critical",
        "message": "co2 of d is 1200",
        "retroactive": False,
        **changes,
    }


class Events:
    """A store that holds events of alerts and nothing else."""

    def __init__(self, rows: Sequence[dict[str, Any]] = (), end: int = 0) -> None:
        self.rows, self.end = list(rows), end

    def add(self, *rows: dict[str, Any]) -> None:
        self.rows += rows
        self.end = rows[-1]["offset"] + 1

    def ask(self, question: Question) -> Answer:
        cursor = Cursor(LOG, {0: self.end})
        if isinstance(question, Reached):
            return Answer(pa.table({"partition": [0], "next_offset": [self.end], "log_time": [START]}), cursor)
        assert isinstance(question, AlertEvents)
        rows = [r for r in self.rows if r["offset"] >= question.offset]
        names = list(event(0))
        return Answer(
            pa.table({n: pa.array([r[n] for r in rows], TIME if n in TIMES else None) for n in names}), cursor
        )


class Courier:
    """Keeps what it was given; fails as it is told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.failures: list[Exception] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)
        if self.failures:
            raise self.failures.pop(0)

    @property
    def told(self) -> list[str]:
        return [f"{a['alert_id']} {a['event']}" for m in self.messages for a in m.body["alerts"]]


class HandClock(SystemClock):
    """Goes on when it is told."""

    def __init__(self) -> None:
        self.time: Micros = START

    def now(self) -> Micros:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += round(seconds * SECOND)


class World:
    """A notifier and all around it."""

    def __init__(self) -> None:
        self.clock, self.events, self.courier = HandClock(), Events(), Courier()
        self.notices, self.metrics = MemoryNotices(), Metrics()
        self.notifier = self.made()

    def made(self, interest: Interest | None = None, store: Events | None = None) -> Notifier:
        """Another program on the same control database."""
        asked: Any = store or self.events
        return Notifier(
            *(TARGET, interest or Interest(), self.courier, self.notices, lambda: asked, LOG),
            clock=self.clock,
            metrics=self.metrics,
            gather=10.0,
        )

    def turn(self, seconds: float = 10.0) -> None:
        self.notifier.read()
        self.clock.advance(seconds)
        while self.notifier.tell() == 0.0:
            pass

    def fates(self) -> list[str]:
        return [n.fate for n in reversed(self.notices.recent(None, 100))]


@pytest.fixture
def world() -> World:
    world = World()
    world.notifier.read()  # a target that is new begins where the log is
    return world


def test_alerts_from_before_a_target_was_there_are_not_told() -> None:
    world = World()
    world.events.add(event(3), event(4, "resolved"))
    world.turn()
    world.events.add(event(7, alert="b"))
    world.turn()
    assert world.courier.told == ["b fired"]


def test_events_within_the_time_to_gather_go_in_one_message(world: World) -> None:
    world.events.add(event(1, alert="a"))
    world.turn(4.0)
    world.events.add(event(2, alert="b"))
    world.turn(4.0)
    assert world.courier.messages == []
    world.turn(4.0)
    assert len(world.courier.messages) == 1
    assert world.courier.told == ["a fired", "b fired"]
    assert world.courier.messages[0].body["repeat"] is False
    assert world.fates() == ["sent", "sent"]


def test_a_rebuild_tells_nobody(world: World) -> None:
    rows = [event(1), event(2, "resolved")]
    world.events.add(*rows)
    world.turn()
    world.notifier = world.made(store=Events([], end=0))  # the store is made again: at first it holds nothing
    world.turn()
    world.notifier = world.made(store=Events(rows, end=3))
    world.turn()
    assert world.courier.told == ["a fired", "a resolved"]


def test_a_crash_before_the_answer_sends_again_and_says_so(world: World) -> None:
    class Crash(BaseException):
        pass

    world.events.add(event(1))
    world.courier.failures = [Crash()]  # type: ignore[list-item]
    with pytest.raises(Crash):
        world.turn()
    world.notifier = world.made()
    world.turn()
    first, second = world.courier.messages
    assert (first.id, first.body["repeat"]) == (second.id, False)
    assert second.body["repeat"] is True
    assert world.fates() == ["sent"]


@pytest.mark.parametrize(("error", "repeat"), [(Retry("not there"), False), (Doubtful("no answer"), True)])
def test_only_what_may_have_arrived_is_marked_as_a_repeat(world: World, error: Exception, repeat: bool) -> None:
    world.events.add(event(1))
    world.courier.failures = [error]
    world.turn()
    assert world.fates() == ["waiting"]
    world.turn(60.0)
    assert [m.body["repeat"] for m in world.courier.messages] == [False, repeat]
    assert world.courier.messages[0].id == world.courier.messages[1].id


def test_tries_grow_further_apart_and_end(world: World) -> None:
    world.events.add(event(1))
    world.courier.failures = [Retry("away") for _ in range(200)]
    world.turn()
    tried = []
    while world.fates() == ["waiting"]:
        tried.append(world.clock.now())
        count = len(world.courier.messages)
        while len(world.courier.messages) == count:
            world.turn(600.0)
    pauses = [b - a for a, b in pairwise(tried)]
    assert pauses[0] <= 600 * SECOND
    assert max(pauses) >= 30 * 60 * SECOND
    assert world.fates() == ["failed"]
    assert GIVE_UP <= world.clock.now() - START <= GIVE_UP + DAY
    assert "given up" in world.notices.recent(None, 1)[0].said


def test_what_is_asked_to_come_later_comes_later(world: World) -> None:
    world.events.add(event(1))
    world.courier.failures = [Retry("busy", after=1000.0)]
    world.turn()
    world.turn(990.0)
    assert len(world.courier.messages) == 1
    world.turn(20.0)
    assert len(world.courier.messages) == 2


def test_what_is_refused_for_good_is_written_down(world: World) -> None:
    world.events.add(event(1))
    world.courier.failures = [Reject("404")]
    world.turn()
    (one,) = world.notices.recent(None, 10)
    assert (one.fate, one.said) == ("failed", "404")
    assert world.metrics.notices.labels(TARGET, "failed")._value.get() == 1


def test_alerts_of_a_backlog_come_as_one_summary(world: World) -> None:
    old = [
        event(n, alert=f"old-{n}", retroactive=True, since=START - DAY + n, time=START - DAY + n) for n in range(1, 40)
    ]
    world.events.add(*old, event(40, alert="new"))
    world.turn()
    (message,) = world.courier.messages
    assert [a["alert_id"] for a in message.body["alerts"]] == ["new"]
    summary = message.body["retroactive"]
    assert (summary["count"], summary["rules"], len(summary["alerts"])) == (39, {"co2-high": 39}, 20)
    assert "39 in the past" in message.text


def test_what_was_logged_long_ago_is_no_news(world: World) -> None:
    """The server was off for days, and with it whoever would have told."""
    world.clock.advance((STALE + DAY) / SECOND)
    world.events.add(event(1), event(2, "resolved", log_time=world.clock.now()))
    world.turn()
    assert world.courier.told == ["a resolved"]
    assert world.fates() == ["stale", "sent"]


@pytest.mark.parametrize(
    ("interest", "told"),
    [
        (Interest(), 2),
        (Interest(severity="critical"), 1),
        (Interest(events=frozenset({"acknowledged"})), 0),
        (Interest(rule="co2-*", zone="Z*"), 1),
        (Interest(device="other"), 0),
    ],
)
def test_a_target_hears_what_it_wants(interest: Interest, told: int) -> None:
    world = World()
    world.notifier = world.made(interest)
    world.notifier.read()
    world.events.add(event(1, zone="Z1"), event(2, severity="warning", rule="humid", zone="A"))
    world.turn()
    assert len(world.courier.told) == told


def test_a_target_that_fails_holds_its_own_messages_only(world: World) -> None:
    world.events.add(event(1))
    world.courier.failures = [Retry("away")]
    world.turn()
    assert [n.id for n in world.notices.waiting("email.night", 10)] == []


def test_a_message_reads_well() -> None:
    fired = notice(1, news={**event(1), "message": "co2 of d is 1200"})
    message = compose("id", [fired], START)
    assert message.subject == "critical · fired · co2 of d is 1200"
    assert message.body["alerts"][0]["since"].endswith("Z")
    acknowledged = notice(2, news=event(2, "acknowledged", who="ann", why="on my way"))
    both = compose("id", [fired, acknowledged], START)
    assert "acknowledged by ann: on my way" in both.text
    assert both.subject.endswith("and 1 more")
