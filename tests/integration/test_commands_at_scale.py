"""Every command that there is, where log and store are Kafka and PostgreSQL: each works, or says in a sentence what to do.

None of them writes into the data directory what belongs into the database, and none ends with a traceback. The table in
``docs/scaling.md`` says the same in words.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.crash.fleet import Fleet, fleet_of
from tests.crash.road import wait_for
from tests.integration.commands import sonde
from tests.servers.kafka import Kafka
from tests.test_docs_cli import COMMANDS

DOCS: Final = Path(__file__).parents[2] / "docs" / "scaling.md"


class Case(NamedTuple):
    """How a command is called, with which code it ends, and what it says. ``HERE`` is the data directory of a server,
    ``NOWHERE`` one that is not there: what needs no server works without one."""

    words: str
    says: str
    code: int = 0


FOR_EVER: Final = {"sonde up", "sonde sink", "sonde processor", "sonde api", "sonde node"}
"""They run until they are stopped, and are tested by running (``tests/crash/test_scale_faults.py``)."""

CASES: Final = {
    "sonde node invite": Case("node invite n1 --data HERE", "sonde node join http"),
    "sonde node join": Case("node join http://127.0.0.1:9 sonde_x --data EDGE", "it is not whole", 1),
    "sonde replay": Case("replay FILE --device rig --data HERE", "sent 3 readings"),
    "sonde status": Case("status --json --data HERE", '"log_end"'),
    "sonde doctor": Case("doctor --data NOWHERE", "PostgreSQL 15.*its tables have version"),
    "sonde sql": Case("sql SELECT --format json --data NOWHERE", r'\[\{"n": ?[1-9]\d*\}\]'),
    "sonde tail": Case("tail --data NOWHERE", "--url", 1),
    "sonde command": Case("command demo-device get_status --data HERE", "operational"),
    "sonde commands list": Case("commands list --data HERE", "get_status|no commands"),
    "sonde commands show": Case("commands show x --data HERE", "no command", 1),
    "sonde commands cancel": Case("commands cancel x --data HERE", "no command", 1),
    "sonde alert list": Case("alert list --state resolved --data HERE", "state|no such alerts"),
    "sonde alert show": Case("alert show x --data HERE", "no alert 'x'", 1),
    "sonde alert ack": Case("alert ack x --data HERE", "no alert 'x'", 1),
    "sonde alert shelve": Case("alert shelve x 1h --data HERE", "no alert 'x'", 1),
    "sonde rule list": Case("rule list --data HERE", "co2-high"),
    "sonde rule set": Case("rule set mine type=above metric=co2 threshold=5000 --data HERE", "set mine"),
    "sonde rule remove": Case("rule remove mine --data HERE", "removed mine"),
    "sonde rule preview": Case("rule preview type=above metric=temp threshold=1 --data HERE", "alert|fired"),
    "sonde token create": Case("token create mine --scope read --data NOWHERE", "sonde_"),
    "sonde token list": Case("token list --data NOWHERE", "mine.*read"),
    "sonde token revoke": Case("token revoke mine --data NOWHERE", "revoked 1"),
    "sonde token link": Case("token link --data HERE", "sign-in"),
    "sonde session list": Case("session list --data NOWHERE", "link"),
    "sonde session revoke": Case("session revoke admin --data NOWHERE", "ended"),
    "sonde audit show": Case("audit show --data NOWHERE", "token.revoke"),
    "sonde audit verify": Case("audit verify --data NOWHERE", "acts as written"),
    "sonde cert show": Case("cert show --data HERE", "no certificates"),
    "sonde cert renew": Case("cert renew --data HERE", "sonde init --tls", 1),
    "sonde log verify": Case("log verify --data NOWHERE", "partitions 4.*readings +[1-9].*sound"),
    "sonde log tail": Case("log tail --data NOWHERE", '"partition":'),
    "sonde log export": Case("log export OUT --data NOWHERE", r"exported [\d,]+ readings"),
    "sonde log import": Case("log import FILE --data HERE", "opened with this key", 1),
    "sonde log copy": Case("log copy --from EMPTY", "no log at", 1),
    "sonde notify list": Case("notify list --data NOWHERE", "nobody was told"),
    "sonde notify test": Case("notify test x --data NOWHERE", "nobody called 'x'", 1),
    "sonde keys list": Case("keys list --data NOWHERE", r"seals +\[log\] encryption_key +[1-9]"),
    "sonde keys add": Case("keys add --data NOWHERE", "into .log. encryption_key of all", 1),
    "sonde keys rotate": Case("keys rotate --data NOWHERE", "into .log. encryption_key of all", 1),
    "sonde keys retire": Case("keys retire x --data NOWHERE", "into .log. encryption_key of all", 1),
    "sonde outbox list": Case("outbox list --data HERE", "control"),
    "sonde outbox retry": Case("outbox retry --data HERE", "put back 0"),
    "sonde dlq list": Case("dlq list --data NOWHERE", "no dead letters"),
    "sonde dlq retry": Case("dlq retry --all --data NOWHERE", "sent 0"),
    "sonde purge": Case("purge --device rig --yes --data HERE", "purged 3 readings"),
    "sonde rebuild": Case("rebuild --data NOWHERE", "empty database", 1),
    "sonde backup": Case("backup OUT.d --data NOWHERE", "pg_dump", 1),
    "sonde restore": Case("restore NOWHERE --data EDGE.r", "no backup", 1),
    "sonde migrate": Case("migrate --data NOWHERE", "already"),
    "sonde init": Case("init NEW.ini", "wrote"),
    "sonde config check": Case("config check --data NOWHERE", "nothing is wrong"),
    "sonde config show": Case("config show --data NOWHERE", r"\[log\] url +kafka://"),
}


def test_every_command_is_tried() -> None:
    assert {*CASES, *FOR_EVER} == {*COMMANDS}


def test_every_command_stands_in_the_table() -> None:
    section = DOCS.read_text().partition("## Every command")[2].partition("\n## ")[0]
    first = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    verbs = set(re.findall(r"`(\w+)", first))
    assert verbs == {name.split()[1] for name in COMMANDS}


@pytest.mark.all
def test_every_command_works_or_says_what_to_do(tmp_path: Path, kafka: Kafka, database: str) -> None:
    (tmp_path / "in.csv").write_text("time,temp\n" + "".join(f"2026-01-01T00:00:0{n}Z,{n}\n" for n in range(3)))
    with fleet_of(tmp_path, kafka, database, up=1) as fleet:
        (server,) = fleet.processes
        _prepare(fleet, tmp_path)
        wrong = [fault for name, case in CASES.items() if (fault := _fault(fleet, tmp_path, name, case))]
        assert not wrong, "\n\n".join(wrong)
    assert not (tmp_path / "nowhere").exists()
    left = {path.name for path in server.data.iterdir()}
    assert not left & {"control.db", "log", "store", "keys.json"}, left


def test_a_command_without_the_settings_of_the_server_says_so(tmp_path: Path) -> None:
    sonde("token", "create", "x", "--scope", "read", "--data", str(tmp_path / "d"), cwd=tmp_path)
    announced = '{"url": "http://127.0.0.1:9", "pid": 1, "shared": true}'  # process 1 is always there
    (tmp_path / "d" / "server.json").write_text(announced)
    for words in (("token", "list"), ("sql", "select 1"), ("log", "verify")):
        done = sonde(*words, "--data", str(tmp_path / "d"), cwd=tmp_path, code=1)
        assert "SONDE_CONFIG" in done.stderr, words


def _prepare(fleet: Fleet, folder: Path) -> None:
    """The demo device and the simulator send by themselves."""
    (folder / "empty").mkdir()
    (folder / "empty" / "FORMAT").write_text('{"format": 1}')
    wait_for(lambda: bool(fleet.sql("select 1 from readings limit 1")), "a reading stored", 90)
    wait_for(
        lambda: b"get_status" in fleet.processes[0].ask("GET", "/command-templates")[2], "the demo device's profile", 60
    )


def _fault(fleet: Fleet, folder: Path, name: str, case: Case) -> str:
    """What is wrong with how a command behaved."""
    places = {
        "HERE": str(fleet.processes[0].data),
        "NOWHERE": str(folder / "nowhere"),
        "FILE": str(folder / "in.csv"),
        "OUT": str(folder / "out.jsonl"),
        "OUT.d": str(folder / "backups"),
        "NEW.ini": str(folder / "new.ini"),
        "EMPTY": str(folder / "empty"),
        "EDGE": str(folder / "edge"),
        "EDGE.r": str(folder / "restored"),
        "SELECT": "select count(*) as n from readings",
    }
    if name == "sonde purge":  # what was replayed has to be there
        wait_for(lambda: fleet.sql("select count(*) from readings where device = 'rig'") == [(3,)], "3 readings", 60)
    if name == "sonde status":  # it ends with 1 while the server is not ready
        wait_for(lambda: fleet.processes[0].ask("GET", "/health/ready")[0] == 200, "the server being ready", 60)
    words = [places.get(word, word) for word in case.words.split()]
    variables = {**fleet.environment, "DATABASE_URL": fleet.database}
    kept = {key: text for key, text in variables.items() if key.startswith(("SONDE_", "KAFKA_", "DATABASE_"))}
    try:
        done = sonde(*words, cwd=folder, code=case.code, timeout=120, **kept)
    except AssertionError as error:
        return f"{name}: {error}"
    said = done.stdout + done.stderr
    return "" if re.search(case.says, said, re.DOTALL) else f"{name}: {case.says!r} is not in {said}"
