"""What a user's SQL may be, and how long any question may run.

Two lines of defence stand behind the check of the text: the transaction is read-only, and the database has neither
files nor network (see :mod:`sonde.store.engine`).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import msgspec

from sonde.errors import Invalid, Problem
from sonde.store.engine import Connection, without_paths

_ALLOWED: Final = (
    "allowed is one SELECT (also WITH … SELECT, FROM … or VALUES) over readings, windows, alerts, devices, gaps"
)
_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "STATEMENT_NODE"})
_TABLE_FUNCTIONS: Final = frozenset(
    {"range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row", "histogram"}
)
_FUNCTIONS_OFF: Final = frozenset({"write_log", "nextval", "currval"})
LONGEST: Final = 100_000  # characters of SQL
PATIENCE: Final = 0.5  # seconds that a commit may take before a user's query makes way


def check_select(cursor: Connection, text: str) -> None:
    """:class:`Invalid` unless ``text`` is one SELECT that changes nothing and calls no function that is off."""
    if len(text) > LONGEST:
        raise _refused(f"longer than {LONGEST:,} characters")
    if "\0" in text:
        raise _refused(f"it holds a zero byte; {_ALLOWED}")
    try:
        statements = cursor.extract_statements(text)
    except duckdb.InterruptException:  # whoever stopped it says why
        raise
    except (duckdb.Error, ValueError) as error:
        raise _refused(without_paths(str(error))) from None
    if len(statements) != 1:
        raise _refused(f"it holds {len(statements)} statements; {_ALLOWED}")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise _refused(f"it is not a SELECT; {_ALLOWED}")
    _check_tree(_tree(cursor, statements[0].query))


def _tree(cursor: Connection, text: str) -> Any:
    try:
        rows = cursor.execute("select json_serialize_sql($text::varchar)", {"text": text}).fetchall()
    except duckdb.InterruptException:  # whoever stopped it says why
        raise
    except (duckdb.Error, ValueError) as error:
        raise _refused(without_paths(str(error))) from None
    tree = msgspec.json.decode(rows[0][0])
    if tree.get("error") or len(tree["statements"]) != 1:
        raise _refused(f"{tree.get('error_message', 'not one statement')}; {_ALLOWED}")
    return tree


def _check_tree(tree: Any) -> None:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            _check_node(node)
            waiting.extend(node.values())


def _check_node(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
        raise _refused(f"it changes data; {_ALLOWED}")
    if kind == "SHOW_REF":
        raise _refused(f"SHOW, DESCRIBE and SUMMARIZE are off; {_ALLOWED}")
    if kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise _refused(f"the function {name} is off; {_ALLOWED}")
    if node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _FUNCTIONS_OFF:
        raise _refused(f"the function {node['function_name']} is off; {_ALLOWED}")


def _refused(message: str) -> Invalid:
    return Invalid(Problem(None, "sql", message))


@dataclass(slots=True, eq=False)
class _Running:
    cursor: Connection
    deadline: float
    yields: bool
    stopped: str = ""


class Watch:
    """Stops queries that run too long, and those of users while a commit waits.

    One thread, which sleeps while nothing runs.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._running: set[_Running] = set()
        self._commit_since: float | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-watch", daemon=True)
        self._thread.start()

    @contextmanager
    def limit(self, cursor: Connection, seconds: float, *, yields: bool = False) -> Iterator["_Running"]:
        """Interrupt what ``cursor`` runs inside after ``seconds``, or when a commit waits for long and it ``yields``."""
        one = _Running(cursor, self._monotonic() + seconds, yields)
        with self._changed:
            self._running.add(one)
            self._changed.notify()
        try:
            yield one
        finally:
            with self._changed:
                self._running.discard(one)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """A commit goes on inside."""
        self._commit_since = self._monotonic()
        try:
            yield
        finally:
            self._commit_since = None

    def make_way(self) -> bool:
        """Interrupt all queries of users at once; whether there were any."""
        with self._changed:
            yielding = [one for one in self._running if one.yields]
            for one in yielding:
                self._stop(one, "a commit needed what it held")
        return bool(yielding)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now, since = self._monotonic(), self._commit_since
                waited = now - since if since is not None else 0.0
                for one in self._running:
                    if now >= one.deadline:
                        self._stop(one, "it took too long")
                    elif one.yields and waited > PATIENCE:
                        self._stop(one, "a commit waited behind it")
                self._changed.wait(0.05 if self._running else None)

    @staticmethod
    def _stop(one: _Running, why: str) -> None:
        one.stopped = why
        one.cursor.interrupt()  # again each time: one that comes between two statements is not seen
