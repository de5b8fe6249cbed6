"""Every adapter of port ``Notices``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde.control import notices as adapters
from sonde.control.notices import MemoryNotices, SqliteNotices
from sonde.ports import Notices
from sonde.testing.notices_contract import NoticesContract, notice


class TestMemory(NoticesContract):
    @pytest.fixture
    def notices(self) -> Notices:
        return MemoryNotices()


class TestSqlite(NoticesContract):
    @pytest.fixture
    def notices(self, tmp_path: Path) -> Iterator[Notices]:
        notices = SqliteNotices(tmp_path / "control.db")
        yield notices
        notices.close()

    def test_another_program_finds_them(self, notices: Notices, tmp_path: Path) -> None:
        notices.add("webhook.ops", "log", {0: 5}, [notice(1)])
        other = SqliteNotices(tmp_path / "control.db")
        try:
            assert list(other.waiting("webhook.ops", 10)) == [notice(1)]
            assert other.places("webhook.ops", "log") == {0: 5}
        finally:
            other.close()

    def test_only_the_newest_of_those_that_are_settled_are_kept(
        self, notices: Notices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adapters, "_KEPT", 3)
        notices.add("webhook.ops", "log", {0: 1}, [notice(0), *(notice(n, fate="sent") for n in range(1, 9))])
        assert [n.news["number"] for n in notices.recent(None, 10)] == [8, 7, 6, 0]
