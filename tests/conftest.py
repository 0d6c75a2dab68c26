"""What every test may use: a clock that stands still, the flow of the design, and projects in scratch folders."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import Connection

import catalogs
from clearwell.application import ingesting, questions, verifying
from clearwell.application.cutting import CutRequest
from clearwell.application.questions import StatusReport
from clearwell.application.verifying import Verification
from clearwell.application.workspace import Workspace
from clearwell.bootstrap import open_workspace
from clearwell.ingest.door import Receipt
from clearwell.ingest.inputs import file_input
from clearwell.log.manifest import GENESIS, Segment
from servers import postgresql

# A slow machine is no failure: speed is measured in benchmarks.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")

DESIGN_FLOW = """\
flow: card_payments
owner: payments-engineering
accounts:
  card_network_receivable: {kind: reservoir, properties: [network]}
  charge_undisbursed: {kind: clearing, properties: [charge, business], clears_within: 10 minutes}
  business_balance: {kind: reservoir, properties: [business]}
  platform_fees: {kind: reservoir, properties: []}
events:
  charge.creation:
    producer: charges
    moves:
      - {amount: gross, from: card_network_receivable, to: charge_undisbursed}
  charge.release:
    producer: disbursements
    moves:
      - {amount: net, from: charge_undisbursed, to: business_balance}
      - {amount: fee, from: charge_undisbursed, to: platform_fees}
"""

_CREATION: dict[str, Any] = {
    "type": "charge.creation",
    "id": "evt_1",
    "effective_at": "2026-01-02T03:04:05Z",
    "occurred_at": "2026-01-02T03:04:05Z",
    "properties": {"charge": "ch_1", "business": "acct_A", "network": "visa"},
    "amounts": {"gross": {"value": 1000, "currency": "USD"}},
}
_RELEASE: dict[str, Any] = {
    "type": "charge.release",
    "id": "evt_2",
    "effective_at": "2026-01-02T03:06:00Z",
    "occurred_at": "2026-01-02T03:06:00Z",
    "currency": "USD",
    "properties": {"charge": "ch_1", "business": "acct_A"},
    "amounts": {"net": 970, "fee": 30},
}


@dataclass
class Clock:
    """A clock that says `now` until it is told otherwise."""

    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Ledger:
    """A project in a folder of its own, opened anew for every act, as the command line does."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    notices: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What a process that opens the project needs in its environment."""
        return catalogs.environment(self.folder, self.data)

    @contextmanager
    def catalog(self) -> Iterator[Connection]:
        """A transaction of the catalog, behind Clearwell's back."""
        with catalogs.connected(self.folder, self.data) as connection:
            yield connection

    def catalog_bytes(self) -> bytes:
        """What is on disk of the catalog's quarantine."""
        return catalogs.stored(self.folder, self.data)

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        with open_workspace(self.folder, say=self.notices.append, clock=self.clock) as workspace:
            yield workspace

    def write_flow(self, text: str, name: str = "flow") -> None:
        (self.folder / "flows").mkdir(exist_ok=True)
        (self.folder / "flows" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def write_settings(self, **settings: Any) -> None:
        (self.folder / "clearwell.yaml").write_text(json.dumps(settings), encoding="utf-8")

    def write(self, content: bytes, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def ingest(self, *records: Mapping[str, Any] | bytes, name: str = "events.ndjson") -> Receipt:
        """Ingest one NDJSON file: a line per record; bytes are written as they are."""
        lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in records]
        return self.ingest_file(self.write(b"\n".join(lines) + b"\n", name))

    def ingest_file(self, *paths: Path) -> Receipt:
        with self.open() as workspace:
            return ingesting.ingest(workspace, [file_input(str(path)) for path in paths])

    def status(self, at: str = "", known_at: str = "") -> StatusReport:
        with self.open() as workspace:
            return questions.status(workspace, CutRequest(at, known_at))

    def verify(self) -> Verification:
        with self.open() as workspace:
            return verifying.verify(workspace)

    def fault_codes(self) -> set[str]:
        return {fault.code for fault in self.verify().faults}


NewLedger = Callable[..., Ledger]

__all__ = ["postgresql"]


# --- where catalogs are ----------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--catalog", choices=catalogs.KINDS, default="", help="have every ledger's catalog there")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that are to run with each kind of catalog do so; one about the file itself never runs with another."""
    path = metafunc.definition.path.relative_to(Path(__file__).parent).as_posix()
    name = f"{path}::{metafunc.definition.originalname}"
    if metafunc.definition.get_closest_marker("catalog_file"):
        metafunc.parametrize("catalog_kind", [catalogs.SQLITE], indirect=True, ids=[""])
    elif name.startswith(catalogs.ON_BOTH) and not metafunc.config.getoption("--catalog"):
        metafunc.parametrize("catalog_kind", catalogs.KINDS, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def _usual_catalog(request: pytest.FixtureRequest) -> str:
    """Where catalogs are unless a test says otherwise."""
    usual: str = request.config.getoption("--catalog") or catalogs.SQLITE
    if usual == catalogs.POSTGRESQL:
        catalogs.use(request.getfixturevalue("postgresql"))
    return usual


@pytest.fixture(autouse=True)
def catalog_kind(request: pytest.FixtureRequest, _usual_catalog: str) -> Iterator[str]:
    """Where the catalogs of the test's ledgers are."""
    kind: str = getattr(request, "param", _usual_catalog)
    if kind == _usual_catalog:
        yield kind
        return
    with catalogs.used(request.getfixturevalue("postgresql") if kind == catalogs.POSTGRESQL else None):
        yield kind


@pytest.fixture(scope="session")
def new_ledger(tmp_path_factory: pytest.TempPathFactory) -> NewLedger:
    """Make a project: `new_ledger(flow_text, **settings)`; without a text, the flow of the design."""

    def make(flow: str = DESIGN_FLOW, **settings: Any) -> Ledger:
        made = Ledger(tmp_path_factory.mktemp("project"))
        made.write_settings(**settings)
        made.write_flow(flow)
        return made

    return make


@pytest.fixture
def ledger(new_ledger: NewLedger) -> Ledger:
    """A new project with the flow of the design."""
    return new_ledger()


@pytest.fixture(scope="session")
def design_flow() -> str:
    """The flow of the design."""
    return DESIGN_FLOW


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    record = copy.deepcopy(dict(base))
    for name, value in changes.items():
        if value is ...:
            record.pop(name, None)
        else:
            record[name] = value
    return record


@pytest.fixture(scope="session")
def creation() -> Callable[..., dict[str, Any]]:
    """Make a `charge.creation`, with fields changed; `...` leaves a field out."""
    return lambda **changes: _changed(_CREATION, changes)


@pytest.fixture(scope="session")
def release() -> Callable[..., dict[str, Any]]:
    """Make a `charge.release` of the creation's charge, with fields changed; `...` leaves a field out."""
    return lambda **changes: _changed(_RELEASE, changes)


@pytest.fixture
def chain() -> list[Segment]:
    """Three sound manifest rows of two events each, recorded on the first three days of January 2026."""
    segments: list[Segment] = []
    for number in (1, 2, 3):
        segments.append(
            Segment(
                number=number,
                first_sequence=2 * number - 1,
                last_sequence=2 * number,
                event_count=2,
                entry_count=4,
                recorded_at=f"2026-01-0{number}T00:00:00.000000Z",
                first_effective_at="2026-01-01T00:00:00.000000Z",
                last_effective_at="2026-01-01T00:00:00.000000Z",
                moved='{"USD": "5"}',
                model_version="0" * 64,
                file_name=f"segment-{number}.parquet",
                file_bytes=10,
                file_sha256="1" * 64,
                previous_hash=segments[-1].hash if segments else GENESIS,
            ).sealed()
        )
    return segments
