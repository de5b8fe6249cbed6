"""Which functions a text calls, as PostgreSQL reads it: nothing hides one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.errors import Invalid
from sonde.store.postgres.guard import check_text
from sonde.store.postgres.tokens import called, tokens


@pytest.mark.parametrize(
    "text",
    [
        "select set_config('role', 'x', true)",
        "select SET_CONFIG ('role', 'x', true)",
        'select "set_config"(1)',
        'select pg_catalog . "set_config" /* a */ -- b\n (1)',
        "select set_config/* /* nested */ ( */(1)",
        "select 'it''s', set_config(1)",
        "select E'it\\'s', set_config(1)",
        "select E'\\\\', set_config(1)",
        "select '\\', set_config(1)",
        "select $$ ' $$, set_config(1)",
        "select $a$ $$ ' $a$, set_config(1)",
        "select $ä$ ' $ä$, set_config(1)",
        'select "a""b(", set_config(1)',
        "select b'0', x'1', n'a', u&'\\0041', set_config(1)",
        "select 1 --'\n, set_config(1)",
        "select 1 --'\r, set_config(1)",
        "select 1 /*'*/, set_config(1)",
        "select a$b$, set_config(1)",
        "select $1, set_config(1)",
        "select 1-(-1)--'\n*set_config(1)",
    ],
)
def test_a_call_is_seen(text: str) -> None:
    assert "set_config" in called(list(tokens(text)))


@pytest.mark.parametrize(
    "text",
    [
        "select 'set_config(1)'",
        "select E'\\'set_config(1)'",
        "select $$set_config(1)$$",
        "select $a$ $$ set_config(1) $b$ $a$",
        "select 1 -- set_config(1)",
        "select 1 /* /* */ set_config(1) */",
        'select "set_config(1)"',
        "select set_config, (1)",
    ],
)
def test_what_is_no_call_is_none(text: str) -> None:
    assert "set_config" not in called(list(tokens(text)))


@pytest.mark.parametrize(
    "text",
    [
        "select U&\"\\0073et_config\"('role', 'x', true)",
        "select E'a'\n'\\'' || set_config('role', 'x', true) || '",
        "select E'a' -- b\n  '\\''",
        "select e'a' /* b */ 'c'",
        "explain select 1",
        "(insert into x values (1))",
        "",
        "select '\udfff'",
    ],
)
def test_what_cannot_be_read_for_sure_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        check_text(text)


@given(st.text(alphabet="aE'\"$\\/*-(;\n u&U1é", max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    found = list(tokens(text))
    assert [token.start for token in found] == sorted({token.start for token in found})
    assert called(found) <= {token.name for token in found}
