"""The documentation of the api and its metrics cannot drift: every name stands there, and every example is run."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric

from sonde.metrics import Metrics
from tests.api_world import build, client_of, filled_store

DOCS = Path(__file__).parents[1] / "docs"
API = (DOCS / "http-api.md").read_text()
METRICS = (DOCS / "metrics.md").read_text()
DOCUMENT = build(lambda: pytest.fail("not asked")).app.openapi()
SECTIONS = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", API, flags=re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(r"```sh\n(curl [^`]*?)\n```\n\n```json\n(.*?)\n```", API, flags=re.DOTALL)
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def test_every_route_stands_in_the_docs_and_no_other() -> None:
    assert set(SECTIONS) == {title for title, _ in OPERATIONS}


@pytest.mark.parametrize(("title", "operation"), OPERATIONS, ids=[title for title, _ in OPERATIONS])
def test_every_parameter_of_a_route_is_named(title: str, operation: dict[str, Any]) -> None:
    names = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
    named = set(re.findall(r"`(\w+)[`=]", SECTIONS[title]))
    assert names <= named


def test_every_status_is_explained() -> None:
    statuses = {
        s
        for _, o in OPERATIONS
        for s, r in o["responses"].items()
        if "application/problem+json" in r.get("content", {})
    }
    assert statuses <= set(re.findall(r"^\| (\d{3}) \|", API, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = filled_store(tmp_path_factory.mktemp("store"))
    with client_of(build(lambda: store)) as client:
        yield client
    store.close()


def test_there_are_examples_of_nearly_every_question() -> None:
    assert len(EXAMPLES) >= 18


@pytest.mark.parametrize(("command", "expected"), EXAMPLES)
def test_every_example_gives_what_the_docs_say(api: httpx.Client, command: str, expected: str) -> None:
    words = shlex.split(command.replace("\\\n", " "))
    path = words[1].removeprefix("http://localhost:8000")
    options = dict(zip(words[2::2], words[3::2], strict=True))
    response = api.post(path, json=json.loads(options["-d"])) if "-d" in options else api.get(path)
    assert response.json() == json.loads(expected)


def families() -> dict[str, Metric]:
    found = {}
    for family in Metrics().registry.collect():
        found[f"{family.name}_total" if family.type == "counter" else family.name] = family
    return found


def rows() -> dict[str, list[str]]:
    """The table rows of the metrics, by name."""
    lines = re.findall(r"^\| `(sonde_\w+)` \| (.*) \|$", METRICS, flags=re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in lines}


def test_every_metric_stands_in_the_docs_and_no_other() -> None:
    assert set(rows()) == set(families())


@pytest.mark.parametrize("name", families())
def test_a_metric_is_described_as_it_is(name: str) -> None:
    kind = families()[name].type
    assert rows()[name][0] == kind
    assert all(rows()[name][-2:]), "what it counts and what to do"


def test_the_labels_of_metrics_are_right() -> None:
    metrics = Metrics()
    for metric in vars(metrics).values():
        labels = getattr(metric, "_labelnames", None)
        if labels is not None:
            name = metric.describe()[0].name
            cells = rows().get(name) or rows()[f"{name}_total"]
            assert set(re.findall(r"`(\w+)`", " ".join(cells[1:-2]))) == set(labels), name
