"""For all tests."""

import atexit
import os
import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers.kafka", "tests.servers.postgres", "tests.servers.postgres_tables"]

# How long an example takes depends on what else the machine does: it is no reason to fail.
settings.register_profile("sonde", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sonde")

# A shell starts what runs in its background deaf to Ctrl-C, and programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _say_nothing_more() -> None:
    """DuckDB complains on standard error, once the interpreter is half gone, of its own constants: not of a test."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


atexit.register(_say_nothing_more)
