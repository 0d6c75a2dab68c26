"""One small world with every kind of fault, made once."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from clearwell.simulation.options import FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate_with_faults

FAULTY = FaultRates(0.02, 0.02, 0.02, 0.02, 0.02, 0.02)


@pytest.fixture(scope="session")
def faulty_options() -> WorldOptions:
    return WorldOptions(events=12_000, seed=7, span=timedelta(days=4), faults=FAULTY)


@pytest.fixture(scope="session")
def faulty_world(faulty_options: WorldOptions) -> WorldChunk:
    chunks = list(simulate_with_faults(faulty_options))
    return WorldChunk(pl.concat([c.events for c in chunks]), pl.concat([c.faults for c in chunks]))
