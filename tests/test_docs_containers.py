"""``compose.yaml`` and ``Dockerfile`` name only what is there: commands and options, settings, paths, ports, files, secrets."""

import base64
import fnmatch
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.main import get_command

from sonde.cli.app import VERBS
from sonde.config import Settings, load

ROOT: Final = Path(__file__).parents[1]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
SONDE: Final = {name: service for name, service in SERVICES.items() if service["image"] == "sonde"}
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
HEALTH: Final = re.compile(r"http://127\.0\.0\.1:(\d+)(/health/\w+)")


def instructions() -> Iterator[tuple[str, str]]:
    """Those of the Dockerfile, each with its lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        yield name, rest.strip()


def of_kind(kind: str) -> list[str]:
    return [rest for name, rest in instructions() if name == kind]


def settings_of(service: Mapping[str, Any], folder: Path) -> Settings:
    """What a service runs with, its secrets made up; nothing may be wrong."""
    secret = folder / "secret"
    secret.write_text(base64.b64encode(bytes(32)).decode())
    given = {name: str(secret) if name.endswith("_FILE") else str(v) for name, v in service["environment"].items()}
    loaded = load(None, given)
    assert not loaded.faults
    assert not loaded.warnings
    return loaded.settled()


def commands_of(service: Mapping[str, Any]) -> list[list[str]]:
    """The commands of Sonde that a service runs, in words."""
    if "entrypoint" not in service:
        return [service["command"]]
    script = "\n".join(service["command"])
    return [found.split() for found in re.findall(r"\bsonde ([a-z][^>\n;]*)", script)]


@pytest.mark.parametrize("name", SONDE)
def test_a_service_has_settings_that_are_right(name: str, tmp_path: Path) -> None:
    settings = settings_of(SONDE[name], tmp_path)
    if name != "node":
        assert settings.topic is not None
        brokers = [server.partition(":") for server in settings.topic.servers.split(",")]
        assert {host for host, _, _ in brokers} <= set(SERVICES)
        assert all(f":{port}," in SERVICES[host]["environment"]["KAFKA_LISTENERS"] for host, _, port in brokers)
        assert settings.database is not None
        assert "@postgres/" in settings.database.get_secret_value()


@pytest.mark.parametrize("name", SONDE)
def test_a_service_runs_commands_that_are_there(name: str) -> None:
    for words in [*commands_of(SONDE[name]), *_checks(SONDE[name])]:
        assert words[0] in VERBS, words
        command: Any = get_command(importlib.import_module(f"sonde.cli.{words[0]}").app)
        inside = getattr(command, "commands", {})
        if len(words) > 1 and words[1] in inside:
            command = inside[words[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


def _checks(service: Mapping[str, Any]) -> list[list[str]]:
    test = service["healthcheck"].get("test", [])
    return [test[2:]] if test[1:2] == ["sonde"] else []


def test_what_a_service_names_is_defined() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"]), name
        for value in service.get("environment", {}).values():
            path = Path(str(value))
            if str(value).startswith("/run/secrets/"):
                assert path.name in service["secrets"], (name, value)
            elif str(value).startswith("/run/sonde/"):
                assert any(volume.split(":")[1] == str(path.parent) for volume in service["volumes"]), (name, value)


def test_what_waits_for_health_waits_for_something_that_tells_it() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert SERVICES[other]["healthcheck"]["test"], (name, other)
            else:
                assert SERVICES[other]["restart"] == "no", (name, other)


def test_health_is_asked_where_it_is_told() -> None:
    told = (ROOT / "docs/http-api.md").read_text()
    asked = [
        HEALTH.search(json.dumps(service["healthcheck"]))
        for name, service in SONDE.items()
        if name not in {"node", "setup"}
    ]
    for found in [*asked, HEALTH.search(DOCKERFILE)]:
        assert found is not None
        assert found[1] == of_kind("EXPOSE")[0]
        assert found[2] in told


def test_ports_are_those_that_are_listened_on_and_reach_this_machine_only(tmp_path: Path) -> None:
    seen = set()
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            address, outer, inner = port.split(":")
            assert address == "127.0.0.1"
            assert int(inner) == settings_of(service, tmp_path).server.port
            assert "outside" in service["networks"]
            seen.add(outer)
    assert len(seen) == 3


def test_the_node_finds_what_it_names_there(tmp_path: Path) -> None:
    node = settings_of(SONDE["node"], tmp_path).node
    for role, url in (("sink", node.sink), ("api", node.api)):
        host = re.fullmatch(r"http://([\w-]+):8000", url)
        assert host is not None
        servers = [service for name, service in SONDE.items() if re.fullmatch(rf"{role}(-\d)?", name)]
        assert servers
        for service in servers:
            networks = service["networks"]
            aliases = networks["inside"]["aliases"] if isinstance(networks, dict) else [role]
            assert host[1] in aliases
            assert host[1] in settings_of(service, tmp_path).server.names


def test_no_secret_stands_in_a_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|KEY$|KEY_FILE", key):
                assert key.endswith("_FILE"), (name, key)
                assert str(value).startswith("/run/"), (name, key)
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())


def test_what_is_promised_is_there() -> None:
    kinds = [re.sub(r"-\d+$", "", name) for name in SERVICES]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "kafka": 3,
        "postgres": 1,
        "setup": 1,
        "sink": 2,
        "processor": 2,
        "api": 1,
        "node": 1,
    }
    environments = [SERVICES[f"kafka-{n}"]["environment"] for n in (1, 2, 3)]
    assert [environment["KAFKA_NODE_ID"] for environment in environments] == [1, 2, 3]
    for environment in environments:
        assert environment["KAFKA_ADVERTISED_LISTENERS"].endswith(f"kafka-{environment['KAFKA_NODE_ID']}:9092")
        assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == 2
    assert all(service["image"] == "sonde" or ":" in service["image"] for service in SERVICES.values())
    for service in SONDE.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_the_image_runs_as_nobody_in_particular_and_is_made_in_stages() -> None:
    bases = of_kind("FROM")
    assert len(bases) == 2
    assert all(re.match(r"[\w./-]+:\d[\w.-]*", base) for base in bases)
    assert bases[0].split()[0] == bases[1]  # the interpreter of the environment is the one that made it
    last = [name for name, _ in instructions()]
    last = last[len(last) - last[::-1].index("FROM") :]
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert of_kind("USER") == ["10001:10001"]
    assert not of_kind("ADD")
    assert json.loads(of_kind("ENTRYPOINT")[0]) == ["sonde"]
    assert json.loads(of_kind("CMD")[0])[0] in VERBS
    assert "sudo" not in DOCKERFILE
    assert "apt-get" not in DOCKERFILE
    assert all("--no-cache-dir" in run for run in of_kind("RUN") if "pip install" in run or "pip wheel" in run)


def test_the_image_is_made_of_what_is_sent_to_the_engine() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    sent = [line[1:] for line in ignored if line.startswith("!")]
    sources = [word for copy in of_kind("COPY") if not copy.startswith("--from") for word in copy.split()[:-1]]
    assert sorted(sources) == sorted(sent)
    assert all((ROOT / source).exists() for source in sources)
    assert any(fnmatch.fnmatch("src/sonde/__pycache__", pattern) for pattern in ignored)


def test_the_image_sets_only_what_sonde_knows() -> None:
    variables = dict(word.split("=", 1) for line in of_kind("ENV") for word in line.split())
    own = {name: value for name, value in variables.items() if name.startswith("SONDE_") and name != "SONDE_DATA"}
    loaded = load(None, own)
    assert not loaded.faults
    assert variables["SONDE_DATA"] in of_kind("VOLUME")


def test_what_runs_is_locked_as_what_is_tested() -> None:
    pins = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
    run, tested = (pins.findall((ROOT / name).read_text()) for name in ("requirements.run.lock", "requirements.lock"))
    assert set(run) <= set(tested)
    wanted = re.findall(r'^  "([\w-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {"confluent-kafka", "psycopg", "alembic", *wanted} <= {name for name, _ in run}
