"""A small simulated world with faults of every kind, as product and auditor are told it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from agreement import Both
from clearwell.flows.load import load_model, read_flow_files
from clearwell.simulation.auditor import Audit
from clearwell.simulation.files import write_world
from clearwell.simulation.options import FaultRates, WorldOptions

if TYPE_CHECKING:
    from conftest import NewLedger

RATE = 0.004
"""Of every kind of fault, whatever the kinds are called."""

OPTIONS = WorldOptions(events=3_000, seed=11, chunk_events=1_000, faults=FaultRates(*[RATE] * len(fields(FaultRates))))
FLOWS = Path(__file__).parents[1] / "examples" / "card_platform" / "flows"


def write(folder: Path) -> Path:
    """The world's files, in the wire format, and its truth."""
    print(f"seed {OPTIONS.seed}")
    assert sum(1 for _ in write_world(OPTIONS, folder, "ndjson")) > 1
    return folder


def tell_world(world: Path, new_ledger: NewLedger) -> Both:
    """Product and auditor, told the same files, two days apart."""
    texts = read_flow_files(FLOWS)
    model, _ = load_model(texts)
    assert model is not None
    (_, first), *others = texts.items()
    ledger = new_ledger(first)
    for name, text in others:
        ledger.write_flow(text, Path(name).stem)
    ledger.clock.now = OPTIONS.end
    both = Both(ledger, Audit(), 500_000)
    both.audit.put_in_force(model, "UTC", OPTIONS.end)
    for path in sorted(world.glob("events-*.ndjson")):
        both.deliver_file(path)
        both.ledger.clock.advance(days=2)
    return both
