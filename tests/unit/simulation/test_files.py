"""Worlds in folders: both formats hold the same events, with the truth beside them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clearwell.errors import UsageError
from clearwell.simulation.files import FAULTS_FILE, write_world
from clearwell.simulation.lifecycles import AMOUNTS, EVENT_SCHEMA, PROPERTIES
from clearwell.simulation.options import FaultRates, WorldOptions
from clearwell.simulation.world import simulate, simulate_with_faults
from clearwell.values.instants import format_instant, parse_instant

OPTIONS = WorldOptions(
    events=2_000,
    seed=9,
    span=timedelta(days=2),
    chunk_events=800,
    faults=FaultRates(0.01, 0.01, 0.01, 0.01, 0.01, 0.01),
)


def wire(row: dict[str, Any]) -> dict[str, Any]:
    """One row of a chunk as the wire format has it."""
    return {
        "type": row["type"],
        "id": row["id"],
        "effective_at": row["effective_at"],
        "occurred_at": row["occurred_at"],
        "properties": {name: row[f"property_{name}"] for name in PROPERTIES if row[f"property_{name}"]},
        "amounts": {
            name: {"value": row[f"amount_{name}"], "currency": row[f"currency_{name}"]}
            for name in AMOUNTS
            if row[f"amount_{name}"] is not None
        },
    }


def test_parquet_files_hold_the_stream(tmp_path: Path) -> None:
    """Files in the order of their names are the simulated stream, and progress counts their events."""
    progress = list(write_world(OPTIONS, tmp_path, "parquet"))
    files = sorted(tmp_path.glob("events-*.parquet"))
    events = pl.concat([pl.read_parquet(file) for file in files])
    assert events.schema == EVENT_SCHEMA
    assert events.equals(pl.concat(simulate(OPTIONS)))
    assert progress == [800, 1_600, len(events)]
    assert files[0].name == "events-00001.parquet"


def test_ndjson_files_are_in_the_wire_format(tmp_path: Path) -> None:
    """Each line is one event with the fields its type has and no others."""
    list(write_world(OPTIONS, tmp_path, "ndjson"))
    lines: list[dict[str, Any]] = []
    for file in sorted(tmp_path.glob("events-*.ndjson")):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line |= {name: parse_instant(line[name]) for name in ("effective_at", "occurred_at")}
    assert lines == [wire(row) for row in pl.concat(simulate(OPTIONS)).iter_rows(named=True)]


def test_truth_is_written_beside_the_events(tmp_path: Path) -> None:
    """The file of faults has every planted fault, with instants in UTC."""
    list(write_world(OPTIONS, tmp_path))
    written = [json.loads(line) for line in (tmp_path / FAULTS_FILE).read_text().splitlines()]
    planted = pl.concat([chunk.faults for chunk in simulate_with_faults(OPTIONS)])
    for fault in written:
        for name in ("effective_at", "until"):
            fault[name] = fault[name] and format_instant(parse_instant(fault[name]))
    expected = list(planted.iter_rows(named=True))
    for fault in expected:
        for name in ("effective_at", "until"):
            fault[name] = fault[name] and format_instant(fault[name])
    assert written == expected


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two folders written with the same options hold equal files."""
    for name in ("one", "two"):
        list(write_world(OPTIONS, tmp_path / name))
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [file.name for file in one] == [file.name for file in two]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_folder_with_a_world_is_refused(tmp_path: Path) -> None:
    """A second world in the same folder would mix two truths, so it is the caller's mistake."""
    list(write_world(OPTIONS, tmp_path))
    with pytest.raises(UsageError) as caught:
        write_world(OPTIONS, tmp_path)
    assert caught.value.code == "world_folder_used"
