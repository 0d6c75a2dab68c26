"""Writes a world into a folder: numbered event files that can be ingested, and the truth beside them.

Refuses a folder that already holds a world, so that two worlds are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import polars as pl

from clearwell.errors import UsageError
from clearwell.simulation.delivery import INSTANT
from clearwell.simulation.events import AMOUNTS, PROPERTIES
from clearwell.simulation.options import WorldOptions
from clearwell.simulation.truth import FAULT_SCHEMA
from clearwell.simulation.world import WorldChunk, simulate_with_faults

FAULTS_FILE = "faults.ndjson"
WIRE_INSTANT = "%Y-%m-%dT%H:%M:%S%.6fZ"


def write_world(
    options: WorldOptions,
    folder: Path,
    file_format: Literal["parquet", "ndjson"] = "parquet",
    *,
    with_recorded_at: bool = False,
) -> Iterator[int]:
    """Write `events-00001.parquet` (or `.ndjson`, in the wire format) and so on, and `faults.ndjson`.

    With `with_recorded_at` each event also says when it was delivered, as history that is imported does.
    Yields the number of events written so far, once per file; the files are complete when the iterator
    ends. The folder is created when it is absent. Raises UsageError when it already holds a world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FAULTS_FILE).exists() or any(folder.glob("events-*")):
        raise UsageError("world_folder_used", f"expected a folder without a world, found one in {folder}")
    return _write(options, folder, file_format, with_recorded_at)


def stream_of(chunk: WorldChunk, *, with_recorded_at: bool) -> pl.DataFrame:
    """The events of a chunk as they are written: with the column `recorded_at` when it is wanted."""
    return chunk.events.with_columns(recorded_at=chunk.recorded_at) if with_recorded_at else chunk.events


def wire_lines(events: pl.DataFrame) -> pl.Series:
    """Each event as one JSON object in the wire format: shape (len(events),), String, same order.

    No value is escaped, since simulated ids and names are plain letters, digits, dots and underscores.
    """
    numbered = events.with_row_index("row")
    parts = [part.select("row", line=_wire_expression(part)) for part in numbered.partition_by("type") if len(part)]
    if not parts:
        return pl.Series("line", dtype=pl.String)
    return pl.concat(parts).sort("row")["line"]


def write_faults(faults: pl.DataFrame, file: IO[bytes]) -> None:
    """Write planted faults (`FAULT_SCHEMA`) as lines of JSON, with instants in UTC."""
    instants = [name for name, dtype in FAULT_SCHEMA.items() if dtype == INSTANT]
    faults.with_columns(pl.col(instants).dt.strftime(WIRE_INSTANT)).write_ndjson(file)


def _write(options: WorldOptions, folder: Path, file_format: str, with_recorded_at: bool) -> Iterator[int]:
    written = 0
    with (folder / FAULTS_FILE).open("wb") as truth:
        for number, chunk in enumerate(simulate_with_faults(options), start=1):
            path = folder / f"events-{number:05d}.{file_format}"
            stream = stream_of(chunk, with_recorded_at=with_recorded_at)
            if file_format == "parquet":
                stream.write_parquet(path, compression="zstd", compression_level=1)
            else:
                lines = wire_lines(stream).to_frame()
                lines.write_csv(path, include_header=False, quote_style="never")
            write_faults(chunk.faults, truth)
            written += len(stream)
            yield written


def _wire_expression(events: pl.DataFrame) -> pl.Expr:
    """The JSON text of events that are all of one type, so that all carry the same fields."""
    properties = [name for name in PROPERTIES if events[f"property_{name}"].null_count() == 0]
    amounts = [name for name in AMOUNTS if events[f"amount_{name}"].null_count() == 0]
    texts: list[pl.Expr] = []
    for name in ("type", "id"):
        texts += [pl.lit(f'"{name}":"'), pl.col(name), pl.lit('",')]
    for name in ("effective_at", "occurred_at", "recorded_at"):
        if name in events.columns:
            texts += [pl.lit(f'"{name}":"'), pl.col(name).dt.strftime(WIRE_INSTANT), pl.lit('",')]
    texts.append(pl.lit('"properties":{'))
    for index, name in enumerate(properties):
        texts += [pl.lit(("," if index else "") + f'"{name}":"'), pl.col(f"property_{name}"), pl.lit('"')]
    texts.append(pl.lit('},"amounts":{'))
    for index, name in enumerate(amounts):
        texts += [pl.lit(("," if index else "") + f'"{name}":{{"value":'), pl.col(f"amount_{name}")]
        texts += [pl.lit(',"currency":"'), pl.col(f"currency_{name}"), pl.lit('"}')]
    return pl.concat_str(pl.lit("{"), *texts, pl.lit("}}"))
