"""Ledgers that older versions wrote are read, proved and carried on."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Ledger

SAMPLES = Path(__file__).parents[2] / "samples"


def unpacked(name: str, new: Ledger, folder: Path) -> Ledger:
    """The sample as a ledger, years later."""
    with tarfile.open(SAMPLES / name) as archive:
        archive.extractall(folder, filter="data")
    new.clock.now = datetime(2027, 1, 1, tzinfo=UTC)
    return replace(new, folder=folder / "shop")


def test_a_ledger_of_the_first_catalog(ledger: Ledger, tmp_path: Path) -> None:
    """Manifest rows of format 1 keep their hashes, the projections are rebuilt, duplicates known, and events follow."""
    ledger = unpacked("ledger-catalog-0001.tar.gz", ledger, tmp_path)
    verification = ledger.verify()
    assert (verification.segments, verification.events, verification.faults) == (2, 4, ())
    assert verification.head.startswith("0ed531093fba876c")
    rows = {row["account_type"]: row for row in ledger.status().account_types}
    assert rows["charge_undisbursed"]["open_money"] == 25
    with ledger.open() as workspace:
        assert [item.format for item in workspace.log().segments] == [1, 1]
    first = Path(ledger.folder, "again.ndjson")
    first.write_text(
        '{"type": "charge.creation", "id": "evt_1", "effective_at": "2026-01-02T03:04:05Z", "occurred_at": '
        '"2026-01-02T03:04:05Z", "properties": {"charge": "ch_1", "business": "acct_A", "network": "visa"}, '
        '"amounts": {"gross": {"value": 1000, "currency": "USD"}}}\n'
    )
    assert ledger.ingest_file(first).duplicates == 1
    first.write_text(first.read_text().replace("evt_1", "evt_9"))
    assert ledger.ingest_file(first).last_sequence == 5
    assert ledger.fault_codes() == set()
