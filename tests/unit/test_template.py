"""Parameters against templates: what fits is taken as it is, and each one that does not is told."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonde.errors import Invalid
from sonde.node.sensors.device import COMMANDS
from sonde.profile import Command, Parameter, Profile
from sonde.template import checked, faults

_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def one(type_: Any, **more: Any) -> Command:
    return Command({"p": Parameter(type_, **more)})


VALUES: dict[str, list[Any]] = {
    "int": [0, -3, 2**63 - 1],
    "float": [0, 1.5, -1e300],
    "string": ["", "ü"],
    "boolean": [True, False],
    "array": [[], [1, "a", None]],
    "object": [{}, {"a": [1]}],
}


@pytest.mark.parametrize("type_", VALUES)
@pytest.mark.parametrize("of", VALUES)
def test_mistake_18_each_type_takes_its_values_and_no_others(type_: str, of: str) -> None:
    for value in VALUES[of]:
        fits = type_ == of or (type_ == "float" and type(value) is int and of == "int")
        fits = fits or (type_ == "int" and type(value) is int)
        if fits:
            assert checked(one(type_), {"p": value}) == {"p": value}
        else:
            with pytest.raises(Invalid):
                checked(one(type_), {"p": value})


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 5.0, None, float("nan"), float("inf")])
def test_values_that_are_no_integers(value: Any) -> None:
    with pytest.raises(Invalid):
        checked(one("int"), {"p": value})


def test_mistake_18_every_command_of_the_demo_device_can_succeed_and_fail() -> None:
    good: dict[str, dict[str, Any]] = {
        "set_update_interval": {"interval": 0.1},
        "reset_sensors": {},
        "set_sensor_value": {"sensor_id": "temperature", "value": "21"},
        "get_status": {},
        "calibrate_sensors": {"duration": 30},
    }
    bad: dict[str, dict[str, Any]] = {
        "set_update_interval": {"interval": 61},
        "reset_sensors": {"really": True},
        "set_sensor_value": {"sensor_id": "nose", "value": 21},
        "get_status": {"of": "all"},
        "calibrate_sensors": {"duration": 0.5},
    }
    assert not list(faults(Profile("d", commands=COMMANDS)))
    for name, template in COMMANDS.items():
        assert checked(template, good[name]) == good[name]
        with pytest.raises(Invalid):
            checked(template, bad[name])
    assert checked(COMMANDS["calibrate_sensors"], {}) == {"duration": 5}


def test_every_wrong_parameter_is_told() -> None:
    with pytest.raises(Invalid) as caught:
        checked(COMMANDS["set_sensor_value"], {"sensor_id": "nose", "valeu": "21"})
    told = {p.field: p.message for p in caught.value.problems}
    assert set(told) == {"parameters.sensor_id", "parameters.valeu", "parameters.value"}
    assert "temperature" in told["parameters.sensor_id"]
    assert "'value'" in told["parameters.valeu"]
    assert "required" in told["parameters.value"]


@pytest.mark.parametrize(
    ("template", "value", "why"),
    [
        (one("int", min=1, max=30), 0, "below the least, 1"),
        (one("float", max=60), 60.5, "above the most, 60"),
        (one("string", max=3), "long", "its length is above"),
        (one("array", min=1), [], "its length is below"),
        (one("int", enum=[1, 2]), True, "not a whole number"),
        (one("boolean", enum=[True]), False, "none of true"),
        (one("string", enum=["a", "b"]), "c", 'none of "a", "b"'),
    ],
)
def test_bounds_and_choices(template: Command, value: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        checked(template, {"p": value})


def test_one_and_true_are_told_apart_and_one_and_one_point_zero_are_not() -> None:
    assert checked(one("float", enum=[1]), {"p": 1.0}) == {"p": 1.0}
    with pytest.raises(Invalid):
        checked(one("object", enum=[{}]), {"p": {"a": 1}})


def test_parameters_have_a_size() -> None:
    with pytest.raises(Invalid, match="bytes"):
        checked(one("string"), {"p": "x" * 70_000})


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter("int", min=5, max=1),
        Parameter("int", enum=["a"]),
        Parameter("int", default="a"),
        Parameter("int", min=1, default=0),
        Parameter("boolean", min=0),
        Parameter("string", enum=[]),
    ],
)
def test_templates_that_nothing_could_satisfy(parameter: Parameter) -> None:
    assert list(faults(Profile("d", commands={"c": Command({"p": parameter})})))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "ü", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abp"), inner, max_size=3),
    max_leaves=5,
)
parameters = st.builds(
    Parameter,
    st.sampled_from(list(VALUES)),
    required=st.booleans(),
    enum=st.none() | st.lists(json, max_size=3),
    min=st.none() | st.floats(-5, 5),
    max=st.none() | st.floats(-5, 5),
    default=json,
)


@_UNHURRIED
@given(st.dictionaries(st.sampled_from("abp"), parameters), st.dictionaries(st.sampled_from("abpx"), json))
def test_whatever_comes_it_is_taken_or_refused_and_nothing_is_changed(
    template: dict[str, Parameter], given_: dict[str, Any]
) -> None:
    try:
        whole = checked(Command(template), given_)
    except Invalid as error:
        wrong: list[str] | None = [p.field for p in error.problems]
    else:
        wrong = None
        assert whole.keys() <= template.keys()
        assert all(whole[name] is given_[name] for name in given_)
    assert wrong is None or all(field.startswith("parameters") for field in wrong)
