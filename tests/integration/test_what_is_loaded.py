"""What a command loads, and what it must not: each library costs memory and time in every process."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integration.commands import environment

WEB: Final = {"fastapi", "starlette", "uvicorn", "uvloop", "websockets", "anyio"}
SHARED: Final = {"confluent_kafka", "psycopg", "alembic", "sonde.log.kafka", "sonde.store.postgres"}
FILES: Final = {"duckdb", "sonde.store.duckdb"}
STATIONS: Final = {"sonde.sink", "sonde.process", "sonde.api", "sonde.notify", "sonde.log", "sonde.store"}
BESIDE: Final = {
    "numpy.testing",
    "numpy.ma",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.flight",
    "pyarrow.orc",
    "unittest",
    "IPython",
}
ARROW: Final = {"pyarrow.compute", "pyarrow.parquet", "pyarrow.csv", "pyarrow.fs"}

NOT_FOR: Final = {
    "app": {"numpy", "pyarrow", "pydantic", "rich", "structlog", "apsw", "cryptography", *WEB, *FILES, *SHARED},
    "node": {*WEB, *FILES, *SHARED, *STATIONS, *BESIDE, *ARROW},
    "sink": {*FILES, *SHARED, *BESIDE},
    "processor": {*FILES, *SHARED, *BESIDE},
    "api": {*FILES, *SHARED, *BESIDE},
    "up": {*SHARED, *BESIDE},
    **{small: {*WEB, *FILES, *SHARED, *BESIDE} for small in ("token", "outbox", "sql", "config", "init")},
}
"""By the module of a command; ``app`` is what ``sonde --help`` loads."""


def run(code: str, tmp_path: Path) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("command", NOT_FOR)
def test_a_command_loads_only_what_it_needs(command: str, tmp_path: Path) -> None:
    loaded = set(run(f"import sonde.cli.{command}, sys; print(*sorted(sys.modules))", tmp_path).split())
    needless = sorted(NOT_FOR[command] & loaded)
    assert not needless, f"sonde {command} loads {', '.join(needless)}"


def test_pages_of_libraries_are_given_back_and_come_again(tmp_path: Path) -> None:
    code = """
import sonde.cli.node
from sonde.assemble.pages import give_back_pages
from sonde.reading import Batch, decode, encode

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

batch = Batch.build(device=["d"], metric=["m"], time=[1], value=[1.0])
before, given = resident(), encode(batch)
give_back_pages()
after = resident()
assert encode(batch) == given and len(decode(given)) == 1
print(before - after)
"""
    assert int(run(code, tmp_path)) > 10_000_000
