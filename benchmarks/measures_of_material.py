"""Makes what is measured: the world in several forms, and ledgers. Not timed; a child of its own each time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from measuring import Measured, Task
from moves import entries_query
from projects import keep_unsealed, new_project
from world import World

MORE = 2_000_000
FORM_EVENTS = 1_000_000


def world_of(task: Task) -> World:
    """The world of the task."""
    return World(task.events, datetime.fromisoformat(task.until))


def records_in(folder: Path) -> list[Path]:
    """The files of a world, in order."""
    return sorted(folder.glob("*.parquet"))


def records(task: Task) -> Measured:
    """The world, as Parquet files of a million records."""
    world_of(task).files(task.path("folder"))
    return Measured({})


def openings(task: Task) -> Measured:
    """Of as many records again that come after the world, at most `MORE`, those that close nothing.

    So they mean the same work for a ledger that has the world and for an empty one, but for the ids that are known.
    """
    task.path("folder").mkdir(parents=True)
    following = world_of(task).records(task.events, min(task.events, MORE))
    following = following.filter(~pl.col("type").is_in(["charge.release", "payout.paid", "dispute.closed"]))
    following.write_parquet(task.path("folder") / "openings.parquet", compression="zstd", row_group_size=100_000)
    return Measured({})


def ndjson(task: Task) -> Measured:
    """The first records as the wire has them: one JSON text per line, without what is not there."""
    task.path("folder").mkdir(parents=True)
    frame = _first(task)
    fields = ["type", "id", "effective_at", "occurred_at", "currency"]
    shown = frame.with_columns(pl.col("effective_at", "occurred_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    parts = [_pairs([(name, name, True) for name in fields])]
    for prefix, name, quoted in (("property_", "properties", True), ("amount_", "amounts", False)):
        found = [(column, column.removeprefix(prefix), quoted) for column in frame.columns if column.startswith(prefix)]
        parts.append(pl.concat_str(pl.lit(f'"{name}":{{'), _pairs(found), pl.lit("}")))
    line = pl.concat_str(pl.lit("{"), pl.concat_str(parts, separator=","), pl.lit("}\n"))
    texts = shown.select(line.alias("line"))["line"]
    with (task.path("folder") / "events.ndjson").open("w", encoding="utf-8") as file:
        file.writelines(texts)
    return Measured({})


def csv(task: Task) -> Measured:
    """The first records as a producer's own table, with other names and other units of time."""
    task.path("folder").mkdir(parents=True)
    frame = _first(task).rename({"type": "operation", "id": "operation_id", "currency": "iso_currency"})
    frame = frame.with_columns(pl.col("effective_at").dt.epoch("ms").alias("booked_ms")).drop("effective_at")
    frame = frame.rename(lambda name: name.removeprefix("property_").replace("amount_", "minor_"))
    frame.write_csv(task.path("folder") / "operations.csv", datetime_format="%Y-%m-%d %H:%M:%S%.3f")
    return Measured({})


def entries(task: Task) -> Measured:
    """The entries of the sound records as CSV files, a million events each; of doubled records the first alone."""
    task.path("folder").mkdir(parents=True)
    with duckdb.connect() as connection:
        known = "CREATE TABLE known AS SELECT id, min(file_row_number + 1000000 * file_index) AS place"
        read = f"read_parquet('{task.path('records')}/*.parquet', file_row_number = true)"
        connection.execute(f"{known} FROM {read} GROUP BY id HAVING count(*) > 1")
        for index, path in enumerate(records_in(task.path("records"))):
            sound = (
                f"(SELECT r.* FROM read_parquet('{path}', file_row_number = true) AS r LEFT JOIN known USING (id) "
                f"WHERE (place IS NULL OR place = file_row_number + 1000000 * {index}) AND currency <> 'XXQ' "
                "AND effective_at IS NOT NULL)"
            )
            target = task.path("folder") / f"entries-{index:05d}.csv"
            connection.execute(f"COPY ({entries_query(sound)}) TO '{target}' (HEADER false)")
    return Measured({})


def ledger(task: Task) -> Measured:
    """A project with the world ingested in batches of a million, and sealed."""
    from clearwell.application import ingesting, sealing
    from clearwell.bootstrap import open_workspace
    from clearwell.ingest.inputs import file_input

    folder = new_project(task.path("folder"), batch_events=1_000_000)
    with open_workspace(folder) as workspace:
        ingesting.ingest(workspace, [file_input(str(path)) for path in records_in(task.path("records"))])
    keep_unsealed(folder)
    with open_workspace(folder) as workspace:
        sealing.seal(workspace)
    return Measured({})


def _first(task: Task) -> pl.DataFrame:
    return pl.read_parquet(records_in(task.path("records"))[0]).head(FORM_EVENTS)


def _pairs(fields: list[tuple[str, str, bool]]) -> pl.Expr:
    """`"name":value` for each column (column, name, whether quoted) that is there, with commas between."""
    pairs = []
    for column, name, quoted in fields:
        mark = '"' if quoted else ""
        pairs.append(pl.concat_str(pl.lit(f'"{name}":{mark}'), pl.col(column).cast(pl.String), pl.lit(mark)))
    return pl.concat_str(pairs, separator=",", ignore_nulls=True)
