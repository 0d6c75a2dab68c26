"""Kill -9 of a service under load: what was acknowledged is there once, and the clients' repeats double nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import serving
from aftermath import Tally

ROUNDS = int(os.environ.get("SERVICE_FAULT_ROUNDS", "30"))
SEED = int(os.environ.get("FAULT_SEED", "0")) or int.from_bytes(os.urandom(4), "big")


@pytest.mark.fault("Kill -9 of a service under load, at a random moment, while its clients send again")
def test_service_killed_under_load(tmp_path: Path, tally: Tally) -> None:
    """Every event that a client was told of is in the log exactly once, and the state is that of a rebuild."""
    command = [sys.executable, serving.__file__, str(SEED), str(ROUNDS), str(tmp_path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"FAULT_SEED={SEED}\n{done.stderr}"
    figures = json.loads(done.stdout)
    assert figures["kills"] == ROUNDS
    assert figures["acknowledged_events"] > ROUNDS
    assert figures["resent"] > 0
    tally.rounds = ROUNDS
