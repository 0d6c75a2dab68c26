"""Product and auditor say the same of random models and worlds, at cuts on both clocks, however the stream is cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from operator import add
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st
from worlds import World, asks, examples, histories, worlds

from agreement import (
    SYSTEM_TIMES,
    Acceptance,
    Ask,
    Both,
    Change,
    Delivery,
    History,
    agree,
    auditor_tables,
    hold,
    stored_tables,
    tell,
)

if TYPE_CHECKING:
    from conftest import NewLedger


@given(history=histories(), data=st.data())
@examples(12)
def test_every_figure_at_any_cut_is_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """Receipts, and every answer at cuts by effective time, sequence and recorded time, agree with plain loops."""
    both = tell(new_ledger, history)
    event(f"{sum(isinstance(act, Change) for act in history.acts)} model changes")
    for _ in range(2):
        ask = data.draw(asks(both.audit), label="ask")
        event(f"{min(len(both.audit.books(both.audit.cut(both.ledger.clock(), ask.at)).episodes), 5)} episodes")
        agree(both, ask)


@given(history=histories(), data=st.data())
@examples(5)
def test_stored_rows_do_not_depend_on_batches(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """However the stream is cut into files and segments, the stored rows are those of one by one, and the auditor's."""
    one_by_one = tell(new_ledger, replace(history, batch_events=1))
    cut = cut_anew(history, data)
    note(f"cut into {cut}")
    in_batches = tell(new_ledger, cut)
    assert rows_without_times(in_batches) == rows_without_times(one_by_one)
    for both in (one_by_one, in_batches):
        hold("stored tables", stored_tables(both.ledger, left_out=["account_hash"]), auditor_tables(both.audit))


def cut_anew(history: History, data: st.DataObject) -> History:
    """The same records and changes in the same order, in other files and other segments."""
    acts: list[Delivery | Change | Acceptance] = []
    for act in history.acts:
        last = acts[-1] if acts else None
        if isinstance(act, Delivery) and isinstance(last, Delivery) and data.draw(st.booleans(), label="joined"):
            acts[-1] = replace(last, records=last.records + act.records)
        elif isinstance(act, Delivery) and data.draw(st.booleans(), label="parted"):
            place = data.draw(st.integers(0, len(act.records)), label="place")
            parts = (act.records[:place], act.records[place:])
            acts += [replace(act, records=part) for part in parts if part]
        else:
            acts.append(act)
    return replace(history, acts=tuple(acts), batch_events=data.draw(st.sampled_from([2, 3, 500_000]), label="batch"))


def rows_without_times(both: Both) -> dict[str, list[Any]]:
    """What must not depend on batches: all but the system times, which are those of the batches, and what is late."""
    tables = stored_tables(both.ledger, left_out=SYSTEM_TIMES)
    moved: dict[tuple[str, str], list[int]] = {}
    for event_type, currency, _quarter, _epoch, _span_to, *sums in tables.pop("event_sums"):
        row = moved.setdefault((event_type, currency), [0] * 4)
        row[:] = map(add, row, sums[:4])
    return tables | {"event_sums": sorted(moved.items())}


@given(world=worlds(), data=st.data())
@examples(5)
def test_balances_do_not_depend_on_the_order_of_delivery(
    new_ledger: NewLedger, world: World, data: st.DataObject
) -> None:
    """Episodes may differ with the order of delivery; the balance of no account does."""
    shuffled = data.draw(st.permutations(world.records), label="shuffled")
    found = [balances(delivered(new_ledger, world, order)) for order in (world.records, shuffled)]
    assert found[0] == found[1]
    books = world.audit().books(world.audit().cut(datetime.max.replace(tzinfo=UTC)))
    assert found[0] == sorted(
        (account[0], account[2], money, str(books.properties_of(account)))
        for account, money in books.balances.items()
        if money or not books.is_clearing(account)
    )


def delivered(new_ledger: NewLedger, world: World, records: Iterable[Mapping[str, Any]]) -> Both:
    """The world's records in this order, in one file of small segments."""
    acts = (Delivery(tuple(records)),) if world.records else ()
    return tell(new_ledger, History(world.flow, world.time_zone, 3, acts))


def balances(both: Both) -> list[tuple[Any, ...]]:
    """All balances, when everything is on the books."""
    found = []
    with both.project() as project:
        for account_type in both.audit.periods[-1].model.account_types:
            rows = project.balances(account_type, at="9999-01-01")[1]
            found += [(account_type, row["currency"], row["balance"], str(row["properties"])) for row in rows]
    return sorted(found)


@given(history=histories(), data=st.data())
@examples(5)
def test_rebuilding_and_compacting_change_nothing(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """Over compacted files a fold of the whole log gives the rows that following it gave, and answers stay the same."""
    both = tell(new_ledger, replace(history, batch_events=min(history.batch_events, 2)))
    before = stored_tables(both.ledger)
    with both.project() as project:
        project.compact()
        assert project.rebuild() == len(both.audit.events)
    assert stored_tables(both.ledger) == before
    agree(both, data.draw(asks(both.audit), label="ask"))
    assert both.ledger.verify().faults == ()


TURNING = """{flow: f, owner: o, accounts: {pool: {kind: reservoir}, c: {kind: clearing, clears_within: 10 minutes}},
events: {fill: {producer: a, moves: [{amount: x, from: pool, to: c}]},
turn: {producer: a, moves: [{amount: x, from: c, to: pool}, {amount: y, from: pool, to: c}]}}}"""


@pytest.mark.parametrize(("day", "sequence"), [(7, 3), (9, 2), (9, 3), (5, 3)])
def test_an_event_that_clears_one_episode_and_opens_the_next(new_ledger: NewLedger, day: int, sequence: int) -> None:
    """The entries of one event belong to two episodes of one account: a cut must not count the first one's again."""
    told = [("fill", 5, {"x": 5}), ("turn", 6, {"x": 5, "y": 7}), ("fill", 8, {"x": 1})]
    records = tuple(
        {
            "type": name,
            "id": f"e{number}",
            "effective_at": f"2026-03-{on:02}T00:00:00Z",
            "occurred_at": f"2026-03-{on:02}T00:00:00Z",
            "currency": "USD",
            "amounts": amounts,
        }
        for number, (name, on, amounts) in enumerate(told)
    )
    both = tell(new_ledger, History(TURNING, "UTC", 500_000, (Delivery(records),)))
    agree(both, Ask(datetime(2026, 3, day, tzinfo=UTC), sequence))
