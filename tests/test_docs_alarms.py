"""The alarms that ship with Sonde speak of metrics and labels that there are, and the docs say what each means."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from sonde.metrics import Metrics

ROOT = Path(__file__).parents[1]
RULES = (ROOT / "examples" / "prometheus" / "alerts.yaml").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ALARMS = dict(re.findall(r"- alert: (\w+)\n((?:        .*\n?|\n)*)", RULES))
LABELS = {
    family.name + ending: set(metric._labelnames)
    for metric in vars(Metrics()).values()
    if isinstance(metric, MetricWrapperBase)
    for family in metric.describe()
    for ending in ("", "_total", "_count", "_sum", "_bucket")
}


def test_there_are_alarms() -> None:
    assert len(ALARMS) >= 10
    assert RULES.count("- alert:") == len(ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_whole_and_its_metrics_and_labels_exist(name: str) -> None:
    rule = ALARMS[name]
    (expression,) = re.findall(r"^ {8}expr: (.+)$", rule, re.MULTILINE)
    for metric in re.findall(r"\bsonde_\w+", expression):
        assert metric in LABELS, metric
        for labels in re.findall(metric + r"\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", labels)) <= LABELS[metric]
        assert set(re.findall(r"\$labels\.(\w+)", rule)) <= LABELS[metric]
    assert re.search(r"severity: (warning|critical)\b", rule)
    assert re.search(r"summary: \S", rule)


@pytest.mark.parametrize("name", ALARMS)
def test_the_docs_say_what_an_alarm_means(name: str) -> None:
    assert f"`{name}`" in OPERATIONS.partition("## What each alarm means")[2]
