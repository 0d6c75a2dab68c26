"""Learned windows in a ledger: fitted at a cut, in force when accepted, and never for what was known before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import clearwell
from clearwell.application import expecting
from clearwell.application.cutting import CutRequest
from clearwell.application.expecting import ExpectationsReport
from clearwell.errors import ClearwellError

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

OPENED = datetime(2026, 2, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {"expectations": {"quantile": 0.9, "headroom": 1.5, "minimum_episodes": 10}}


@pytest.fixture
def learning(new_ledger: NewLedger, design_flow: str) -> Ledger:
    """Ten charges, cleared after 10, 20, … 100 s, and one of an hour ago, with `clears_within: learned`."""
    ledger = new_ledger(design_flow.replace("10 minutes", "learned"), **SETTINGS)
    ledger.ingest(*charges(range(1, 11)))
    return ledger


def charges(numbers: range, business: str = "a") -> list[dict[str, Any]]:
    """Charge number n opens n minutes after `OPENED`, and clears 10 n seconds later."""
    records = []
    for number in numbers:
        opened, cleared = OPENED + timedelta(minutes=number), OPENED + timedelta(minutes=number, seconds=10 * number)
        own = {"charge": f"ch_{business}{number}", "business": business}
        for kind, at, amounts, properties in (
            ("charge.creation", opened, {"gross": 100}, {**own, "network": "visa"}),
            ("charge.release", cleared, {"net": 97, "fee": 3}, own),
        ):
            instant = at.isoformat().replace("+00:00", "Z")
            records.append(
                {"type": kind, "id": f"{kind}{business}{number}", "effective_at": instant, "occurred_at": instant,
                 "properties": properties, "currency": "USD", "amounts": amounts}
            )  # fmt: skip
    return records


def learn(ledger: Ledger, *, accept: bool = False, at: str = "", known_at: str = "") -> ExpectationsReport:
    with ledger.open() as workspace:
        return (expecting.accept if accept else expecting.expectations)(workspace, CutRequest(at, known_at))


def due_count(ledger: Ledger, at: str = "", known_at: str = "") -> tuple[int, int]:
    rows = {row["account_type"]: row for row in ledger.status(at, known_at).account_types}
    return rows["charge_undisbursed"]["due_count"], rows["charge_undisbursed"]["overdue_count"]


def test_what_ten_charges_teach(learning: Ledger) -> None:
    """Nine of ten had cleared within 90 s; with headroom 1.5 that is 135 s, and nothing is stored by looking."""
    (found,) = learn(learning).expectations
    assert (found.fitted.state, found.fitted.seconds, found.fitted.episode_count) == ("learned", 135, 10)
    assert [found.fitted.quantiles[share] for share in sorted(found.fitted.quantiles)] == [50, 90, 100]
    assert (found.held.window_seconds, found.held.due_count, found.accepted) == (None, 0, None)
    assert due_count(learning) == (0, 0)


def test_an_accepted_window_counts_from_then_on(learning: Ledger) -> None:
    """Before it is accepted nothing is due, at that cut for ever; after, what is open for longer is overdue."""
    before = learning.status()
    known = before.cut.recorded_at.isoformat()
    at = before.cut.effective_at.isoformat()
    learning.clock.advance(hours=1)
    report = learn(learning, accept=True)
    assert [row.seconds for row in report.accepted] == [135]
    assert report.accepted_at == "2026-03-01T13:00:00.000000Z"
    assert due_count(learning) == (10, 0)
    stuck = charges(range(20, 21))[0]
    learning.clock.advance(hours=1)
    learning.ingest(stuck)
    assert due_count(learning) == (11, 1)
    assert due_count(learning, at, known) == (0, 0)
    assert due_count(learning, at, "20") == (0, 0)
    (again,) = learn(learning).expectations
    assert (again.accepted.seconds if again.accepted else None, again.held.due_count) == (135, 11)
    assert again.held.beyond == pytest.approx(1 / 11)


def test_the_instant_at_which_a_learned_window_runs_out(learning: Ledger) -> None:
    """It ends to the microsecond when it has passed, as a declared one does, in `open` and in `status`."""
    learn(learning, accept=True)
    learning.ingest(charges(range(20, 21))[0])
    opened = OPENED + timedelta(minutes=20)
    for after, overdue in ((timedelta(seconds=135, microseconds=-1), 0), (timedelta(seconds=135), 1)):
        at = (opened + after).isoformat()
        assert due_count(learning, at)[1] == overdue
        with clearwell.open_project(learning.folder) as project:
            assert project.open_accounts(at=at, state="overdue").total == overdue


def test_a_later_fit_takes_the_place_of_an_earlier_one(learning: Ledger) -> None:
    """Each cut has the newest window that had been accepted by its recorded time."""
    learn(learning, accept=True)
    first = learning.status().cut.recorded_at.isoformat()
    learning.clock.advance(hours=1)
    learning.ingest(*charges(range(40, 60)))
    learn(learning, accept=True)
    seen = [item.accepted.seconds for item in learn(learning).expectations if item.accepted]
    (then,) = learn(learning, known_at=first).expectations
    assert then.accepted is not None
    assert (then.accepted.seconds, seen) == (135, [840])


def test_the_clock_that_goes_back_changes_no_cut(learning: Ledger) -> None:
    """Events that come after a window was accepted were recorded after it, whatever the clock says."""
    learn(learning, accept=True)
    accepted = learning.status().cut
    learning.clock.advance(hours=-2)
    learning.ingest(charges(range(20, 21))[0])
    after = learning.status(accepted.effective_at.isoformat(), accepted.recorded_at.isoformat())
    assert after.cut == accepted


def test_a_declared_window_is_not_learned(new_ledger: NewLedger, design_flow: str) -> None:
    """Where no account type declares `learned` there is nothing to accept; what was declared stays what counts."""
    ledger = new_ledger(design_flow, **SETTINGS)
    ledger.ingest(*charges(range(1, 11)))
    (found,) = learn(ledger).expectations
    assert (found.held.window_seconds, found.held.beyond, found.warning) == (600.0, 0.0, "")
    with pytest.raises(ClearwellError) as caught:
        learn(ledger, accept=True)
    assert caught.value.code == "nothing_to_learn"


def test_too_little_history_is_not_accepted(new_ledger: NewLedger, design_flow: str) -> None:
    """With fewer episodes than the settings ask for nothing is stored, and accounts stay in flight."""
    ledger = new_ledger(design_flow.replace("10 minutes", "learned"), **SETTINGS)
    ledger.ingest(*charges(range(1, 10)))
    report = learn(ledger, accept=True)
    assert ([item.fitted.state for item in report.expectations], report.accepted) == (["too_few_episodes"], ())
    assert due_count(ledger) == (0, 0)


def test_subdivisions_are_compared(new_ledger: NewLedger, design_flow: str) -> None:
    """Each business with history is a row of its own, held against the same declared window."""
    subdivided = {**SETTINGS["expectations"], "subdivide": {"charge_undisbursed": "business"}}
    ledger = new_ledger(design_flow.replace("10 minutes", "95 seconds"), expectations=subdivided)
    ledger.ingest(*charges(range(1, 11)), *charges(range(1, 21), "b"), *charges(range(1, 3), "c"))
    found = learn(ledger).expectations
    assert [(item.fitted.value, item.fitted.is_rest, item.fitted.seconds) for item in found] == [
        (None, False, 255),
        ("b", False, 270),
        ("a", False, 135),
        (None, True, None),
    ]
    assert [item.held.called_overdue for item in found] == pytest.approx([12 / 32, 11 / 20, 1 / 10, 0.0])
    assert [item.warning for item in found] == ["window_too_short"] * 3 + [""]


def test_each_value_follows_its_own_window(new_ledger: NewLedger, design_flow: str) -> None:
    """A charge of `a` is overdue after 135 s, one of `b` after 270 s, and one of a newcomer with the account type's."""
    subdivided = {**SETTINGS["expectations"], "subdivide": {"charge_undisbursed": "business"}}
    ledger = new_ledger(design_flow.replace("10 minutes", "learned"), expectations=subdivided)
    ledger.ingest(*charges(range(1, 11)), *charges(range(1, 21), "b"))
    report = learn(ledger, accept=True)
    assert [(item.account_type, item.seconds) for item in report.accepted] == [("charge_undisbursed", 255)]
    assert [(item.value, item.seconds) for item in report.accepted_subdivisions] == [("b", 270), ("a", 135)]
    for business in "abc":
        ledger.ingest(charges(range(30, 31), business)[0], name=f"{business}.ndjson")
    opened = OPENED + timedelta(minutes=30)
    for business, seconds in (("a", 135), ("b", 270), ("c", 255)):
        for late, overdue in ((timedelta(microseconds=-1), 0), (timedelta(), 1)):
            at = (opened + timedelta(seconds=seconds) + late).isoformat()
            with clearwell.open_project(ledger.folder) as project:
                found = project.open_accounts(at=at, properties={"business": business}).accounts
                kept, computed = (project.scores(at, period="all", engine=engine).nodes for engine in ("", "duckdb"))
            assert [row["state"] == "overdue" for row in found] == [bool(overdue)], business
            assert kept == computed
    found = {item.fitted.value: item.accepted_seconds for item in learn(ledger).expectations if not item.fitted.is_rest}
    assert found == {None: 255, "a": 135, "b": 270}


@pytest.mark.parametrize("subdivide", [{"charge": "business"}, {"charge_undisbursed": "colour"}])
def test_an_unknown_subdivision_is_told(new_ledger: NewLedger, subdivide: dict[str, str]) -> None:
    """Settings that name what the model does not have are a problem of the settings, and nothing is passed over."""
    ledger = new_ledger(expectations={"subdivide": subdivide})
    ledger.ingest(*charges(range(1, 2)))
    with pytest.raises(ClearwellError) as caught:
        learn(ledger)
    assert caught.value.code == "settings_invalid"
