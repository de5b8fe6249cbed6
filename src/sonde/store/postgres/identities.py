"""Who was first, in PostgreSQL: one round trip for all claims of a step.

A batch asks for what is known of its keys, and only what is new is written. Two that claim at once, a processor and one that
has lost its partition and does not know it yet, read the same log: whoever writes first, the earlier place stays.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sonde.clock import Micros
from sonde.ports import Claim
from sonde.store.postgres.connections import Connection, Connections
from sonde.store.postgres.steps import number

_FIRST: Final = """
with claimed as materialized (
  select distinct on (key) * from unnest(%b::bytea[], %b::bigint[], %b::int[], %b::bytea[]) as c (key, place, position, digest)
  order by key, place, position
), known as materialized (
  select k.key, k.place, k.position, k.digest from claimed c join store.identities k on k.key = c.key and k.partition = %b
), added as (
  insert into store.identities as k (partition, key, place, position, digest, log_time)
  select %b, c.key, c.place, c.position, c.digest, %b from claimed c left join known on known.key = c.key
  where known.key is null or (c.place, c.position) < (known.place, known.position)
  order by c.key
  on conflict (partition, key) do update
  set place = excluded.place, position = excluded.position, digest = excluded.digest, log_time = excluded.log_time
  where (excluded.place, excluded.position) < (k.place, k.position)
  returning 1
)
select key, place, position, digest from known union all select null, count(*), 0, null from added
"""
_FIND: Final = """
select key, place, position, digest from store.identities where partition = %b and key = any(%b::bytea[])
"""
_PARTITIONS: Final = "select distinct partition from store.identities order by partition"
_OLDEST: Final = "select min(log_time) from store.identities where partition = %s"
_KEPT_FROM: Final = """
select log_time from store.identities where partition = %s order by log_time desc offset %s limit 1
"""
_DROP: Final = """
delete from store.identities where ctid = any(array(
  select ctid from store.identities where partition = %s and log_time < %s order by log_time limit %s))
"""
_DROPPED_AT_ONCE: Final = 20_000
_DROPS: Final = 500
_SECONDS: Final = 60.0


class PostgresIdentities:
    """:class:`sonde.ports.Identities` in a table, durable when a call returns. Any thread may call it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def first(self, partition: int, claims: Sequence[Claim], log_time: Micros) -> Sequence[Claim]:
        """See :meth:`sonde.ports.Identities.first`."""
        if not claims:
            return []
        mine = _earliest(claims)
        with self._connections.connection() as db:
            firsts = _claimed(db, partition, mine, log_time)
        return [firsts[claim.key] for claim in claims]

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence[Claim | None]:
        """See :meth:`sonde.ports.Identities.find`."""
        if not keys:
            return []
        with self._connections.connection() as db:
            found = _found(db, partition, keys)
        return [found.get(key) for key in keys]

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """See :meth:`sonde.ports.Identities.forget`. In small transactions, so that nobody waits, and at most ten million at
        once; without a partition, ``keep`` is for each."""
        with self._connections.transaction(_SECONDS) as db:
            chosen = [partition] if partition is not None else [row[0] for row in db.execute(_PARTITIONS)]
        return min([self._forget(before, keep, one) for one in chosen], default=before)

    def close(self) -> None:
        """The connections are closed by whoever opened them."""

    def _forget(self, before: Micros, keep: int, partition: int) -> Micros:
        with self._connections.transaction(_SECONDS) as db:
            cutoff = max(before, number(db, _KEPT_FROM, (partition, keep)))
        for _ in range(_DROPS):
            with self._connections.transaction(_SECONDS) as db:
                if db.execute(_DROP, (partition, cutoff, _DROPPED_AT_ONCE)).rowcount < _DROPPED_AT_ONCE:
                    break
        with self._connections.transaction(_SECONDS) as db:
            return number(db, _OLDEST, (partition,)) or before


def _earliest(claims: Sequence[Claim]) -> Mapping[bytes, Claim]:
    """Of each key the first claim, in the order of the log."""
    mine: dict[bytes, Claim] = {}
    for claim in claims:
        other = mine.setdefault(claim.key, claim)
        if (claim.offset, claim.position) < (other.offset, other.position):
            mine[claim.key] = claim
    return mine


def _claimed(db: Connection, partition: int, mine: Mapping[bytes, Claim], log_time: Micros) -> Mapping[bytes, Claim]:
    """Write down what is new; who was first."""
    some = mine.values()
    columns = [c.key for c in some], [c.offset for c in some], [c.position for c in some], [c.digest for c in some]
    *known, (_, added, _, _) = db.execute(_FIRST, (*columns, partition, partition, log_time), binary=True).fetchall()
    earlier = {row[0]: Claim(*row) for row in known if (row[1], row[2]) <= (mine[row[0]].offset, mine[row[0]].position)}
    if len(earlier) + added < len(mine):  # somebody else wrote at the same moment
        return _found(db, partition, list(mine))
    return {**mine, **earlier}


def _found(db: Connection, partition: int, keys: Sequence[bytes]) -> dict[bytes, Claim]:
    return {row[0]: Claim(*row) for row in db.execute(_FIND, (partition, list(keys)), binary=True)}
