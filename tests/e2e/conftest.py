"""One browser for all."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.browser import browser


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    with browser() as opened:
        yield opened
