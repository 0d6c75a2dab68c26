"""Every metric has the same values on every engine, and by the auditor's plain loops; Spark has a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agreement import Both
from asking import Answers, answers, hold_together, opened
from clearwell.application import measuring
from clearwell.application.cutting import CutRequest
from clearwell.application.measuring import MeasureRequest
from clearwell.engines.duckdb import DuckDBEngine
from clearwell.quality.metrics import METRICS
from clearwell.simulation.auditor import aging_rows, clearing_rows, timeliness_rows
from clearwell.values.instants import parse_instant
from metrics_world import AT, tell_everything, tell_nothing
from statements import ClickHouseStatements, DuckDBStatements, PostgresStatements, postgres_server

if TYPE_CHECKING:
    from conftest import NewLedger


@pytest.fixture(scope="module", params=["everything", "nothing"])
def world(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Both:
    """The world of everything, and one without an event."""
    return (tell_everything if request.param == "everything" else tell_nothing)(new_ledger)


@pytest.fixture(scope="module")
def expected(world: Both) -> Answers:
    """What DuckDB says by the episodes that the projections keep."""
    return answers(world.ledger)
