"""Moving a control database from its file into PostgreSQL: tokens, sessions, audit trail, notices. All of it, or nothing."""

from pathlib import Path
from typing import Any, Final

import msgspec

from sonde.control.file import ControlFile
from sonde.control.postgres.database import Connection, Database
from sonde.control.postgres.rows import changed
from sonde.token import session_id

_SECONDS: Final = 300.0
_TOKENS: Final = "select digest, id, name, scopes, devices, node, expires, created, last_used, revoked from tokens"
_SESSIONS: Final = """
select digest, kind, credential_id, expires, created, last_used, address, last_address, agent from sessions
"""
_QUERIES: Final = {
    "tokens": _TOKENS,
    "sessions": _SESSIONS,
    "acts": "select number, cast(act as blob), cast(hash as blob) from audit order by number",
    "ends": "select start, cast(start_hash as blob), head, cast(head_hash as blob) from audit_ends",
    "notices": "select id, target, fate, notice from notices order by number",
}


def move(path: Path, database: Database) -> int | None:
    """Copy all that the file at ``path`` keeps into a database that has nothing of it yet; how many tokens. None, and nothing
    is changed, if the database has tokens or acts of its own."""
    file = ControlFile(path)
    try:
        with file.errors(), file.transaction():
            rows = {name: list(file.db.execute(query)) for name, query in _QUERIES.items()}
    finally:
        file.close()
    with database.transaction(_SECONDS) as db:
        changed(db)  # one at a time
        if db.execute("select 1 from control.tokens union all select 1 from control.audit limit 1").fetchone():
            return None
        _write(db, rows)
    return len(rows["tokens"])


def _write(db: Connection, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    tokens = [(*row[:3], _texts(row[3]), _texts(row[4]), *row[5:9], bool(row[9])) for row in rows["tokens"]]
    sessions = [(row[0], session_id(row[0]), *row[1:]) for row in rows["sessions"]]
    with db.cursor() as cursor:
        for into, some in (
            ("tokens (digest, id, name, scopes, devices, node, expires, created, last_used, revoked)", tokens),
            (
                "sessions (digest, id, kind, credential_id, expires, created, last_used, address, last_address, agent)",
                sessions,
            ),
            ("audit (number, act, hash)", rows["acts"]),
            ("notices (id, target, fate, notice)", rows["notices"]),
        ):
            with cursor.copy(f"copy control.{into} from stdin".encode()) as copy:
                for row in some:
                    copy.write_row(row)
    for ends in rows["ends"]:
        db.execute("update control.audit_ends set start = %s, start_hash = %s, head = %s, head_hash = %s", ends)


def _texts(json: str) -> list[str]:
    return msgspec.json.decode(json, type=list[str])
