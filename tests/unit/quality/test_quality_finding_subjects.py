"""What findings are about: names of accounts as SQL prints them and as they are read back, whole columns at once."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest

from clearwell.flows.load import load_model
from clearwell.quality.finding_subjects import account_names, accounts_named
from clearwell.values.accounts import account_key, account_name

FLOW = """{flow: f, owner: o, accounts: {pool: {kind: reservoir},
  none: {kind: clearing, clears_within: 1 day},
  one: {kind: clearing, properties: [p], clears_within: 1 day},
  three: {kind: clearing, properties: [p, q, r], clears_within: 1 day}},
events: {fill: {producer: a, moves: [{amount: x, from: pool, to: none}, {amount: x, from: pool, to: one},
    {amount: x, from: pool, to: three}]},
  drain: {producer: a, moves: [{amount: x, from: none, to: pool}, {amount: x, from: one, to: pool},
    {amount: x, from: three, to: pool}]}}}"""

model, _problems = load_model({"flow.yaml": FLOW})
assert model is not None
TYPES = model.account_types
CLEARING = [item for item in TYPES.values() if item.kind == "clearing"]

ACCOUNTS = [
    ("none", ()),
    ("one", ("a",)),
    ("one", ("a, p=b}",)),
    ("one", ("it's {}",)),
    ("three", ("a", "b", "c")),
    ("three", ("a, q=b", "b", "c")),
    ("three", ("a", "b, q=b", "c")),
    ("three", ("a, r=x", "b", "c, q=b, r=c")),
]


def _named(name: str, values: tuple[str, ...]) -> str:
    return account_name(name, dict(zip(TYPES[name].properties, values, strict=True)))


def test_sql_prints_names_as_people_see_them() -> None:
    """For account types of no, one and several properties, whatever their values."""
    rows = [(name, account_key(values)) for name, values in ACCOUNTS]
    accounts = pl.DataFrame(rows, ["account_type", "account"], orient="row").to_arrow()
    with duckdb.connect() as connection:
        connection.register("accounts", accounts)
        found = connection.execute(f"SELECT {account_names(TYPES.values())} FROM accounts").fetchall()
    assert [name for (name,) in found] == [_named(*item) for item in ACCOUNTS]


@pytest.mark.parametrize("account", ACCOUNTS, ids=str)
def test_every_account_is_found_by_its_name(account: tuple[str, tuple[str, ...]]) -> None:
    """Among those that print the same, and none that prints otherwise."""
    subject = _named(*account)
    found = accounts_named(pl.Series([subject]), CLEARING)
    assert (account[0], account_key(account[1]), subject) in found.rows()
    for name, key, told in found.iter_rows():
        assert told == subject == _named(name, tuple(key.split("\x1f")) if key else ())


@pytest.mark.parametrize("text", ["", "{}", "none", "none{p=a}", "one{}", "one{q=a}", "three{p=a, r=c, q=b}", "x{p=a}"])
def test_what_names_no_account_finds_none(text: str) -> None:
    """Another type, other properties, or another order of them."""
    assert accounts_named(pl.Series([text, "one{p=\x1f}"]), CLEARING).is_empty()
