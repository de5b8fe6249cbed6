"""A network that harms what goes over it: refused, reset, half-open, slow, doubled, its receipts lost. Afterwards every
reading is there exactly once."""

import random
from pathlib import Path

import pytest

from tests.crash.nodes import counting_node
from tests.crash.proxy import WAYS, Proxy, proxy
from tests.crash.road import Up, check_ledger, check_windows, seed, wait_for
from tests.crash.test_crash_up import check_runs, count_of


def harm(up: Up, between: Proxy, way: str, times: int) -> None:
    """Let ``way`` strike so many times, and see that readings arrive again afterwards."""
    struck = between.struck[way] + times
    between.way = way
    wait_for(lambda: between.struck[way] >= struck, f"{way} striking", 120)
    between.let_go()
    before = count_of(up)
    wait_for(lambda: count_of(up) > before + 20, f"readings arriving after {way} (I4)")


def check_all(up: Up) -> None:
    check_runs(up, 1)
    check_windows(up)
    check_ledger(up)
    assert up.stop() == 0


def test_each_way_of_harm_in_turn(tmp_path: Path) -> None:
    with Up(tmp_path, "--no-host", "--no-simulator") as up, proxy(up.port) as between:
        with counting_node(tmp_path, up, between.port):
            wait_for(lambda: count_of(up) > 20, "the node's readings arriving")
            for way in WAYS:
                harm(up, between, way, 2)
        ledger = up.get("/ledger")
        check_all(up)
    assert sum(line["duplicate"] for line in ledger) > 0, "nothing was ever sent twice"


@pytest.mark.all
def test_harm_of_any_kind_for_long(tmp_path: Path) -> None:
    dice = random.Random(seed())
    with Up(tmp_path, "--no-host", "--no-simulator") as up, proxy(up.port) as between:
        with counting_node(tmp_path, up, between.port):
            wait_for(lambda: count_of(up) > 20, "the node's readings arriving")
            for _ in range(30):
                harm(up, between, dice.choice(WAYS), dice.randint(1, 4))
        check_all(up)
