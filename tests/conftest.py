"""For all tests."""

import atexit
import os
import signal

pytest_plugins = ["tests.servers.kafka", "tests.servers.postgres", "tests.servers.postgres_tables"]


# A shell starts what runs in its background deaf to Ctrl-C, and programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _say_nothing_more() -> None:
    """DuckDB complains on standard error, once the interpreter is half gone, of its own constants: not of a test."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


atexit.register(_say_nothing_more)
