"""What the store knows of commands: where a dispatcher begins, and what is over long since."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa

from sonde.api.commands.known import OPEN_MOST
from sonde.api.commands.owners import Owners
from sonde.command import Board, Command, command_of_row
from sonde.ports import Store
from sonde.question import Commands, Profiles


def beginning(store: Store, log: str, partition: int) -> tuple[Board, Owners, int]:
    """The commands that are not over, who has which device, and the offset up to which the store knows the log."""
    commands = store.ask(Commands(state="open", limit=2 * OPEN_MOST))
    profiles = store.ask(Profiles())
    offset = commands.cursor.offsets.get(partition, 0) if commands.cursor.log == log else 0
    board, owners = Board(map(command_of_row, _rows(commands.rows))), Owners()
    for row in _rows(profiles.rows):
        owners.declare(msgspec.json.decode(row["profile"]), row["node"])
    return board, owners, offset


def find(store: Store, id_: str) -> Command | None:
    """A command, old ones too."""
    rows = _rows(store.ask(Commands(id=id_, limit=1)).rows)
    return command_of_row(rows[0]) if rows else None


def _rows(table: pa.Table) -> list[Mapping[str, Any]]:
    """Rows, their times in microseconds."""
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return list(pa.table(columns, table.column_names).to_pylist())
