"""A disk is lost the day after a person was forgotten, and the ledger comes back from its backup."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stories import Story

from clearwell.cli.main import main

if TYPE_CHECKING:
    from conftest import NewLedger

Make = Callable[..., dict[str, Any]]


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture
def shop(new_ledger: NewLedger, design_flow: str, creation: Make) -> Story:
    """Charges of Alice and of Bob, whose names are personal, and a refused record about Alice in quarantine."""
    declared: dict[str, Any] = {name: {} for name in ("charge", "business", "network", "customer")}
    declared["name"] = {"personal": True, "subject": "customer"}
    flow = design_flow.replace("producer: charges\n", f"producer: charges\n    properties: {json.dumps(declared)}\n")
    ledger = new_ledger(flow)
    records = []
    for number, name in enumerate(("Alice Adams", "Bob Brown")):
        properties = {"charge": f"ch_{number}", "business": "acct_A", "network": "visa"}
        records.append(creation(id=f"e{number}", properties={**properties, "customer": f"cus_{number}", "name": name}))
    ledger.ingest(*records, {**records[0], "id": "refused", "amounts": {}})
    return Story(ledger.folder)


def test_a_ledger_survives_its_disk(shop: Story, tmp_path: Path) -> None:
    """After the restore the figures are the same, the checkpoint holds, Bob has his name, and Alice stays forgotten."""
    kept, note = tmp_path / "kept", tmp_path / "yesterday.checkpoint"
    assert shop.say("checkpoint", "--out", str(note)).exit_code == 0
    assert shop.say("backup", str(kept)).exit_code == 0
    log = {path.name for path in (kept / "log").iterdir()}
    assert b"Alice Adams" in everything(kept), "it is in quarantine"

    assert shop.say("forget", "cus_0", "--yes").exit_code == 0
    figures = shop.ask("status", "--at", "2026-02-01")["account_types"]
    assert shop.ask("backup", str(kept))["copied"] == 0
    assert {path.name for path in (kept / "log").iterdir()} == log
    assert b"Alice Adams" not in everything(kept)

    shutil.rmtree(shop.folder)
    again = Story(tmp_path / "again")
    assert main(["restore", str(kept), str(again.folder)]) == 0
    assert again.ask("status", "--at", "2026-02-01")["account_types"] == figures
    assert again.ask("verify", "--checkpoint", str(note))["faults"] == []
    names = again.rows("SELECT property_name FROM events ORDER BY sequence")
    assert names == [("(erased)",), ("Bob Brown",)]
    assert again.ask("check")["ok"]
