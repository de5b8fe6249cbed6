"""Which partition a thing goes to."""

from hypothesis import given
from hypothesis import strategies as st

from sonde.entry import EntryKind, Lane
from sonde.reading import Batch, Reading
from sonde.routing import CONTROL, home_too, homes_of, partition_of, partition_of_lane, split

DEVICES = st.sampled_from([f"device-{i}" for i in range(30)])


def test_a_home_never_changes() -> None:
    assert [partition_of(name, 64) for name in ("sensor_A", "Site-01/Zone-03/7", "ß")] == [27, 61, 39]


def test_one_partition_is_everybody_s_home() -> None:
    assert partition_of("anything", 1) == CONTROL == partition_of_lane("n", Lane.LIVE, 1)


def test_control_lanes_share_one_order() -> None:
    lanes = [partition_of_lane("n3", lane, 7) for lane in Lane]
    assert lanes[Lane.CONTROL] == CONTROL
    assert lanes[Lane.LIVE] == lanes[Lane.BACKLOG] == partition_of("n3", 7)


def test_a_profile_in_a_control_lane_goes_home_too() -> None:
    assert [kind for kind in EntryKind if home_too(kind, Lane.CONTROL)] == [EntryKind.PROFILE]
    assert not home_too(EntryKind.PROFILE, Lane.LIVE)


@given(devices=st.lists(DEVICES, max_size=40), start=st.integers(0, 5), partitions=st.sampled_from([1, 2, 4, 64]))
def test_a_split_loses_nothing_and_keeps_the_order(devices: list[str], start: int, partitions: int) -> None:
    rows = [Reading(device=d, metric="m", time=i, value=float(i)) for i, d in enumerate(["other", *devices])]
    batch = Batch.of(rows).slice(min(start, len(rows)), max(0, len(rows) - start))
    parts = split(batch, homes_of(batch, partitions))
    wanted: dict[int, list[Reading]] = {}
    for reading in batch.readings():
        wanted.setdefault(partition_of(reading.device, partitions), []).append(reading)
    assert {number: list(part.readings()) for number, part in parts.items() if len(part)} == wanted


def test_what_is_of_one_home_is_not_touched() -> None:
    batch = Batch.of([Reading(device="d", metric="m", time=i, value=1.0) for i in range(3)])
    assert split(batch, homes_of(batch, 64))[partition_of("d", 64)] is batch
