"""A simulated world with many faults goes through product and auditor: both find the planted truth, and no more."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stories import EXAMPLES

from agreement import Ask, Both, agree
from clearwell.flows.load import load_model, read_flow_files
from clearwell.simulation.auditor import Audit
from clearwell.simulation.files import write_world
from clearwell.simulation.options import FaultRates, WorldOptions
from clearwell.values.accounts import account_name

if TYPE_CHECKING:
    from conftest import NewLedger

RATE = 0.004
"""Of every kind of fault, whatever the kinds are called."""

OPTIONS = WorldOptions(events=3_000, seed=11, chunk_events=1_000, faults=FaultRates(*[RATE] * len(fields(FaultRates))))
EVER = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's files, in the wire format, and its truth."""
    print(f"seed {OPTIONS.seed}")
    folder = tmp_path_factory.mktemp("world")
    assert sum(1 for _ in write_world(OPTIONS, folder, "ndjson")) > 1
    return folder


@pytest.fixture(scope="module")
def both(world: Path, new_ledger: NewLedger) -> Both:
    """Product and auditor, told the same files, two days apart."""
    texts = read_flow_files(EXAMPLES / "card_platform" / "flows")
    model, _ = load_model(texts)
    assert model is not None
    (_, first), *others = texts.items()
    ledger = new_ledger(first)
    for name, text in others:
        ledger.write_flow(text, Path(name).stem)
    ledger.clock.now = OPTIONS.end
    both = Both(ledger, Audit(), 500_000)
    both.audit.put_in_force(model, "UTC", OPTIONS.end)
    for path in sorted(world.glob("events-*.ndjson")):
        both.deliver_file(path)
        both.ledger.clock.advance(days=2)
    return both


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


def test_a_second_delivery_is_only_duplicates(world: Path, both: Both) -> None:
    """Product and auditor count every event of a file told again as a duplicate."""
    known = len(both.audit.events)
    both.deliver_file(sorted(world.glob("events-*.ndjson"))[0])
    assert len(both.audit.events) == known
