"""Worlds in folders: both formats hold the same events, with the truth beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from clearwell.errors import DataError, UsageError
from clearwell.simulation.events import AMOUNTS, EVENT_SCHEMA, PROPERTIES, STREAM_SCHEMA
from clearwell.simulation.files import FAULTS_FILE, write_world
from clearwell.simulation.incidents import FAULT_KINDS
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions
from clearwell.simulation.truth import planted_faults, read_faults
from clearwell.simulation.world import simulate, simulate_with_faults
from clearwell.values.instants import parse_instant

OPTIONS = WorldOptions(
    events=2_000,
    seed=9,
    span=timedelta(days=2),
    chunk_events=800,
    faults=FaultRates(**dict.fromkeys(FAULT_KINDS, 0.01)),
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


@pytest.mark.parametrize("form", ["parquet", "ndjson"])
def test_history_says_when_it_was_recorded(tmp_path: Path, form: Literal["parquet", "ndjson"]) -> None:
    """With `recorded_at` each event carries its instant of delivery, in both formats, in that order."""
    list(write_world(OPTIONS, tmp_path, form, with_recorded_at=True))
    recorded: list[datetime] = []
    for file in sorted(tmp_path.glob("events-*")):
        if form == "parquet":
            assert pl.read_parquet_schema(file) == STREAM_SCHEMA
            recorded += pl.read_parquet(file)["recorded_at"].to_list()
        else:
            recorded += [parse_instant(json.loads(line)["recorded_at"]) for line in file.read_text().splitlines()]
    assert recorded == [at for chunk in simulate_with_faults(OPTIONS) for at in chunk.recorded_at]


def test_truth_is_written_beside_the_events(tmp_path: Path) -> None:
    """The file of faults has every planted fault, and is read back as it was planted."""
    list(write_world(OPTIONS, tmp_path))
    planted = pl.concat([chunk.faults for chunk in simulate_with_faults(OPTIONS)])
    assert read_faults(tmp_path / FAULTS_FILE) == list(planted_faults(planted))
    written = [json.loads(line) for line in (tmp_path / FAULTS_FILE).read_text().splitlines()]
    assert [list(fault) for fault in written] == [planted.columns] * len(planted)
    assert all(fault["from_recorded_at"].endswith("Z") for fault in written)


def test_a_world_without_faults_has_an_empty_truth(tmp_path: Path) -> None:
    """The file is there, and says that nothing was planted."""
    list(write_world(replace(OPTIONS, faults=NO_FAULTS), tmp_path))
    assert read_faults(tmp_path / FAULTS_FILE) == []


def test_another_file_is_no_truth(tmp_path: Path) -> None:
    """What cannot be read as planted faults is an error in the data."""
    (tmp_path / "faults.ndjson").write_text("not json\n")
    with pytest.raises(DataError) as caught:
        read_faults(tmp_path / "faults.ndjson")
    assert caught.value.code == "truth_unreadable"


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
