"""Port ``Notices`` in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sonde.control.postgres.database import SECONDS, Database
from sonde.notice import Notice

_KEPT: Final = 10_000
"""Settled notices that are remembered, the newest ones."""

_ADD: Final = """
insert into control.notices (id, target, fate, notice)
select * from unnest(%s::text[], %s::text[], %s::text[], %s::bytea[]) on conflict (id) do nothing
"""
_REACHED: Final = """
insert into control.notice_places (target, log, partition, "offset")
select %s, %s, * from unnest(%s::int[], %s::bigint[])
on conflict (target, log, partition) do update set "offset" = excluded."offset"
"""
_FORGET: Final = """
delete from control.notices where fate <> 'waiting' and number <= (
  select number from control.notices where fate <> 'waiting' order by number desc limit 1 offset %s)
"""
_UPDATE: Final = """
update control.notices n set fate = u.fate, notice = u.notice
from unnest(%s::text[], %s::text[], %s::bytea[]) as u (id, fate, notice) where n.id = u.id
"""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Notice).decode


class PostgresNotices:
    """One program makes notices of a target at a time, any may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def places(self, target: str, log: str) -> Mapping[int, int]:
        query = 'select partition, "offset" from control.notice_places where target = %s and log = %s'
        with self._database.transaction(SECONDS) as db:
            return {int(partition): int(offset) for partition, offset in db.execute(query, (target, log))}

    def add(self, target: str, log: str, places: Mapping[int, int], notices: Sequence[Notice]) -> None:
        new = [list(column) for column in zip(*((n.id, n.target, n.fate, _encode(n)) for n in notices), strict=True)]
        with self._database.transaction(SECONDS) as db:
            if new:
                db.execute(_ADD, new)
            db.execute(_REACHED, (target, log, list(places), list(places.values())))
            db.execute(_FORGET, (_KEPT,))

    def waiting(self, target: str, limit: int) -> Sequence[Notice]:
        query = "select notice from control.notices where target = %s and fate = 'waiting' order by number limit %s"
        with self._database.transaction(SECONDS) as db:
            return [_decode(notice) for (notice,) in db.execute(query, (target, limit))]

    def update(self, notices: Sequence[Notice]) -> None:
        rows = sorted((n.id, n.fate, _encode(n)) for n in notices)
        if rows:
            with self._database.transaction(SECONDS) as db:
                db.execute(_UPDATE, [list(column) for column in zip(*rows, strict=True)])

    def recent(self, target: str | None, limit: int) -> Sequence[Notice]:
        query = "select notice from control.notices where %s::text is null or target = %s order by number desc limit %s"
        with self._database.transaction(SECONDS) as db:
            return [_decode(notice) for (notice,) in db.execute(query, (target, target, limit))]

    def close(self) -> None:
        """The database is closed by whoever opened it."""
