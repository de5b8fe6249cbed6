"""A store as the api asks it: with the configuration's limits."""

from dataclasses import dataclass, replace

from sonde.changes import Changes, State
from sonde.clock import Micros
from sonde.ports import Store
from sonde.question import Answer, History, Question, Sql


@dataclass(frozen=True, slots=True)
class AskedStore:
    """Port ``Store`` in front of another one. Raw history is not shown from before ``visible_from``."""

    store: Store
    sql_seconds: float
    sql_rows: int
    visible_from: Micros = 0

    def ask(self, question: Question) -> Answer:
        if isinstance(question, Sql):
            question = replace(question, seconds=self.sql_seconds, rows=self.sql_rows)
        elif isinstance(question, History) and (question.since or 0) < self.visible_from:
            question = replace(question, since=self.visible_from)
        return self.store.ask(question)

    def load(self, partition: int = 0) -> State:
        return self.store.load(partition)

    def commit(self, changes: Changes) -> None:
        self.store.commit(changes)

    def maintain(self) -> bool:
        return self.store.maintain()

    def close(self) -> None:
        self.store.close()
