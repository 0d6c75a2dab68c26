"""A simulated card platform: what is open at the end is what was planted, and nothing else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from stories import Story

from clearwell.cli.main import main
from clearwell.flows.load import load_model, read_flow_files
from clearwell.flows.model import Model
from clearwell.simulation.incidents import FAULT_KINDS, INCIDENT_KINDS
from clearwell.simulation.truth import AccountKey, Books, PlantedFault, judge, read_faults
from clearwell.values.accounts import account_name
from clearwell.values.instants import parse_cut_instant

SEED = 7
EVENTS = 20_000
RATES = dict.fromkeys(FAULT_KINDS, 0.004) | {"payout.wrong_property": 0.1, "fx_rounding": 0.5}
INCIDENTS = (
    "dropped_hour:disbursements:2026-01-07T18:00Z/2026-01-07T19:00Z",
    "stuck_bank_file:bank_statements:2026-01-08/2026-01-09/5 days",
)
LONG_AFTER = "2026-06-01"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    print(f"seed {SEED}")
    faults = [word for kind in RATES for word in ("--fault", f"{kind}={RATES[kind]}")]
    incidents = [word for text in INCIDENTS for word in ("--incident", text)]
    options = ["--events", str(EVENTS), "--seed", str(SEED), "--with-recorded-at", *faults, *incidents]
    assert main(["simulate", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def faults(world: Path) -> list[PlantedFault]:
    return read_faults(world / "faults.ndjson")


@pytest.fixture(scope="module")
def recorded_at(world: Path) -> list[datetime]:
    """When each event arrived for the first time: the event of sequence N at place N - 1."""
    stream = pl.concat([pl.read_parquet(path) for path in sorted(world.glob("events-*.parquet"))])
    return stream.unique("id", keep="first", maintain_order=True)["recorded_at"].to_list()


@pytest.fixture(scope="module")
def files(world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The events in several files, as their producers tell them."""
    folder = tmp_path_factory.mktemp("told")
    stream = pl.concat([pl.read_parquet(path) for path in sorted(world.glob("events-*.parquet"))]).drop("recorded_at")
    paths = []
    for number, part in enumerate(stream.iter_slices(7_000)):
        paths.append(str(folder / f"{number}.parquet"))
        part.write_parquet(paths[-1])
    return paths


@pytest.fixture(scope="module")
def platform(files: list[str], recorded_at: list[datetime], copy_example: Callable[[str], Story]) -> Story:
    story = copy_example("card_platform")
    receipts = [story.ask("ingest", file) for file in files]
    assert sum(receipt["accepted"] for receipt in receipts) == len(recorded_at) >= EVENTS
    assert sum(receipt["quarantined"] for receipt in receipts) == 0
    assert sum(receipt["duplicates"] for receipt in receipts) > 0
    return story


@pytest.fixture(scope="module")
def model(platform: Story) -> Model:
    found, _ = load_model(read_flow_files(platform.folder / "flows"))
    assert found is not None
    return found


def money_of(accounts: list[dict[str, Any]]) -> dict[AccountKey, int]:
    """The balance of each account, by its printed name and currency."""
    return {(account_name(row["account_type"], row["properties"]), row["currency"]): row["balance"] for row in accounts}


def test_every_kind_of_fault_is_planted(faults: list[PlantedFault]) -> None:
    """The world holds faults that strand money, faults that heal, and both incidents."""
    assert {fault.kind for fault in faults} == set(INCIDENT_KINDS)
    assert {fault.incident for fault in faults} == {None, *INCIDENTS}


def test_open_accounts_are_the_planted_faults(
    platform: Story, faults: list[PlantedFault], recorded_at: list[datetime], model: Model
) -> None:
    """Long after, the open accounts are exactly those in which a fault strands money, with exactly its balance."""
    at = parse_cut_instant(LONG_AFTER)
    found = money_of(platform.ask("open", "--at", LONG_AFTER))
    verdict = judge(faults, Books(at, max(recorded_at), model, "UTC"), found)
    assert verdict.holds, (verdict.missed[:3], verdict.unexplained)
    assert not verdict.not_due
    assert len(found) > 100


@pytest.mark.parametrize("hindsight", [True, False], ids=["as known at the end", "as known then"])
@pytest.mark.parametrize(
    "day", ["2026-01-06", "2026-01-07T18:40Z", "2026-01-07T23:00Z", "2026-01-10T16:00Z", "2026-01-12", "2026-01-20"]
)
def test_at_a_cut_overdue_is_what_the_truth_says(
    platform: Story, faults: list[PlantedFault], recorded_at: list[datetime], model: Model, day: str, hindsight: bool
) -> None:
    """At any cut of both clocks the overdue accounts are exactly the stranded ones whose window has run out."""
    at = parse_cut_instant(day)
    known = max(recorded_at) if hindsight else at
    sequence = bisect_right(recorded_at, known)
    found = money_of(platform.ask("open", "--state", "overdue", "--at", day, "--known-at", str(sequence)))
    verdict = judge(faults, Books(at, known, model, "UTC"), found)
    assert verdict.holds, (verdict.missed[:3], verdict.unexplained)
    assert verdict.overdue


def test_imported_history_answers_by_its_own_clock(
    world: Path, faults: list[PlantedFault], copy_example: Callable[[str], Story], model: Model
) -> None:
    """A world that says when it was recorded is imported, and each past instant knows what had arrived by then."""
    story = copy_example("card_platform")
    receipt = story.ask("ingest", "--import", *(str(path) for path in sorted(world.glob("events-*.parquet"))))
    assert receipt["quarantined"] == 0
    for day in ("2026-01-06T09:00:00Z", "2026-01-08T03:00:00Z", "2026-01-11T12:00:00Z", "2026-01-20T00:00:00Z"):
        at = parse_cut_instant(day)
        found = money_of(story.ask("open", "--state", "overdue", "--known-at", day))
        verdict = judge(faults, Books(at, at, model, "UTC"), found)
        assert verdict.holds, (day, verdict.missed[:3], verdict.unexplained)
        assert verdict.overdue


def test_the_log_verifies(platform: Story) -> None:
    """Files, chain, sequences, sums and projections are all right."""
    said = platform.say("verify")
    assert said.exit_code == 0, said.out + said.error


def test_a_second_delivery_is_only_duplicates(platform: Story, files: list[str]) -> None:
    """Ingesting the same files again accepts nothing, quarantines nothing, and leaves the open accounts as they are."""
    before = platform.ask("query", "SELECT account, currency, balance FROM open_accounts ORDER BY ALL")
    count = platform.rows("SELECT count(*) FROM events")[0][0]
    again = platform.ask("ingest", *files)
    assert (again["accepted"], again["quarantined"], again["first_sequence"]) == (0, 0, None)
    assert again["duplicates"] >= count
    assert platform.rows("SELECT count(*) FROM events") == [(count,)]
    assert platform.ask("query", "SELECT account, currency, balance FROM open_accounts ORDER BY ALL") == before


def test_trace_of_a_charge_that_was_never_released(platform: Story, faults: list[PlantedFault]) -> None:
    """The trace of a charge without release shows its creation alone, and all of its money left standing."""
    fault = next(
        fault
        for fault in faults
        if fault.kind == "missing_event" and fault.event_type == "charge.release" and fault.amount_minor > 0
    )
    charge = fault.account.split("charge=", 1)[1].split(",", 1)[0]
    found = platform.ask("trace", f"charge={charge}")
    assert "charge.release" not in {event["type"] for event in found["events"]}
    touched = [row for row in found["accounts"] if row["account_type"] == "charge_undisbursed"]
    assert money_of(touched) == {fault.key: fault.amount_minor}
