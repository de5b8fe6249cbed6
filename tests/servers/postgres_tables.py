"""A database of PostgreSQL with Sonde's tables, and connections to it. The tables are made once a test process, and copied."""

import os
from collections.abc import Iterator
from itertools import count

import pytest

from sonde.store.postgres.connections import Connections
from sonde.store.postgres.migrate import upgrade
from tests.servers.postgres import PostgresServer

_numbers = count(1)


@pytest.fixture(scope="session")
def with_tables(postgres: PostgresServer) -> str:
    """The name of a database with Sonde's tables, of which others are copies."""
    name = f"tables_{os.getpid()}"
    postgres.execute(f"create database {name} owner sonde")
    upgrade(postgres.url(name))
    return name


@pytest.fixture
def tables(postgres: PostgresServer, with_tables: str) -> Iterator[str]:
    """The address of a database with Sonde's tables."""
    name = f"{with_tables}_{next(_numbers)}"
    postgres.execute(f"create database {name} owner sonde template {with_tables}")
    yield postgres.url(name)
    postgres.execute(f"drop database if exists {name} with (force)")


@pytest.fixture
def connections(tables: str) -> Iterator[Connections]:
    """Connections to a database with Sonde's tables."""
    connections = Connections(tables, most=4)
    yield connections
    connections.close()
