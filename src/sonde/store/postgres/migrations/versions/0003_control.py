"""The control database: tokens, sessions, audit, notices. Moments are microseconds since 1970, UTC."""

from typing import Final

from sonde.store.postgres.migrations import run

revision = "0003"
down_revision = "0002"

TOKENS: Final = """
create table control.state (number bigint not null);  -- counts changes of tokens and sessions: who remembers them looks here
insert into control.state values (1);
create table control.tokens (
  digest bytea primary key, id text not null unique, name text not null, scopes text[] not null, devices text[] not null,
  node text not null, expires bigint, created bigint not null, last_used bigint, revoked boolean not null
);
create index tokens_name on control.tokens (name);
create table control.sessions (
  digest bytea primary key, id text not null unique, kind text not null, credential_id text not null, expires bigint not null,
  created bigint not null, last_used bigint, address text not null, last_address text not null default '', agent text not null
);
create index sessions_expire on control.sessions (expires);
create index sessions_credential on control.sessions (credential_id);
"""

AUDIT: Final = """
create table control.audit (number bigint primary key, act bytea not null, hash bytea not null);
create table control.audit_ends (
  start bigint not null, start_hash bytea not null, head bigint not null, head_hash bytea not null
);
insert into control.audit_ends values (0, decode(repeat('00', 32), 'hex'), 0, decode(repeat('00', 32), 'hex'));
"""

NOTICES: Final = """
create table control.notices (
  number bigint generated always as identity primary key, id text not null unique, target text not null, fate text not null,
  notice bytea not null
);
create index notices_wait on control.notices (target, fate, number);
create table control.notice_places (
  target text not null, log text not null, partition integer not null, "offset" bigint not null,
  primary key (target, log, partition)
);
"""


def upgrade() -> None:
    for script in (TOKENS, AUDIT, NOTICES):
        run(script)
