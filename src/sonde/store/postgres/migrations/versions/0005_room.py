"""Room in each page for all of its rows to be written once more.

A step that brings something for every series changes every row of a page in one transaction. Where the page has room for the
new ones, no index is touched, and the old ones make way for the next step's: measured, a third less time and WAL for each row,
and a smaller table, since rows no longer wander.
"""

from typing import Final

from sonde.store.postgres.migrations import run

revision = "0005"
down_revision = "0004"

ROOM: Final = """
alter table store.windows_by_partition set (fillfactor = 50);
alter table store.latest_by_partition set (fillfactor = 50);
"""


def upgrade() -> None:
    run(ROOM)
