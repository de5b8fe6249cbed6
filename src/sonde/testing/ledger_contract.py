"""What every store must account for. Part of :class:`sonde.testing.store_contract.StoreContract`."""

from sonde.changes import Definition, LedgerLine, Mark, Stream
from sonde.ports import Store
from sonde.question import Gaps, Ledger
from sonde.testing.asking import rows_of
from sonde.testing.store_feed import START, Feed


class LedgerContract:
    """Tests of the ledger, and of what is missing or set aside; the fixture ``store`` is the contract's."""

    def test_the_ledger_adds_up_and_closes(self, store: Store) -> None:
        feed = Feed()
        store.commit(feed.step(ledger=[LedgerLine("n", 2, 10, 6, 1, 1, 1, 0, 1, 2), LedgerLine("", 0, 5, 5)]))
        store.commit(feed.step(ledger=[LedgerLine("n", 2, 0, 0, 3, 0, 0, 2), LedgerLine("n", 2, 4, 4)]))
        rows = rows_of(store, Ledger())
        assert [(r["source"], r["lane"]) for r in rows] == [("", 0), ("n", 2)]
        assert rows[1]["sent"] == 14 + 4 + 1
        for r in rows:
            assert r["sent"] == sum(r[c] for c in ("stored", "duplicate", "refused", "set_aside", "lost", "missing"))

    def test_gaps_tell_what_is_missing_lost_and_set_aside(self, store: Store) -> None:
        feed = Feed()
        lost = Mark(0, 5, 1, "n", 2, "e", "lost", 7, 9, 30, START, "the outbox was full")
        store.commit(feed.step(marks=[lost], streams=[Stream("n", "e", 2, 9, 90, ((2, 3, 11),), (5,))]))
        rows = rows_of(store, Gaps())
        assert [(r["reason"], r["first_seq"], r["last_seq"], r["readings"]) for r in rows] == [
            ("missing", 2, 3, 11),
            ("lost", 7, 9, 30),
        ]
        assert (rows[0]["before"], rows[1]["noticed"], rows[1]["before"]) == (None, START, START)
        assert store.ask(Gaps(limit=1)).total == 2
        store.commit(feed.step(streams=[Stream("n", "e", 2, 9, 90)]))
        assert [r["reason"] for r in rows_of(store, Gaps())] == ["lost"]

    def test_gaps_of_the_node_that_declared_a_device_from_a_moment_on(self, store: Store) -> None:
        feed = Feed()
        nodes = [Definition("profile", "d", {}, 1, source="n"), Definition("profile", "e", {}, 1, source="m")]
        streams = [Stream("n", "e", 2, 9, 90, ((2, 3, 11, START), (5, 5, 7)), (5, 30)), Stream("m", "e", 3, 9, 90)]
        marks = [
            Mark(0, 5, 1, "n", 3, "e", "lost", 7, 9, 30, START + 5, "full"),
            Mark(0, 5, 2, "m", 3, "e", "lost", 1, 1, 3, START + 5, "full"),
        ]
        store.commit(feed.step(definitions=nodes, streams=streams, marks=marks))
        assert [(r["first_seq"], r["before"]) for r in rows_of(store, Gaps(device="d"))] == [
            (2, START),
            (5, None),
            (7, START + 5),
        ]
        assert [r["first_seq"] for r in rows_of(store, Gaps(device="d", since=START + 1))] == [5, 7]
        assert [r["first_seq"] for r in rows_of(store, Gaps(device="d", since=START + 6))] == [5]
        assert [r["source"] for r in rows_of(store, Gaps(device="e"))] == ["m"]
        assert rows_of(store, Gaps(device="nobody's")) == []
        assert store.load().streams == streams[::-1]

    def test_the_state_names_what_was_set_aside_or_purged(self, store: Store) -> None:
        """The newest first: whoever reads the log again has to leave it out."""
        feed = Feed()
        marks = [
            Mark(0, 5, 1, "n", 2, "e", "set_aside", 7, 9, 30, START, "came before"),
            Mark(0, 6, 0, "n", 2, "e", "lost", 7, 9, 30, START, "dropped"),
            Mark(0, 7, 2, "", 0, "", "purged", 0, 0, 4, START, "device a"),
        ]
        for mark in marks:
            store.commit(feed.step(marks=[mark]))
        assert list(store.load().marks) == [marks[2], marks[0]]
