"""Scores of a small story: what lowers them, where, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.errors import UsageError
from clearwell.project import Project

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]

PERIOD = "2026-01"


def nodes(ledger: Ledger, **asked: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The tree by kind and name."""
    with ledger.open() as workspace:
        report = Project(workspace).scores(**asked)
    return {(row["node"], row["name"]): row for row in report.nodes}


def told(ledger: Ledger, *records: dict[str, Any]) -> None:
    ledger.clock.now = ledger.clock.now.replace(month=1, day=2, hour=3, minute=7)
    ledger.ingest(*records)


def test_without_faults_the_score_is_1(ledger: Ledger, creation: Make, release: Make) -> None:
    """What came in time and cleared costs nothing, at any node."""
    told(ledger, creation(), release())
    ledger.clock.advance(days=1)
    found = nodes(ledger, period=PERIOD)
    assert {row["score"] for row in found.values()} == {1.0}
    assert found["company", "company"]["total_money"] == 2000


def test_what_stands_in_an_account_lowers_the_nodes_above_it(ledger: Ledger, creation: Make) -> None:
    """An overdue account costs its balance at its account type, its flow, the team and the company."""
    told(ledger, creation())
    ledger.clock.advance(days=1)
    found = nodes(ledger, period=PERIOD)
    assert [row["uncleared_money"] for row in found.values()] == [1000] * 4
    assert [row["score"] for row in found.values()] == [0.0] * 4


def test_a_late_event_costs_its_money(ledger: Ledger, design_flow: str, creation: Make, release: Make) -> None:
    """Recorded past the deadline of its type, an event costs what it moved at the flow and above."""
    ledger.write_flow(design_flow.replace("producer: charges", "producer: charges\n    arrives_within: 5 minutes"))
    late = creation(occurred_at="2026-01-01T03:04:05Z")
    told(ledger, late, release())
    found = nodes(ledger, period=PERIOD)
    assert {name: row["late_money"] for (name, _), row in found.items() if row["late_money"]} == {
        "company": 1000,
        "team": 1000,
        "flow": 1000,
    }


def test_a_missing_event_costs_its_record_s_money(ledger: Ledger, creation: Make, release: Make) -> None:
    """What a producer's own records have and the log has not counts as missing, once it was compared."""
    told(ledger, creation(), release())
    ledger.write(b"id,amount,currency\nevt_1,1000,USD\nevt_gone,250,USD\n", "records.csv")
    source = {"event_type": "charge.creation", "file": "records.csv", "amount_of": "gross"}
    ledger.write_settings(producer_sources={"charges": source})
    with ledger.open() as workspace:
        Project(workspace).completeness("charges")
    company = nodes(ledger, period="all")["company", "company"]
    assert (company["missing_money"], company["total_money"], company["score"]) == (250, 2250, 1 - 250 / 2250)


def compared(ledger: Ledger, records: bytes, at: str = "", period: str = "") -> None:
    """Compare with these records, at a cut."""
    ledger.write(b"id,amount,currency,time\n" + records, "records.csv")
    source = {"event_type": "charge.creation", "file": "records.csv", "amount_of": "gross"}
    ledger.write_settings(producer_sources={"charges": source})
    with ledger.open() as workspace:
        Project(workspace).completeness("charges", at=at or None, period=period)


def test_a_kept_score_remembers_its_comparison(ledger: Ledger, creation: Make, release: Make) -> None:
    """Computed again it is the same, though a comparison at an older cut ran since; a new evaluation is another."""
    told(ledger, creation(), release())
    ledger.clock.advance(days=1)
    record = b"evt_gone,250,USD,2026-01-02T03:00:00Z\n"
    compared(ledger, record, at="2026-01-02T12:00:00Z", period="2026-01-02")
    at = "2026-01-03T00:00:00Z"
    with ledger.open() as workspace:
        Project(workspace).evaluate(at=at)
    compared(ledger, record.replace(b"250", b"400"), at="2026-01-02T11:00:00Z", period="2026-01-02")
    with ledger.open() as workspace:
        project = Project(workspace)
        (point,) = (item for item in project.history() if item.evaluation.period == "2026-01-02")
        assert point.evaluation.comparisons == (1,)
        assert point.nodes[0]["missing_money"] == 250
        for engine in ("duckdb", ""):
            assert project.compute_again(point, engine) == point
        # What is asked now is answered by what is known now.
        assert project.scores(at=at, period="2026-01-02").nodes[0]["missing_money"] == 400
        project.evaluate(at="2026-01-03T00:00:01Z")
        assert [item.evaluation.comparisons for item in project.history()] == [(2,), ()]


def test_many_sums_are_read_as_few_are(
    ledger: Ledger, creation: Make, release: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows of sums there are, by whichever way they come, the scores are the same: now, and at a cut."""
    told(ledger, creation(), release())
    ledger.clock.advance(days=1)
    asked = ({"period": "all"}, {"period": "all", "at": "2026-01-02T03:05:00Z"})
    few = [nodes(ledger, **item) for item in asked]
    monkeypatch.setattr("clearwell.projections.cuts._FEW", 1)
    assert [nodes(ledger, **item) for item in asked] == few
    assert few[0]["company", "company"]["total_money"] == 2000


@pytest.mark.parametrize("period", ["year", "2026", "2026-13", "2026-W60", "2026-02-30", ""])
def test_a_period_that_is_none_is_refused(ledger: Ledger, creation: Make, period: str) -> None:
    """With what was expected."""
    told(ledger, creation())
    with pytest.raises(UsageError, match="expected hour, day, week, month, all"):
        nodes(ledger, period=period)


@pytest.mark.parametrize(
    ("metric", "by"),
    [
        ("timeliness", ("planet",)),
        ("timeliness", ("account_type",)),
        ("clearing", ("producer",)),
        ("clearing", ("property:planet",)),
        ("clearing", ("property:",)),
        ("clearing", ("charge", "property:business")),
    ],
)
def test_a_section_that_is_none_is_refused(ledger: Ledger, creation: Make, metric: Any, by: tuple[str, ...]) -> None:
    """A name that is neither of the model nor a property, or that the metric has not."""
    told(ledger, creation())
    with ledger.open() as workspace, pytest.raises(UsageError) as caught:
        Project(workspace).measure(metric, by=by)
    assert caught.value.code == "section_unknown"


def test_an_engine_that_is_none_is_refused(ledger: Ledger, creation: Make) -> None:
    """With those that are."""
    told(ledger, creation())
    with pytest.raises(UsageError) as caught:
        nodes(ledger, period="all", engine="abacus")
    assert caught.value.code == "engine_unknown"


def test_the_rest_of_many_values_is_one_row(ledger: Ledger, creation: Make) -> None:
    """Of a property's values the most frequent are told, and the others together."""
    told(ledger, *(creation(id=f"e{number}", properties=_properties(number)) for number in range(10)))
    with ledger.open() as workspace:
        rows = Project(workspace).measure("timeliness", by=("charge",), most=3).rows
    assert [(row["is_rest"], row["value"] is None, row["event_count"]) for row in rows] == [
        (False, False, 1), (False, False, 1), (False, False, 1), (True, True, 7),
    ]  # fmt: skip


def _properties(number: int) -> dict[str, str]:
    return {"charge": f"ch_{number}", "business": "acct_A", "network": "visa"}


NAMED_AS_SECTIONS = """{flow: f, owner: o, accounts: {pool: {kind: reservoir, properties: []},
  c: {kind: clearing, properties: [owner, day], clears_within: 1 minute}},
events: {fill: {producer: a, moves: [{amount: x, from: pool, to: c}]},
  drain: {producer: a, moves: [{amount: x, from: c, to: pool}]}}}"""


@pytest.mark.parametrize("metric", ["timeliness", "lags", "clearing", "aging"])
def test_a_property_may_have_the_name_of_a_section(new_ledger: NewLedger, metric: Any) -> None:
    """`owner` alone is the owner of the flow, `property:owner` the property, and both can be asked at once."""
    ledger = new_ledger(NAMED_AS_SECTIONS)
    at = "2026-01-02T03:04:05Z"
    told_times = {"effective_at": at, "occurred_at": at, "currency": "USD", "amounts": {"x": 5}}
    ledger.ingest(
        *({"type": "fill", "id": name, **told_times, "properties": {"owner": name, "day": "d"}} for name in "ab")
    )
    with ledger.open() as workspace:
        measured = {
            by: Project(workspace).measure(metric, by=by).rows
            for by in (("owner",), ("property:owner",), ("owner", "property:day"), ("day", "property:owner"))
        }
    assert [row["owner"] for row in measured["owner",]] == ["o"]
    assert [row["value"] for row in measured["property:owner",]] == ["a", "b"]
    assert [(row["owner"], row["value"]) for row in measured["owner", "property:day"]] == [("o", "d")]
    assert [row["value"] for row in measured["day", "property:owner"]] == ["a", "b"]
    assert len({row["day"] for row in measured["day", "property:owner"]}) == 1


def test_a_shadowed_property_is_named_as_it_is_asked(new_ledger: NewLedger) -> None:
    """The message that lists what there is says how to name a property whose name is a section's."""
    ledger = new_ledger(NAMED_AS_SECTIONS)
    with ledger.open() as workspace:
        project = Project(workspace)
        project.accept_model()
        with pytest.raises(UsageError, match="property:day, property:owner, found 'planet'"):
            project.measure("clearing", by=("planet",))
