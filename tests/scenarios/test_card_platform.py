"""A simulated card platform: what is open at the end is what was planted, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stories import Story

from clearwell.cli.main import main
from clearwell.values.accounts import account_name

SEED = 7
EVENTS = 20_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    print(f"seed {SEED}")
    assert main(["simulate", str(folder), "--events", str(EVENTS), "--seed", str(SEED)]) == 0
    return folder


@pytest.fixture(scope="module")
def faults(world: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world / "faults.ndjson").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def files(world: Path) -> list[str]:
    return [str(path) for path in sorted(world.glob("events-*.parquet"))]


@pytest.fixture(scope="module")
def platform(files: list[str], faults: list[dict[str, Any]], copy_example: Callable[[str], Story]) -> Story:
    story = copy_example("card_platform")
    receipt = story.ask("ingest", *files)
    assert receipt["accepted"] >= EVENTS
    assert receipt["quarantined"] == 0
    assert receipt["duplicates"] == sum(fault["kind"] == "duplicate_delivery" for fault in faults)
    return story


def stranded(faults: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """The accounts in which the planted faults leave money for good, each with its balance."""
    money: Counter[tuple[str, str]] = Counter()
    for fault in faults:
        if fault["until"] is None and fault["amount_minor"]:
            money[fault["account"], fault["currency"]] += fault["amount_minor"]
    return {account: amount for account, amount in money.items() if amount}


def test_every_kind_of_fault_is_planted(faults: list[dict[str, Any]]) -> None:
    """The world holds faults that strand money, faults that heal, and deliveries that are repeated."""
    assert {fault["kind"] for fault in faults} == {
        "missing_event",
        "wrong_property",
        "wrong_amount",
        "double_posting",
        "duplicate_delivery",
        "late_event",
    }


def test_open_accounts_are_the_planted_faults(platform: Story, faults: list[dict[str, Any]]) -> None:
    """The open accounts are exactly those in which a planted fault strands money, with exactly its balance."""
    found = {
        (account_name(row["account_type"], row["properties"]), row["currency"]): row["balance"]
        for row in platform.ask("open")
    }
    assert found == stranded(faults)
    assert found


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


def test_trace_of_a_charge_that_was_never_released(platform: Story, faults: list[dict[str, Any]]) -> None:
    """The trace of a charge without release shows its creation alone, and all of its money left standing."""
    fault = next(
        fault
        for fault in faults
        if fault["kind"] == "missing_event" and fault["event_type"] == "charge.release" and fault["amount_minor"] > 0
    )
    charge = fault["account"].split("charge=", 1)[1].split(",", 1)[0]
    found = platform.ask("trace", f"charge={charge}")
    assert [event["type"] for event in found["events"]] == ["charge.creation"]
    standing = {
        account_name(row["account_type"], row["properties"]): row["balance"]
        for row in found["accounts"]
        if row["account_type"] == "charge_undisbursed"
    }
    assert standing == {fault["account"]: fault["amount_minor"]}
