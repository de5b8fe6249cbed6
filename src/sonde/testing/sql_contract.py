"""What every store must refuse of SQL. Part of :class:`sonde.testing.store_contract.StoreContract`."""

from typing import Final

import pytest

from sonde.clock import DAY
from sonde.errors import Invalid
from sonde.ports import Store
from sonde.question import Alerts, Devices, History, Sql, Trends
from sonde.testing.asking import rows_of, tidy
from sonde.testing.store_feed import START, Feed, Row, building

REFUSED: Final = (
    "",
    "-- nothing",
    "select 1; select 2",
    "select 1; drop table store.series",
    "insert into store.series values (1)",
    "with x as (insert into store.meta values (2) returning version) select * from x",
    "with x as (delete from store.series returning id) select * from x",
    "update store.meta set version = 2",
    "drop view readings",
    "create table t (a int)",
    "copy readings to '/tmp/x.csv'",
    "attach '/tmp/x.db'",
    "set memory_limit = '1TB'",
    "pragma database_list",
    "call pragma_version()",
    "explain select 1",
    "begin",
    "commit",
    "select * from no_such_table",
    "select no_such_column from readings",
    "select 1 +",
    "select \0",
    "selec 1",
)


class SqlContract:
    """Tests of SQL that people write, and of names that look like it; the fixture ``store`` is the contract's."""

    @pytest.mark.parametrize("text", REFUSED)
    def test_anything_but_one_select_is_refused(self, store: Store, text: str) -> None:
        with pytest.raises(Invalid):
            store.ask(Sql(text))
        assert store.load().progress == []

    def test_too_many_rows_are_refused_with_a_hint(self, store: Store) -> None:
        feed, series = Feed(), building(1)
        store.commit(feed.step([Row(0, START + i, 1.0) for i in range(100)], series))
        assert len(store.ask(Sql("select * from readings", rows=100)).rows) == 100
        with pytest.raises(Invalid, match="LIMIT"):
            store.ask(Sql("select * from readings", rows=99))

    def test_names_and_filters_are_values_and_never_sql(self, store: Store) -> None:
        feed = Feed()
        odd = "d'; drop table store.series; --$limit %s {0}"
        series = [building(1)[0]._replace(device=odd, metric=odd, site=odd, zone=odd)]
        store.commit(feed.step([Row(0, START, 1.0)], series))
        tidy(store)
        assert len(rows_of(store, History(device=odd, metric=odd, site=odd, zone=odd))) == 1
        assert len(rows_of(store, Devices(device=odd))) == 1
        assert len(rows_of(store, Trends(odd, START, START + DAY, device=odd))) == 1
        assert rows_of(store, Alerts(state=odd, severity=odd)) == []
        assert len(rows_of(store, Sql("select 1 from readings where device = $1", parameters=(odd,)))) == 1
