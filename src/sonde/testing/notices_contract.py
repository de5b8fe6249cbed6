"""What every adapter of port ``Notices`` must do. Subclass it, and give ``notices`` as a fixture."""

from typing import Any

import msgspec
import pytest

from sonde.notice import Notice
from sonde.ports import Notices


def notice(number: int, target: str = "webhook.ops", **changes: Any) -> Notice:
    """A notice that waits."""
    return msgspec.structs.replace(
        Notice(
            id=f"{target}-{number}", target=target, made=number, due=number, news={"event": "fired", "number": number}
        ),
        **changes,
    )


class NoticesContract:
    """Tests of one adapter."""

    @pytest.fixture
    def notices(self) -> Notices:
        """A new, empty one. Override it."""
        raise NotImplementedError

    def test_nothing_is_known_of_a_new_target(self, notices: Notices) -> None:
        assert notices.places("webhook.ops", "log") == {}
        assert list(notices.waiting("webhook.ops", 10)) == []
        assert list(notices.recent(None, 10)) == []

    def test_places_are_kept_by_target_log_and_partition(self, notices: Notices) -> None:
        notices.add("webhook.ops", "log", {0: 5, 1: 7}, ())
        notices.add("webhook.ops", "log", {1: 9}, ())
        notices.add("email.night", "log", {0: 1}, ())
        notices.add("webhook.ops", "other log", {0: 2}, ())
        assert notices.places("webhook.ops", "log") == {0: 5, 1: 9}
        assert notices.places("email.night", "log") == {0: 1}
        assert notices.places("webhook.ops", "other log") == {0: 2}

    def test_what_waits_comes_oldest_first_and_by_target(self, notices: Notices) -> None:
        notices.add("webhook.ops", "log", {0: 5}, [notice(1), notice(2), notice(3)])
        notices.add("email.night", "log", {0: 5}, [notice(4, "email.night")])
        assert list(notices.waiting("webhook.ops", 2)) == [notice(1), notice(2)]
        assert list(notices.recent("webhook.ops", 2)) == [notice(3), notice(2)]
        assert list(notices.recent(None, 9)) == [notice(4, "email.night"), notice(3), notice(2), notice(1)]

    def test_a_notice_that_is_there_stays_as_it_is(self, notices: Notices) -> None:
        """The same event read twice, as after a crash, is one notice, and its fate is kept."""
        notices.add("webhook.ops", "log", {0: 5}, [notice(1)])
        sent = notice(1, fate="sent", tries=1, settled=9)
        notices.update([sent])
        notices.add("webhook.ops", "log", {0: 5}, [notice(1), notice(2)])
        assert list(notices.waiting("webhook.ops", 10)) == [notice(2)]
        assert sent in notices.recent(None, 10)

    def test_what_is_not_there_is_not_set(self, notices: Notices) -> None:
        notices.update([notice(1)])
        assert list(notices.recent(None, 10)) == []
