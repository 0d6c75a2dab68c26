"""Simulated worlds: every planted fault lowers exactly the figures that it should, by exactly the money it strands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from audited_worlds import WRONG, Told, expected_nodes, moved_money, nodes_of_account_type, nodes_of_flow, play
from plain_books import example_model

from clearwell.simulation.auditor import (
    Completeness,
    Row,
    clearing_rows,
    explained_rows,
    findings,
    node_rows,
    periods_between,
    timeliness_rows,
)
from clearwell.simulation.auditor.periods import ALL_TIME, PERIOD_KINDS, PeriodKind
from clearwell.simulation.incidents import FAULT_KINDS, incident_from
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions

START = WorldOptions.start
EVER = datetime(2027, 1, 1, tzinfo=UTC)
HALF = {kind: FaultRates(**{name: 0.5 * (name == kind) for name in FAULT_KINDS}) for kind in FAULT_KINDS}
INCIDENTS = {
    "dropped_hour": "dropped_hour:disbursements:2026-01-06T06:00Z/2026-01-06T18:00Z",
    "stuck_bank_file": "stuck_bank_file:bank_statements:2026-01-07/2026-01-09/5 days",
    "stuck_bank_file for good": "stuck_bank_file:bank_statements:2026-01-07/2026-01-09/never",
}
WORLDS = (*FAULT_KINDS, *INCIDENTS)
CUTS = [START + timedelta(hours=hours) for hours in (20, 61, 96, 190, 260, 900)]
"""In the middle, when money of late events is out; each as known at the time itself."""


@cache
def world_with(name: str) -> Told:
    """A small world in which half of the lifecycles have the fault, or that has the incident; seed 20."""
    incidents = (incident_from(INCIDENTS[name]),) if name in INCIDENTS else ()
    rates = HALF.get(name, NO_FAULTS)
    return play(WorldOptions(events=600, seed=20, span=timedelta(days=3), faults=rates, incidents=incidents))


@cache
def sound_world() -> Told:
    """A small world without faults; seed 20."""
    return play(WorldOptions(events=600, seed=20, span=timedelta(days=3), faults=NO_FAULTS))


def _node(row: Row) -> tuple[str, str, str]:
    return row["node"], row["name"], row["currency"]


def hold_nodes(told: Told, at: datetime, known_at: datetime, held: Sequence[Completeness] = ()) -> Counter[str]:
    """Hold every node at a cut against the truth; returns the company's losses by rule, all currencies together."""
    expected = expected_nodes(told, at, known_at)
    rows = node_rows(told.books(at, known_at), ALL_TIME, held)
    missing = expected.missing if held else Counter()
    losses: Counter[str] = Counter()
    for row in rows:
        node = _node(row)
        own = (expected.uncleared[node], expected.late[node], missing[node])
        assert (row["uncleared_money"], row["late_money"], row["missing_money"]) == own, node
        if row["node"] != "account_type":
            assert row["total_money"] == expected.total[node] + missing[node], node
        assert (row["score"] == 1) == (sum(own) == 0) or row["score"] is None, node
        if row["total_money"]:
            assert row["score"] == max(1 - Fraction(sum(own), row["total_money"]), 0), node
        if row["node"] == "company":
            losses += Counter(dict(zip(("uncleared", "late", "missing"), own, strict=True)))
    assert {*expected.uncleared, *expected.total} <= {_node(row) for row in rows}
    return losses


def test_a_world_without_faults_scores_one() -> None:
    """When all has happened and nothing was planted, every node scores 1, and so does every other share."""
    told = sound_world()
    books = told.books(EVER)
    held = told.completeness(books)
    assert {row["score"] for row in node_rows(books, ALL_TIME, held)} == {1}
    assert {row[name] for row in timeliness_rows(books) for name in ("timeliness", "timeliness_by_count")} == {1}
    shares = ("clearing", "clearing_by_count", "cleared_on_time", "cleared_on_time_by_count")
    assert {row[name] for row in clearing_rows(books) for name in shares} == {1}
    assert {row["completeness"] for item in held for row in item.rows()} == {1}
    clearing = {name for name, item in example_model().account_types.items() if item.kind == "clearing"}
    assert {row["account_type"] for row in clearing_rows(books)} == clearing


@pytest.mark.parametrize("name", WORLDS)
def test_every_fault_lowers_its_nodes_by_its_money(name: str) -> None:
    """In the end each node has lost what the truth says of it: stranded, late and missing money, and nothing else."""
    told = world_with(name)
    assert told.faults
    losses = hold_nodes(told, EVER, EVER, told.completeness(told.books(EVER)))
    lowered = {rule for rule, money in losses.items() if money}
    assert lowered == {
        "missing_event": {"uncleared", "missing"},
        "dropped_hour": {"uncleared", "missing"},
        "stuck_bank_file for good": {"uncleared", "missing"},
        "stuck_bank_file": {"late"},
        "late_event": {"late"},
        "late_settlement": set(),
    }.get(name, {"uncleared"})


def test_canary_a_truth_that_is_off_by_a_cent_is_noticed() -> None:
    """When the truth says of one fault a minor unit more, it contradicts the nodes."""
    told = world_with("missing_event")
    first, *others = told.faults
    wrong = Told(told.deliveries, [replace(first, amount_minor=first.amount_minor + 1), *others])
    with pytest.raises(AssertionError, match=first.currency):
        hold_nodes(wrong, EVER, EVER)


@pytest.mark.parametrize("name", WORLDS)
def test_each_fault_is_a_finding_of_its_own(name: str) -> None:
    """Every stranded account is one finding with the fault's money, every late event and every lost one another."""
    told = world_with(name)
    books = told.books(EVER)
    found: dict[str, dict[tuple[str, str], int]] = {"uncleared": {}, "late": {}, "missing": {}}
    for item in findings(books, ALL_TIME, told.completeness(books)):
        found[item.rule][item.subject, item.currency] = item.money
    assert found["uncleared"] == {fault.key: abs(fault.amount_minor) for fault in told.stands(EVER, EVER)}
    assert {subject.partition("/")[2] for subject, _ in found["late"]} == told.late_ids
    lost = {(f"{it.producer}/{it.event_id}", it.currency): abs(it.amount_minor) for it in told.lost}
    assert found["missing"] == lost


@pytest.mark.parametrize("name", WORLDS)
def test_at_every_cut_the_nodes_have_lost_what_stands(name: str) -> None:
    """While money is out, at cuts on both clocks, each node has lost what stands overdue and what came late by then."""
    told = world_with(name)
    losses: Counter[str] = Counter()
    for at in CUTS:
        losses += hold_nodes(told, at, at)
    assert losses["uncleared"]
    assert (losses["late"] > 0) == bool(told.late_ids)


@pytest.mark.parametrize("name", ["late_event", "stuck_bank_file", "late_settlement"])
def test_what_heals_lowers_timeliness_or_clearing_on_time(name: str) -> None:
    """A late event lowers timeliness by its money and not clearing on time; a late settlement the other way round."""
    told = world_with(name)
    books = told.books(EVER)
    late: Counter[tuple[str, str]] = Counter()
    for record in {record["id"]: record for _, record in told.deliveries}.values():
        for currency, money in moved_money(record).items():
            late[record["type"], currency] += money if record["id"] in told.late_ids else 0
    for row in timeliness_rows(books):
        lost = late[row["event_type"], row["currency"]]
        assert row["timeliness"] == 1 - Fraction(lost, row["money"])
    assert (sum(late.values()) > 0) == (name != "late_settlement")
    slow: Counter[tuple[str, str]] = Counter()
    for fault in told.faults if name == "late_settlement" else ():
        due = fault.due_at(example_model(), "UTC")
        assert fault.until_effective_at is not None
        if due is not None and fault.until_effective_at > due:
            slow[fault.account_type, fault.currency] += abs(fault.amount_minor)
    for row in clearing_rows(books):
        assert row["clearing"] == 1
        lost = slow[row["account_type"], row["currency"]]
        assert row["cleared_on_time"] == 1 - Fraction(lost, row["due_money"])
    assert (sum(slow.values()) > 0) == (name == "late_settlement")


@pytest.mark.parametrize("name", WORLDS)
def test_records_of_producers_find_what_the_log_cannot_know(name: str) -> None:
    """Held against what producers know, lost events are missing, repeated ones unexpected, and wrong amounts different.

    A wrong property, or an event that came late, is no matter of completeness.
    """
    told = world_with(name)
    claims = [claim for held in told.completeness(told.books(EVER)) for claim in held.claims]
    kinds: dict[str, set[str]] = {}
    for fault in told.faults:
        kinds.setdefault(fault.kind, set()).add(fault.event_id)
    assert {it.id for it in claims if it.is_missing} == {fault.event_id for fault in told.lost}
    assert {it.id for it in claims if it.is_unexpected} == kinds.get("double_posting", set())
    assert {it.id for it in claims if it.is_different} == set().union(*(kinds.get(kind, set()) for kind in WRONG))


@pytest.mark.parametrize("event_type", sorted(example_model().event_types))
def test_one_lost_event_lowers_only_the_nodes_above_its_accounts(event_type: str) -> None:
    """The same world without one event: what it moved is gone from its flow, and stands in the accounts it touched."""
    told = sound_world()
    chosen = next((record for _, record in told.deliveries if record["type"] == event_type), None)
    assert chosen is not None
    left = Told([pair for pair in told.deliveries if pair[1]["id"] != chosen["id"]], [])
    before = {_node(row): row for row in node_rows(told.books(EVER))}
    after = {_node(row): row for row in node_rows(left.books(EVER))}
    declared = example_model().event_types[event_type]
    gone: Counter[Any] = Counter()
    stranded: Counter[Any] = Counter()
    for currency, money in moved_money(chosen).items():
        gone.update(dict.fromkeys(nodes_of_flow(declared.flow, currency), money))
        touched = {it.account_type for move in declared.moves for it in (move.source, move.destination)}
        for name in touched:
            if example_model().account_types[name].kind == "clearing":
                for node in nodes_of_account_type(name, currency):
                    stranded[node] += money
    for node, row in after.items():
        assert row["uncleared_money"] == stranded[node], node
        if node[0] != "account_type":
            assert row["total_money"] == before[node]["total_money"] - gone[node], node
        assert (row["score"] == 1) == (not stranded[node]), node
    assert before.keys() - after.keys() <= gone.keys()


@pytest.mark.parametrize("kind", PERIOD_KINDS)
def test_periods_add_up_to_all_time(kind: PeriodKind) -> None:
    """Hours, days, weeks and months, in a zone of its own, each add up to all time, node by node."""
    told = world_with("late_event")
    at = CUTS[3]
    books = told.books(at, at)
    names = ("total_money", "uncleared_money", "late_money")
    sums: dict[Any, Counter[str]] = {}
    for period in periods_between(kind, START - timedelta(days=1), at, "America/New_York"):
        for row in node_rows(books, period):
            sums.setdefault(_node(row), Counter()).update({name: row[name] for name in names})
    assert {node: [own[name] for name in names] for node, own in sums.items()} == {
        _node(row): [row[name] for name in names] for row in node_rows(books)
    }


@pytest.mark.parametrize("name", ["missing_event", "wrong_property", "late_event"])
def test_named_causes_explain_exactly_their_money(name: str) -> None:
    """With a cause for every fault all is explained; with none, as much as is healthy."""
    told = world_with(name)
    books = told.books(EVER)
    causes = {fault.key[0]: name for fault in told.faults}
    causes |= {f"{fault.producer}/{fault.event_id}": name for fault in told.faults}
    held = told.completeness(books)
    assert {row["explained"] for row in explained_rows(books, causes, ALL_TIME, held)} == {1}
    scores = [row["score"] for row in node_rows(books, ALL_TIME, held)]
    assert [row["explained"] for row in explained_rows(books, {}, ALL_TIME, held)] == scores
    assert min(scores) < 1
