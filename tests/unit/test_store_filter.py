"""The filter over runs of keys: never a false no, seldom a false yes."""

import numpy as np

from sonde.store.filter import RunFilter

RUN = 4096


def keys(seed: int) -> "np.typing.NDArray[np.uint64]":
    return np.random.default_rng(seed).integers(0, 2**64 - 1, (RUN, 2), dtype=np.uint64)


def filled(runs: int) -> RunFilter:
    runs_filter = RunFilter(16)
    for number in range(runs):
        runs_filter.put(number, runs_filter.pack(runs_filter.places(keys(number))))
    return runs_filter


def test_every_key_is_found_in_its_run() -> None:
    runs_filter = filled(20)
    for number in range(20):
        found = dict(runs_filter.candidates(runs_filter.places(keys(number))))
        assert len(found[number]) == RUN


def test_other_keys_are_candidates_of_few_runs() -> None:
    runs_filter = filled(20)
    found = runs_filter.candidates(runs_filter.places(keys(99)))
    assert sum(len(hits) for _, hits in found) < 20 * RUN / 200


def test_a_run_that_was_dropped_leaves_room_for_another() -> None:
    runs_filter = filled(8)
    runs_filter.drop(3)
    assert 3 not in dict(runs_filter.candidates(runs_filter.places(keys(3))))
    runs_filter.put(50, runs_filter.pack(runs_filter.places(keys(50))))
    assert len(dict(runs_filter.candidates(runs_filter.places(keys(50))))[50]) == RUN
    assert len(dict(runs_filter.candidates(runs_filter.places(keys(7))))[7]) == RUN


def test_keys_that_differ_in_few_bits_are_told_apart() -> None:
    runs_filter = RunFilter(16)
    counted = np.stack([np.zeros(RUN, np.uint64), np.arange(RUN, dtype=np.uint64)], axis=1)
    runs_filter.put(1, runs_filter.pack(runs_filter.places(counted)))
    others = counted + np.uint64(RUN)
    others[:, 0] = 0
    found = runs_filter.candidates(runs_filter.places(others))
    assert sum(len(hits) for _, hits in found) < RUN / 20
