"""Killed at any moment: nothing that was acknowledged is lost, nothing is there twice, and the next command goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import killing
import polars as pl
import pytest
from aftermath import Tally
from sqlalchemy import URL

import catalogs
from clearwell.ingest import door
from clearwell.ingest.duplicates import Deduplicated
from clearwell.ingest.identities import identity_hash
from clearwell.ledger.rejections import no_rejections

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "200"))
SEED = int(os.environ.get("FAULT_SEED", "0")) or int.from_bytes(os.urandom(4), "big")


PARTS = 2
"""Each kind of work is done in so many tests, which can run beside each other."""


def rounds(work: str, seed: int, count: int, home: Path) -> dict[str, int]:
    """Run rounds in a process of their own; fails with what it said when one of them was wrong."""
    command = [sys.executable, killing.__file__, work, str(seed), str(count), str(home)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"FAULT_SEED={SEED}\n{done.stderr}"
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


@pytest.mark.fault("Kill -9 at a random moment of ingest, fold, compaction or a retry from quarantine")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("work", killing.WORK)
def test_killed_at_a_random_moment(work: str, part: int, tmp_path: Path, tally: Tally) -> None:
    """Every acknowledged event is in the log exactly once, and balances and episodes are those of a rebuild."""
    count = -(-ROUNDS // (len(killing.WORK) * PARTS))
    figures = rounds(work, SEED + part, count, tmp_path)
    assert figures["rounds"] == count
    assert figures["acknowledged_events"] > 0
    tally.rounds = count


@pytest.mark.fault("Kill -9 at a random moment while the catalog is in PostgreSQL")
def test_killed_with_its_catalog_in_postgresql(tmp_path: Path, tally: Tally, postgresql: URL) -> None:
    """As above: the server rolls back what the killed process had begun, or keeps all of it."""
    with catalogs.used(postgresql):
        figures = rounds("ingest of NDJSON", SEED, -(-ROUNDS // 20), tmp_path)
    assert figures["acknowledged_events"] > 0
    tally.rounds = figures["rounds"]


@pytest.mark.fault("A ledger that loses an acknowledged event, and one that doubles it")
@pytest.mark.parametrize("fault", ["lost", "doubled"])
def test_a_loss_would_be_seen(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the rounds fails where an event is missing, and where it is there twice."""
    folder = killing.new_ledger(tmp_path / "ledger")
    with killing.open_project(folder) as project:
        killing.taken_in(project, killing.ndjson_file(folder, 1), 1, lambda _names: None)
    killing.check(folder, ["c-1-0"])
    if fault == "lost":
        with pytest.raises(AssertionError):
            killing.check(folder, ["c-1-0", "c-9-0"])
        return

    def blind(events: pl.DataFrame, *_: object) -> Deduplicated:
        return Deduplicated(events.with_columns(identity_hash()), events["position"].clear(), no_rejections())

    monkeypatch.setattr(door, "deduplicate", blind)
    with killing.open_project(folder) as project:
        project.ingest(killing.ndjson_file(folder, 1))
    with pytest.raises(AssertionError):
        killing.check(folder, ["c-1-0"])
