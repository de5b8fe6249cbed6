"""What anonymous readings have been seen; and what processors committed last, for other processes to hear of."""

from typing import Final

from sonde.store.postgres.migrations import run

revision = "0004"
down_revision = "0003"

IDENTITIES: Final = """
create table store.identities (
  partition integer not null, key bytea not null, place bigint not null, position integer not null, digest bytea not null,
  log_time bigint not null, primary key (partition, key)
);
alter table store.identities alter column key set storage plain, alter column digest set storage plain;
create index identities_age on store.identities (partition, log_time);
"""

STEPS: Final = """
create table store.steps (
  log text not null, partition integer not null, "offset" bigint not null, content bytea not null,
  at timestamptz not null default now(), written xid8 not null default pg_current_xact_id(),
  primary key (log, partition, "offset")
);
create index steps_written on store.steps (written);
create index steps_at on store.steps (at);
"""


def upgrade() -> None:
    for script in (IDENTITIES, STEPS):
        run(script)
