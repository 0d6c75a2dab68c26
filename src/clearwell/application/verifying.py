"""Proof that the log is what it was and that everything derived from it is right; names what is wrong, and where."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from clearwell.application.projecting import projections
from clearwell.application.workspace import KnownModels, Workspace, require_ledger
from clearwell.errors import ClearwellError, DataError, StorageError
from clearwell.flows.model import Model
from clearwell.ingest.identities import identity_hash
from clearwell.ledger.posting import Posted, post
from clearwell.log.manifest import Segment, chain_faults
from clearwell.log.reader import LogReader
from clearwell.projections.follow import follow
from clearwell.projections.store import ProjectionStore
from clearwell.values.times import stored_text

Progress = Callable[[int], None]

_SHOWN = 20
_READ_BYTES = 1 << 24
_TABLES = ("open_accounts", "episodes", "reservoirs")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a code, where it is, what was expected there, and what was found."""

    code: str
    where: str
    expected: str
    found: str


@dataclass(frozen=True)
class Verification:
    """What was looked at, and every fault. `head` is the hash of the newest manifest row."""

    segments: int
    events: int
    head: str
    faults: tuple[Fault, ...]


def verify(workspace: Workspace, report: Progress = lambda _count: None) -> Verification:
    """Hash every file again, walk the chain, post and fold the whole log anew, and compare all that was derived.

    `report` is told the events done. Raises UsageError when the ledger is empty.
    """
    require_ledger(workspace.periods())
    log = workspace.log()
    faults = [
        Fault(item.code, f"manifest row {item.number}", item.expected, item.found)
        for item in chain_faults(log.segments)
    ]
    models = workspace.known_models()
    faults += _changed_models(models)
    faults += _foreign_models(workspace, log)
    with tempfile.TemporaryDirectory(dir=workspace.data_folder, prefix="verify-") as folder:
        fresh = ProjectionStore(Path(folder) / "fresh.duckdb")
        try:
            readable = True
            for segment in log.segments:
                found, posted = _segment_faults(log, segment, models)
                faults += found
                readable = readable and posted is not None
                if posted is not None and readable and segment.first_sequence == fresh.applied_sequence + 1:
                    fresh.apply(posted, segment.first_sequence, segment.last_sequence)
                report(segment.event_count)
            faults += _unknown_files(workspace)
            if readable and fresh.applied_sequence == log.last_sequence:
                faults += _repeated_identities(log)
                faults += _projection_faults(workspace, fresh)
        finally:
            fresh.close()
    head = log.segments[-1].hash if log.segments else ""
    return Verification(len(log.segments), log.last_sequence, head, tuple(faults))


def _segment_faults(log: LogReader, segment: Segment, models: Mapping[str, Model]) -> tuple[list[Fault], Posted | None]:
    """Compare a file with its manifest row; returns the entries when the file can be read and posted."""
    path, where = log.path(segment), segment.file_name
    if not path.is_file():
        return [Fault("segment_missing", where, "the file", "no such file")], None
    faults = []
    digest = _file_hash(path)
    if digest != segment.file_sha256:
        faults.append(Fault("segment_changed", where, f"SHA-256 {segment.file_sha256}", digest))
    try:
        events = log.events(segment)
    except StorageError as error:
        return [*faults, Fault("segment_unreadable", where, "a Parquet file", error.message)], None
    if "sequence" not in events.columns:
        return [
            *faults,
            Fault("segment_unreadable", where, "events with their sequence", ", ".join(events.columns)),
        ], None
    sequences = events["sequence"]
    expected = pl.int_range(segment.first_sequence, segment.last_sequence + 1, eager=True)
    if len(sequences) != len(expected) or not (sequences == expected).all():
        found = f"{len(sequences)} events from {sequences.min()!s} to {sequences.max()!s}"
        return [
            *faults,
            Fault("sequence_gap", where, f"{expected[0]} to {expected[-1]}, each once", found),
        ], None
    try:
        posted = post(events, models)
    except (KeyError, ClearwellError, pl.exceptions.PolarsError) as error:
        return [*faults, Fault("segment_not_postable", where, "events of a known model", repr(error))], None
    moved = json.dumps({name: str(total) for name, total in posted.moved().items()}, sort_keys=True)
    versions = ", ".join(events["model_version"].unique().sort())
    comparisons = [
        ("file_bytes_wrong", str(segment.file_bytes), str(path.stat().st_size)),
        ("model_version_wrong", segment.model_version, versions),
        ("moved_sum_wrong", segment.moved, moved),
        ("entry_count_wrong", str(segment.entry_count), str(posted.entry_count)),
        ("recorded_at_wrong", segment.recorded_at, stored_text(events["recorded_at"].max())),  # type: ignore[arg-type]
        ("effective_at_wrong", segment.first_effective_at, stored_text(events["effective_at"].min())),  # type: ignore[arg-type]
        ("effective_at_wrong", segment.last_effective_at, stored_text(events["effective_at"].max())),  # type: ignore[arg-type]
    ]
    faults += [Fault(code, where, *pair) for code, *pair in comparisons if pair[0] != pair[1]]
    return faults, posted


def _foreign_models(workspace: Workspace, log: LogReader) -> Iterator[Fault]:
    """Segments that were posted under another model than the one in force when they were recorded."""
    periods = workspace.periods()
    for segment in log.segments:
        in_force = [item.version for item in periods if item.accepted_at <= segment.recorded_at]
        if in_force[-1:] != [segment.model_version]:
            found = in_force[-1] if in_force else "none"
            yield Fault("model_not_in_force", segment.file_name, f"model {segment.model_version}", found)


def _changed_models(models: KnownModels) -> Iterator[Fault]:
    """Models whose texts in the catalog are not those that their version stands for."""
    for version in models:
        try:
            models[version]
        except DataError as error:
            yield Fault(error.code, f"model {version}", "the texts it was accepted with", error.message)


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _unknown_files(workspace: Workspace) -> Iterator[Fault]:
    """Files in the log's folder beyond what the manifest names; one segment more is the rest of a crash."""
    present = sorted(workspace.log_folder.iterdir())
    log = workspace.log()  # After the folder: whatever was committed meanwhile has its row.
    named = {item.file_name for item in log.segments}
    leftover = f"segment-{len(log.segments) + 1:08d}.parquet"
    for path in present:
        if path.name not in named and path.name != leftover and not path.name.endswith(".part"):
            yield Fault("file_unknown", path.name, "only files that the manifest names", "a file without a row")


def _repeated_identities(log: LogReader) -> Iterator[Fault]:
    """Events that are in the log twice under one identity."""
    if not log.segments:
        return
    scan = pl.concat([pl.scan_parquet(log.path(item)).select("producer", "id", "sequence") for item in log.segments])
    suspects = (
        scan.with_columns(identity_hash())
        .filter(pl.col("identity_hash").is_duplicated())
        .group_by("producer", "id")
        .agg(pl.col("sequence").sort())
        .filter(pl.col("sequence").list.len() > 1)
        .head(_SHOWN)
        .collect()
    )
    for row in suspects.iter_rows(named=True):
        where = f"event {row['id']} of {row['producer']}"
        yield Fault("event_repeated", where, "one sequence", ", ".join(map(str, row["sequence"])))


def _projection_faults(workspace: Workspace, fresh: ProjectionStore) -> Iterator[Fault]:
    """Rows of the stored projections that a fresh fold does not give, and the other way round."""
    try:
        with projections(workspace) as projected:
            follow(fresh, projected.log, workspace.known_models())  # What was committed while we looked.
            yield from _differing_rows(projected.store.connection, fresh)
    except DataError as error:
        yield Fault(error.code, "projections", "a log with all that was projected", error.message)


def _differing_rows(connection: duckdb.DuckDBPyConnection, fresh: ProjectionStore) -> Iterator[Fault]:
    for table in _TABLES:
        connection.register("fresh_rows", fresh.connection.execute(f"SELECT * FROM {table}").to_arrow_reader())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh_{table} AS SELECT * FROM fresh_rows")
        connection.unregister("fresh_rows")
        yield from _differences(connection, table, f"fresh_{table}", "a row that the log gives", "it is missing")
        yield from _differences(connection, f"fresh_{table}", table, "only rows that the log gives", "it is there")


def _differences(
    connection: duckdb.DuckDBPyConnection, present: str, wanted: str, expected: str, found: str
) -> Iterator[Fault]:
    table = wanted.removeprefix("fresh_")
    rows = connection.execute(
        f"SELECT account_type, replace(account, chr(31), ', '), currency, balance "
        f"FROM (SELECT * FROM {wanted} EXCEPT ALL SELECT * FROM {present}) LIMIT {_SHOWN}"
    ).fetchall()
    for account_type, account, currency, balance in rows:
        where = f"{table}: {account_type}{{{account}}} {currency} {balance}"
        yield Fault("projection_differs", where, expected, found)
