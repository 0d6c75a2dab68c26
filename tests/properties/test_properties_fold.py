"""The fold depends on nothing but the entries in log order, and the SQL of the views says what posting says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import World, examples, worlds

from agreement import NOW, auditor_tables
from clearwell.ledger import fold as folding
from clearwell.ledger.fold import EPISODE_SCHEMA, Folded, fold
from clearwell.ledger.posting import ENTRY_SCHEMA, Posted, post
from clearwell.ledger.views import entries_query
from clearwell.simulation.auditor import post as audited
from clearwell.values import columns

LARGEST = 2**63 - 1
FIGURES = [name for name in EPISODE_SCHEMA if name != "account_hash"]
QUICK = examples(30)


def as_events(world: World) -> pl.DataFrame:
    """The world's accepted events as a frame of the log."""
    rows = [
        {
            "sequence": recorded.sequence,
            "recorded_at": recorded.recorded_at,
            "type": recorded.event.type,
            "id": recorded.event.id,
            "effective_at": recorded.event.effective_at,
            "model_version": recorded.model.version,
            **{columns.property_column(name): value for name, value in recorded.event.properties.items()},
            **{columns.amount_column(name): value for name, (value, _) in recorded.event.amounts.items()},
            **{columns.currency_column(name): currency for name, (_, currency) in recorded.event.amounts.items()},
        }
        for recorded in world.audit().events
    ]
    frame = pl.from_dicts(rows, infer_schema_length=None)
    return frame.with_columns(pl.col("^.*_at$").cast(pl.Datetime("us", "UTC")))


def posted(world: World) -> Posted:
    return post(as_events(world), {world.model.version: world.model})


def folded_in_parts(entries: pl.DataFrame, cuts: list[int]) -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """Fold the entries in batches that end after the sequences `cuts`; returns cleared and open episodes."""
    still_open, cleared = pl.DataFrame(schema=EPISODE_SCHEMA), []
    for after, upto in pairwise([0, *sorted(set(cuts)), 10_000]):
        part = entries.filter(pl.col("sequence") > after, pl.col("sequence") <= upto)
        folded: Folded = fold(still_open, part.sample(fraction=1, shuffle=True, seed=upto))
        still_open = folded.open
        cleared.append(folded.cleared)
    every = pl.concat(cleared)
    assert len(set(every.rows())) == every.height
    return set(every.select(FIGURES).rows()), set(still_open.select(FIGURES).rows())


@given(world=worlds(), data=st.data())
@QUICK
def test_the_fold_does_not_depend_on_batches(world: World, data: st.DataObject) -> None:
    """Any split of the stream, with the entries of a batch in any order, gives the episodes of the reference."""
    if not world.records:
        return
    entries = posted(world).clearing
    whole = folded_in_parts(entries, [])
    cuts = data.draw(st.lists(st.integers(1, len(world.records)), max_size=6))
    assert folded_in_parts(entries, cuts) == whole
    assert folded_in_parts(entries, list(range(1, len(world.records)))) == whole
    expected = auditor_tables(world.audit())
    for found, table in zip(whole, ("episodes", "open_accounts"), strict=True):
        assert sorted(found) == expected[table]


@pytest.mark.parametrize("bits", [0, 1])
@given(world=worlds())
@QUICK
def test_accounts_that_share_a_hash_stay_apart(bits: int, world: World) -> None:
    """With a hash of no bit or one bit, where almost all accounts collide, the episodes are the same."""
    if not world.records:
        return
    entries = posted(world).clearing
    cuts = [len(world.records) // 2]
    expected = folded_in_parts(entries, cuts)
    sound = folding.account_hash
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "account_hash", lambda: sound() & pl.lit(bits, pl.UInt64))
        assert folded_in_parts(entries, cuts) == expected


@given(world=worlds())
@QUICK
def test_posting_in_sql_is_posting(world: World) -> None:
    """The query of the view `entries`, run by DuckDB, gives the entries that posting gave, one for one."""
    if not world.records:
        return
    events = as_events(world)
    both = posted(world)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events.to_arrow())
        query = entries_query({world.model.version: world.model}, events.columns)
        names = ", ".join(ENTRY_SCHEMA)
        found = sorted(connection.execute(f"SELECT {names} FROM ({query})").fetchall())
    assert found == sorted(pl.concat([both.clearing, both.reservoir]).rows())


@given(world=worlds())
@QUICK
def test_posting_is_the_reference_and_balances(world: World) -> None:
    """The entries are those of plain loops in log order, and those of every event sum to zero per currency."""
    if not world.records:
        return
    both = posted(world)
    entries = pl.concat([both.clearing, both.reservoir]).sort("sequence", "entry_index")
    expected = [entry for recorded in world.audit().events for entry in audited(recorded)]
    assert entries.select("account_type", "account", "currency", "amount", "sequence", "entry_index").rows() == [
        (*entry.account, entry.amount, entry.recorded.sequence, entry.index) for entry in expected
    ]
    sums = entries.group_by("sequence", "currency").agg(pl.col("amount").cast(pl.Int128).sum())
    assert (sums["amount"] == 0).all()
    moved: dict[str, int] = {}
    for entry in expected[1::2]:
        moved[entry.account[2]] = moved.get(entry.account[2], 0) + entry.amount
    assert both.moved() == moved


@given(world=worlds(), data=st.data())
@QUICK
def test_any_order_of_delivery_gives_the_same_balances(world: World, data: st.DataObject) -> None:
    """Episodes may differ with the order, the balance of no account does."""
    if not world.records:
        return
    shuffled = replace(world, records=tuple(data.draw(st.permutations(world.records))))

    def balances(one: World) -> set[tuple[object, ...]]:
        still_open = fold(pl.DataFrame(schema=EPISODE_SCHEMA), posted(one).clearing).open
        return set(still_open.select("account_type", "account", "currency", "balance").rows())

    assert balances(world) == balances(shuffled)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_sums_beyond_64_bits_are_exact(count: int) -> None:
    """Balances, turnovers and sums of moves far beyond 2^63 are exact, and the episode clears to the last unit."""
    row = {"account_type": "c", "account": "", "currency": "USD", "effective_at": NOW, "recorded_at": NOW}
    amounts = [LARGEST] * count + [-LARGEST] * count
    entries = pl.DataFrame(
        [{**row, "sequence": number, "entry_index": 1, "amount": amount} for number, amount in enumerate(amounts, 1)],
        schema=ENTRY_SCHEMA,
    )
    half = fold(pl.DataFrame(schema=EPISODE_SCHEMA), entries.head(count))
    assert half.open.select("balance", "turnover").rows() == [(count * LARGEST, count * LARGEST)]
    full = fold(half.open, entries.tail(count))
    assert full.cleared.select("balance", "turnover", "entry_count").rows() == [(0, count * LARGEST, 2 * count)]
    assert full.open.is_empty()
    assert Posted(entries.head(count), entries.clear()).moved() == {"USD": count * LARGEST}
