"""Cuts: what a user's words about times mean, and that the same cut gives the same figures for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import modelling
from clearwell.application.cutting import CutRequest, resolve_cut
from clearwell.catalog.models import ModelPeriod
from clearwell.errors import UsageError
from clearwell.log.manifest import Segment
from clearwell.log.reader import LogReader
from clearwell.values.cuts import Cut
from clearwell.values.instants import format_instant

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Ledger

Make = Callable[..., dict[str, Any]]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
MODEL = datetime(2025, 12, 31, tzinfo=UTC)
PERIODS = [ModelPeriod(1, "v", "UTC", "2025-12-31T00:00:00.000000Z")]


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


# The log is that of test_log_manifest: two events recorded on each of the first three days of January.
CUTS: list[tuple[str, str, Cut]] = [
    ("", "", Cut(NOW, day(3), 6)),
    ("2025-06-01", "", Cut(datetime(2025, 6, 1, tzinfo=UTC), day(3), 6)),
    ("2026-01-05T01:00:00+01:00", "", Cut(day(5), day(3), 6)),
    ("", "4", Cut(day(2), day(2), 4)),
    ("", "3", Cut(day(2), day(2), 3)),
    ("", "0", Cut(MODEL, MODEL, 0)),
    ("2026-01-09", "4", Cut(day(9), day(2), 4)),
    ("", "2026-01-02", Cut(day(2), day(2), 4)),
    ("", "2026-01-02T23:59:59Z", Cut(day(3) - timedelta(seconds=1), day(3) - timedelta(seconds=1), 4)),
    ("", "2026-01-03", Cut(day(3), day(3), 6)),
    ("", "2030-01-01", Cut(datetime(2030, 1, 1, tzinfo=UTC), day(3), 6)),
    ("", "2020-01-01", Cut(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC), 0)),
]


@pytest.mark.parametrize(("at", "known_at", "cut"), CUTS)
def test_words_about_times_mean_a_cut(chain: list[Segment], tmp_path: Path, at: str, known_at: str, cut: Cut) -> None:
    """Sequences, recorded times and days become the pair of times that they stand for."""
    assert resolve_cut(CutRequest(at, known_at), LogReader(tmp_path, chain), PERIODS, NOW) == cut


@pytest.mark.parametrize(
    ("at", "known_at", "code"),
    [
        ("", "7", "cut_unknown"),
        ("yesterday", "", "cut_unreadable"),
        ("", "-1", "cut_unreadable"),
        ("6", "", "cut_unreadable"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(
    chain: list[Segment], tmp_path: Path, at: str, known_at: str, code: str
) -> None:
    """A sequence beyond the log and a text that is no time are the caller's mistakes."""
    with pytest.raises(UsageError) as caught:
        resolve_cut(CutRequest(at, known_at), LogReader(tmp_path, chain), PERIODS, NOW)
    assert caught.value.code == code


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """A charge in part released, a day before another."""
    ledger.ingest(creation(), release(amounts={"net": 900, "fee": 30}))
    ledger.clock.advance(days=1)
    ledger.ingest(creation(id="evt_3", effective_at="2026-03-02T11:55:00Z"))
    return ledger


def disturb(ledger: Ledger, creation: Make, release: Make, flow: str) -> None:
    """Late, early and later events, another window and another owner."""
    ledger.clock.advance(days=1)
    ledger.ingest(release(id="r2", effective_at="2026-01-01T00:00:00Z"), creation(id="e7"))
    ledger.write_flow(flow.replace("10 minutes", "30 days").replace("payments-engineering", "somebody-else"))
    ledger.clock.advance(days=1)
    with ledger.open() as workspace:
        modelling.accept_model(workspace)
    ledger.clock.advance(days=1)
    ledger.ingest(release(id="r3", effective_at="2026-03-02T11:59:00Z"), creation(id="e8"))


@pytest.mark.parametrize("known_by", ["sequence", "recorded_at", "middle_of_a_segment"])
def test_the_same_cut_gives_the_same_figures_for_ever(
    filled: Ledger, creation: Make, release: Make, design_flow: str, known_by: str
) -> None:
    """Events that come later, and a changed model, change nothing about what was said of a cut."""
    cut = filled.status().cut
    known_at = {"sequence": "3", "recorded_at": format_instant(cut.recorded_at), "middle_of_a_segment": "1"}[known_by]
    at = format_instant(cut.effective_at)
    before = filled.status(at, known_at)
    disturb(filled, creation, release, design_flow)
    assert filled.status(at, known_at) == before


def test_the_cut_that_an_answer_names_can_be_asked_again(
    filled: Ledger, creation: Make, release: Make, design_flow: str
) -> None:
    """An answer for now says its cut; asking for that cut later gives the same answer."""
    answers = []
    for _ in range(2):
        answers.append(filled.status())
        disturb(filled, creation, release, design_flow)
        answers.append(filled.status())
        filled.write_flow(design_flow)
        with filled.open() as workspace:
            modelling.accept_model(workspace)
        answers.append(filled.status())
    for answer in answers:
        cut = answer.cut
        assert filled.status(format_instant(cut.effective_at), format_instant(cut.recorded_at)) == answer


def test_a_setting_changes_no_past_figure(ledger: Ledger, creation: Make, design_flow: str) -> None:
    """The zone of business days is a setting; changing it does not change what was said of a past cut."""
    ledger.write_flow(design_flow.replace("10 minutes", "1 business day, calendar: US-NY"))
    ledger.ingest(creation(effective_at="2026-02-28T01:00:00Z"))
    ledger.clock.advance(days=5)
    before = ledger.status("2026-03-02T12:00:00Z", "1")
    ledger.write_settings(time_zone="America/Los_Angeles")
    assert ledger.status("2026-03-02T12:00:00Z", "1") == before


def test_flows_that_are_not_in_force_are_said_aloud(filled: Ledger, design_flow: str) -> None:
    """Who edits a flow and asks is told that the answer still follows the accepted one; others hear nothing."""
    filled.status()
    assert filled.notices == []
    filled.write_flow(design_flow.replace("10 minutes", "20 minutes"))
    filled.status()
    assert ["not in force" in notice for notice in filled.notices] == [True]
