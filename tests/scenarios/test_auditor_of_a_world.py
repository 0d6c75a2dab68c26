"""A simulated world with many faults goes through product and auditor: both find the planted truth, and no more."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agreement import Ask, Both, agree
from clearwell.simulation.auditor.periods import PeriodKind
from clearwell.values.accounts import account_name
from played_world import OPTIONS, tell_world, write
from quality_agreement import hold_quality

if TYPE_CHECKING:
    from conftest import NewLedger

EVER = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's files."""
    return write(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def both(world: Path, new_ledger: NewLedger) -> Both:
    """Product and auditor, told the same."""
    return tell_world(world, new_ledger)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_both_find_the_planted_truth(world: Path, both: Both) -> None:
    """In the end the open accounts are those in which a fault strands money, in the product and by plain loops."""
    planted: Counter[tuple[str, str]] = Counter()
    for fault in _lines(world / "faults.ndjson"):
        if fault["until_recorded_at"] is None:
            planted[fault["account"], fault["currency"]] += fault["amount_minor"]
    stranded = {account: money for account, money in planted.items() if money}
    assert stranded
    with both.project() as project:
        found = project.open_accounts(at=EVER).accounts
    audited = both.audit.books(both.audit.cut(EVER)).open_accounts()
    for rows in (found, audited):
        assert {(_name(row), row["currency"]): row["balance"] for row in rows} == stranded


def _name(row: dict[str, Any]) -> str:
    return account_name(row["account_type"], row["properties"])


def test_both_agree_at_cuts_on_both_clocks(both: Both) -> None:
    """While money is in flight, overdue and not told yet, every figure is the auditor's."""
    first = both.audit.segments()[0]
    ever = both.audit.books(both.audit.cut(EVER))
    stuck = ever.open_episodes()[0]
    due = ever.due_at(stuck)
    assert due is not None
    traced = dict(list(ever.properties_of(stuck.account).items())[:1])
    agree(
        both,
        Ask(EVER, account_type="business_balance", traced=traced, steps=2),
        Ask(OPTIONS.end, account_type=stuck.account[0]),
        Ask(due, traced=traced),
        Ask(OPTIONS.start + timedelta(days=2), first.events[-1].sequence // 2),
        Ask(known_at=first.recorded_at),
    )


@pytest.mark.parametrize("kind", ["all", "month", "week", "day"])
def test_both_agree_on_quality(both: Both, kind: PeriodKind) -> None:
    """Scores and metrics of a world with every kind of fault: at the end, and in the middle on both clocks."""
    first = both.audit.segments()[0]
    hold_quality(both, Ask(EVER), "all")
    hold_quality(both, Ask(OPTIONS.end), kind)
    hold_quality(both, Ask(OPTIONS.start + timedelta(days=2), first.events[-1].sequence // 2), kind)


def test_a_second_delivery_is_only_duplicates(world: Path, both: Both) -> None:
    """Product and auditor count every event of a file told again as a duplicate."""
    known = len(both.audit.events)
    both.deliver_file(sorted(world.glob("events-*.ndjson"))[0])
    assert len(both.audit.events) == known
