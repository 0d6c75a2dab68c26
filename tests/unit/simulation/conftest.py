"""One small world with every kind of fault and two incidents, made once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from plain_books import joined

from clearwell.simulation.incidents import FAULT_KINDS, incident_from
from clearwell.simulation.options import FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate_with_faults

FAULTY = FaultRates(**dict.fromkeys(FAULT_KINDS, 0.02))
RARE = FaultRates(**dict.fromkeys(FAULT_KINDS, 0.1))
INCIDENTS = (
    "dropped_hour:disbursements:2026-01-06T18:00Z/2026-01-06T19:00Z",
    "stuck_bank_file:bank_statements.rhine_bank:2026-01-08/2026-01-09/5 days",
)


@pytest.fixture(scope="session")
def faulty_options() -> WorldOptions:
    incidents = tuple(map(incident_from, INCIDENTS))
    rare = dict.fromkeys(("dispute", "conversion", "payout", "network_settlement"), RARE)
    return WorldOptions(
        events=20_000, seed=7, span=timedelta(days=4), faults=FAULTY, faults_of=rare, incidents=incidents
    )


@pytest.fixture(scope="session")
def faulty_world(faulty_options: WorldOptions) -> WorldChunk:
    return joined(simulate_with_faults(faulty_options))
