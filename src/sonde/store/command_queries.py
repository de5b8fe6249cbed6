"""Questions about commands as SQL, as those of :mod:`sonde.store.queries`."""

# ruff: noqa: S608 - names of tables and columns are Sonde's own; values go as parameters

from typing import Final

from sonde.command import OVER, StepKind
from sonde.question import Commands, CommandSteps
from sonde.store.queries import Conditions, Query, moment

NOT_OVER: Final = (
    f"state not in ({', '.join(repr(str(s)) for s in sorted(OVER))}) and (state <> 'unknown' or finished_at is null)"
)
"""The condition that a command is not over."""
_STEP_RANK: Final = " ".join(f"when '{kind}' then {rank}" for rank, kind in enumerate(StepKind))


def commands(question: Commands) -> Query:
    conditions = Conditions().add("id = $id", id=question.id).add("device = $device", device=question.device)
    conditions.add("command = $command", command=question.command)
    match question.state:
        case None:
            pass
        case "open":
            conditions.add(NOT_OVER)
        case "queued":
            conditions.add("state in ('queued', 'handed')")
        case state:
            conditions.add("state = $state", state=state)
    conditions.add("accepted_at >= $since", since=None if question.since is None else moment(question.since))
    conditions.add("accepted_at < $until", until=None if question.until is None else moment(question.until))
    return Query(
        f"""select *, count(*) over () as total from store.commands{conditions}
        order by accepted_at desc, id limit $limit""",
        {**conditions.values, "limit": question.limit},
    )


def command_steps(question: CommandSteps) -> Query:
    conditions = Conditions().add("id = $id", id=question.id).add("device = $device", device=question.device)
    conditions.add("time >= $since", since=None if question.since is None else moment(question.since))
    conditions.add("time < $until", until=None if question.until is None else moment(question.until))
    order = "asc" if question.oldest_first else "desc"
    return Query(
        f"""select *, count(*) over () as total from store.happened{conditions}
        order by time {order}, id, case step {_STEP_RANK} end {order} limit $limit""",
        {**conditions.values, "limit": question.limit},
    )
