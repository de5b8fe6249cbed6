"""A user's own function as a sensor, and the example in the docs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sonde.errors import Hold
from sonde.node.sensors.function import FunctionSensor
from sonde.profile import Parameter
from sonde.reading import Reading
from sonde.template import checked

DOCS = Path(__file__).parents[2] / "docs" / "sensors.md"
Write = Callable[[str], FunctionSensor]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Makes a sensor of the function ``read`` in a module with this text."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"made_for_{abs(hash(request.node.nodeid))}"

    def write(text: str) -> FunctionSensor:
        (tmp_path / f"{module}.py").write_text(text)
        return FunctionSensor(f"{module}:read", device="boiler", site="s", directory=tmp_path)

    return write


def test_the_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "boiler.py").write_text(example)
    sensor = FunctionSensor("boiler:read", device="boiler", directory=tmp_path)
    readings = [r for _ in range(3) for r in sensor.read()]
    assert [(r.device, r.metric, type(r.value)) for r in readings] == [
        ("boiler", "water", float),
        ("boiler", "burning", bool),
    ] * 3


@pytest.mark.parametrize(
    "returned",
    [
        '[("a", 1), ("b", "x")]',
        '(("a", 1), ("b", "x"))',
        '{"a": 1, "b": "x"}',
        '[{"metric": "a", "value": 1}, {"metric": "b", "value": "x"}]',
        '[("a", 1), {"metric": "b", "value": "x"}]',
    ],
)
def test_every_form_is_understood(write: Write, returned: str) -> None:
    readings = write(f"def read():\n    return {returned}\n").read()
    assert [(r.device, r.site, r.metric, r.value) for r in readings] == [
        ("boiler", "s", "a", 1),
        ("boiler", "s", "b", "x"),
    ]


def test_a_reading_is_kept_as_it_is(write: Write) -> None:
    text = (
        "from sonde.reading import Reading\n"
        "def read():\n    return Reading(device='d', metric='m', time=5, value=1.5, labels={'a': 'b'})\n"
    )
    assert write(text).read() == [Reading(device="d", metric="m", time=5, value=1.5, labels={"a": "b"})]


def test_one_alone_and_none_at_all(write: Write) -> None:
    assert [r.metric for r in write("def read():\n    return 'a', 1\n").read()] == ["a"]


def test_nothing_to_say(write: Write) -> None:
    assert list(write("def read():\n    return None\n").read()) == []


def test_fields_of_a_dict_win(write: Write) -> None:
    text = "def read():\n    return {'metric': 'm', 'value': 2, 'device': 'other', 'time': 7, 'labels': {'x': 'y'}}\n"
    [reading] = write(text).read()
    assert (reading.device, reading.time, reading.labels, reading.site) == ("other", 7, {"x": "y"}, "s")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("42", "42"),
        ("'text'", "text"),
        ("[1, 2]", "pair"),
        ("[('a', 1, 2)]", "pair"),
        ("[{'metric': 'a'}]", "'value'"),
        ("[{'value': 1}]", "'metric'"),
        ("[{'metric': 'a', 'value': 1, 'unit': 'K'}]", "'unit'"),
    ],
)
def test_what_it_should_have_returned_is_said(write: Write, returned: str, said: str) -> None:
    sensor = write(f"def read():\n    return {returned}\n")
    with pytest.raises(TypeError, match=said):
        list(sensor.read())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "module:function"),
        ("boiler", "module:function"),
        ("boiler:", "module:function"),
        ("no_such_module_here:read", "no_such_module_here.py"),
        ("json:nothing", "loads"),
        ("json:__name__", "not a function"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_do(target: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Hold, match=said):
        FunctionSensor(target, directory=tmp_path)


def test_a_module_that_lacks_another_says_which(write: Write) -> None:
    with pytest.raises(Hold, match="not_installed_either"):
        write("import not_installed_either\ndef read(): return None\n")


COMMANDS = """
from sonde.profile import Parameter, command

def read():
    return {"a": 1}

@command(to=Parameter("float", required=True, min=20, max=90, description="°C"))
def heat(to, hurry: bool = False, tell=None):
    \"\"\"Heat the water.

    It takes a while.\"\"\"
    tell(0.5, "half way")
    return f"the water has {to} °C"

@command()
def describe(names: list, more: dict, label: str, times: int = 2):
    return {"names": names, "more": more, "label": label, "times": times}

def not_a_command():
    pass
"""


def test_functions_beside_it_are_commands(write: Write) -> None:
    sensor = write(COMMANDS)
    (profile,) = sensor.profiles()
    assert sensor.profiles() is sensor.profiles()
    assert (profile.device, profile.site, sorted(profile.commands)) == ("boiler", "s", ["describe", "heat"])
    heat, describe = profile.commands["heat"], profile.commands["describe"]
    assert heat.description == "Heat the water."
    assert heat.parameters == {
        "to": Parameter("float", required=True, min=20, max=90, description="°C"),
        "hurry": Parameter("boolean", default=False),
    }
    assert {name: (p.type, p.required, p.default) for name, p in describe.parameters.items()} == {
        "names": ("array", True, None),
        "more": ("object", True, None),
        "label": ("string", True, None),
        "times": ("int", False, 2),
    }
    told: list[tuple[float | None, str]] = []
    given = checked(heat, {"to": 60.0})
    assert sensor.perform("boiler", "heat", given, lambda p, m: told.append((p, m))) == "the water has 60.0 °C"
    assert told == [(0.5, "half way")]
    asked = {"names": [1], "more": {}, "label": "x"}
    assert sensor.perform("boiler", "describe", checked(describe, asked), lambda p, m: None) == {**asked, "times": 2}


def test_the_command_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "documented_boiler.py").write_text(f"def read():\n    return None\n\n\n{example}")
    sensor = FunctionSensor("documented_boiler:read", device="boiler", directory=tmp_path)
    parameters = checked(sensor.profiles()[0].commands["heat"], {"to": 60})
    assert sensor.perform("boiler", "heat", parameters, lambda progress, message: None) == "the water has 60 °C"


def test_a_function_without_commands_declares_nothing(write: Write) -> None:
    assert list(write("def read():\n    return 1\n").profiles()) == []


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("@command()\ndef c(x): pass", TypeError, "'x'"),
        ("@command()\ndef c(x: complex): pass", TypeError, "'x'"),
        ("@command(y=Parameter('int'))\ndef c(): pass", TypeError, "'y'"),
        ("@command(x=Parameter('int', min=5, max=1))\ndef c(x): pass", Hold, "above max"),
        ("@command()\ndef c(x: int = 'many'): pass", Hold, "default"),
    ],
)
def test_commands_that_could_never_be_given(write: Write, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        write(f"from sonde.profile import Parameter, command\ndef read(): pass\n{text}\n")
