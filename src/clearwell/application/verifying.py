"""Proof that the log is what it was and that everything derived from it is right; names what is wrong, and where."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.application.faults import Fault
from clearwell.application.projecting import projections_from
from clearwell.application.sealing import read_sealed
from clearwell.application.verifying_seals import KeptCheckpoint, SealedTree
from clearwell.application.workspace import KnownModels, Workspace, require_ledger
from clearwell.catalog import manifest
from clearwell.errors import ClearwellError, DataError, StorageError
from clearwell.flows.model import Model
from clearwell.ingest.identities import identity_hash
from clearwell.ledger.posting import Posted, post
from clearwell.log.leftovers import names_its_content
from clearwell.log.manifest import LogFile, Segment, chain_faults
from clearwell.log.reader import PART_EVENTS, LogReader, file_sha256
from clearwell.projections.follow import follow
from clearwell.projections.store import TABLES, ProjectionStore
from clearwell.values.times import stored_text

Progress = Callable[[int], None]

_SHOWN = 20
_FOLDED_AT_ONCE = 1 << 19

_SUMS = "SELECT count(*), sum(hash(t)::HUGEINT), bit_xor(hash(t)) FROM {} AS t"
"""The same for the same rows in any order; by chance for others, once in 2 to the power of 64."""

_OF_ACCOUNT = "concat(account_type, '{', replace(account, chr(31), ', '), '} ', currency, ' ', balance::HUGEINT)"
_OF_HOUR = "concat(account_type, ' ', currency, ', opened ', to_timestamp(opened_hour * 3600))"
_OF_QUARTER = "concat(event_type, ' ', currency, ', recorded ', to_timestamp(quarter * 900))"
_NAMED = {"episode_hours": _OF_HOUR, "event_sums": _OF_QUARTER}
"""How a row is called in a fault."""


@dataclass(frozen=True)
class Verification:
    """What was looked at, and every fault. `head` is the newest manifest row's hash; seals cover `sealed`."""

    segments: int
    events: int
    sealed: int
    head: str
    faults: tuple[Fault, ...]


def verify(
    workspace: Workspace, report: Progress = lambda _count: None, checkpoints: Sequence[KeptCheckpoint] = ()
) -> Verification:
    """Hash every file again, walk the chain, post and fold the whole log anew, and compare all that was derived.

    The tree over the events is computed anew too, and compared with the seals and with `checkpoints` kept elsewhere.
    `report` is told the events done. Raises UsageError when the ledger is empty.
    """
    require_ledger(workspace.periods())
    tree = SealedTree(read_sealed(workspace), checkpoints)
    log = workspace.log(anew=True)
    faults = [
        Fault(item.code, f"manifest row {item.number}", item.expected, item.found)
        for item in chain_faults(log.segments)
    ]
    models = workspace.known_models(anew=True)
    faults += _changed_models(models)
    faults += _foreign_models(workspace, log)
    with _scratch_folder(workspace) as folder, closing(ProjectionStore(folder / "fresh.duckdb")) as fresh:
        refolding = _Refolding(fresh, models)
        identities = np.zeros(log.last_sequence, dtype=np.uint64)
        with _one_beside() as beside:
            for file in log.files:
                faults += _file_faults(log, file)
                for part in file.parts(PART_EVENTS):
                    found, events = _part_faults(log, part)
                    faults += found
                    if events is None:
                        refolding.is_whole = False
                        break
                    identities[part.first_sequence - 1 : part.last_sequence] = _identity_hashes(events)
                    for segment, own in _by_segment(part, events):
                        beside(partial(tree.take, own))
                        faults += refolding.take(segment, file.name, own)
                report(file.event_count)
        faults += tree.faults(log)
        faults += _unknown_files(workspace)
        if refolding.is_whole_to(log.last_sequence):
            faults += _repeated_identities(log, identities)
            faults += _projection_faults(workspace, fresh)
    head = log.segments[-1].hash if log.segments else ""
    return Verification(len(log.segments), log.last_sequence, min(tree.size, log.last_sequence), head, tuple(faults))


@contextmanager
def _scratch_folder(workspace: Workspace) -> Iterator[Path]:
    try:
        scratch = tempfile.TemporaryDirectory(dir=workspace.data_folder, prefix="verify-", ignore_cleanup_errors=True)
    except OSError as error:
        message = f"a scratch folder cannot be made in {workspace.data_folder}: {error.strerror}"
        raise StorageError("scratch_not_writable", message) from error
    with scratch as folder:
        yield Path(folder)


@contextmanager
def _one_beside() -> Iterator[Callable[[Callable[[], None]], None]]:
    """A function that runs what it is given in a thread beside the caller, once the last one has ended.

    What goes wrong there is raised by the next call, or at the end.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside") as thread:
        last = thread.submit(lambda: None)

        def beside(work: Callable[[], None]) -> None:
            nonlocal last
            last.result()
            last = thread.submit(work)

        yield beside
        last.result()


class _Refolding:
    """Posts and folds the segments anew, in order, as long as all of them can be."""

    def __init__(self, store: ProjectionStore, models: Mapping[str, Model]) -> None:
        self.is_whole = True
        self._store = store
        self._models = models
        self._held: list[Posted] = []
        self._first, self._last = 1, 0

    def take(self, segment: Segment, file_name: str, events: pl.DataFrame) -> list[Fault]:
        """The next segment's events; returns what is wrong with them.

        Large segments are posted and folded in pieces, which bounds memory, and small ones together.
        """
        faults, pieces = _segment_faults(segment, file_name, events, self._models)
        self.is_whole = self.is_whole and bool(pieces)
        for piece in pieces if self.is_whole and segment.first_sequence == self._last + 1 else []:
            self._held.append(piece)
            self._last = min(self._last + _FOLDED_AT_ONCE, segment.last_sequence)
            if self._last - self._first + 1 >= _FOLDED_AT_ONCE:
                self._fold()
        return faults

    def is_whole_to(self, sequence: int) -> bool:
        """Whether all events up to `sequence` are folded."""
        if self.is_whole and self._held:
            self._fold()
        return self.is_whole and self._last == sequence

    def _fold(self) -> None:
        held, self._held = self._held, []
        self._store.apply(Posted.joined(held), self._first, self._last)
        self._first = self._last + 1


def _file_faults(log: LogReader, file: LogFile) -> list[Fault]:
    """Compare the bytes of a file with what the manifest says of them."""
    path, where = log.path(file), file.name
    if not path.is_file():
        return [Fault("segment_missing", where, "the file", "no such file")]
    digest = file_sha256(path)
    if digest != file.sha256:
        return [Fault("segment_changed", where, f"SHA-256 {file.sha256}", digest)]
    if path.stat().st_size != file.bytes:
        return [Fault("file_bytes_wrong", where, str(file.bytes), str(path.stat().st_size))]
    return []


def _part_faults(log: LogReader, part: LogFile) -> tuple[list[Fault], pl.DataFrame | None]:
    """Compare a file, or a part of one, with the sequences that it has; returns its events, when they are all there."""
    where = part.name
    if not log.path(part).is_file():
        return [], None
    try:
        events = log.events(part)
    except StorageError as error:
        return [Fault("segment_unreadable", where, "a Parquet file of events", error.message)], None
    if "sequence" not in events.columns:
        found = ", ".join(events.columns)
        return [Fault("segment_unreadable", where, "events with their sequence", found)], None
    sequences = events["sequence"]
    expected = pl.int_range(part.first_sequence, part.last_sequence + 1, eager=True)
    if len(sequences) != len(expected) or not (sequences == expected).all():
        found = f"{len(sequences)} events from {sequences.min()!s} to {sequences.max()!s}"
        return [Fault("sequence_gap", where, f"{expected[0]} to {expected[-1]}, each once", found)], None
    return [], events


def _by_segment(part: LogFile, events: pl.DataFrame) -> Iterator[tuple[Segment, pl.DataFrame]]:
    """The events of each segment of a part, of which it is known that all are there, in order."""
    for segment in part.segments:
        count = segment.last_sequence - segment.first_sequence + 1
        yield segment, events.slice(segment.first_sequence - part.first_sequence, count)


def _segment_faults(
    segment: Segment, file_name: str, events: pl.DataFrame, models: Mapping[str, Model]
) -> tuple[list[Fault], list[Posted]]:
    """Compare the events of a segment with its manifest row; returns their entries when they can be posted.

    The entries are in pieces, each of `_FOLDED_AT_ONCE` events but the last, in order.
    """
    where = file_name if file_name == segment.file_name else f"{file_name}, segment {segment.number}"
    try:
        pieces = [post(part, models) for part in events.iter_slices(_FOLDED_AT_ONCE)]
    except (KeyError, ClearwellError, pl.exceptions.PolarsError) as error:
        return [Fault("segment_not_postable", where, "events of a known model", repr(error))], []
    sums = Counter[str]()
    for piece in pieces:
        sums.update(piece.moved())
    moved = json.dumps({name: str(total) for name, total in sums.items()}, sort_keys=True)
    versions = ", ".join(events["model_version"].unique().sort())
    extremes = events.select(
        pl.min("recorded_at").alias("first_recorded_at"),
        pl.max("recorded_at"),
        pl.min("effective_at").alias("first_effective_at"),
        pl.max("effective_at").alias("last_effective_at"),
    ).row(0, named=True)
    comparisons = [
        ("model_version_wrong", segment.model_version, versions),
        ("moved_sum_wrong", segment.moved, moved),
        ("entry_count_wrong", str(segment.entry_count), str(sum(piece.entry_count for piece in pieces))),
        ("recorded_at_wrong", segment.first_recorded_at, stored_text(extremes["first_recorded_at"])),
        ("recorded_at_wrong", segment.recorded_at, stored_text(extremes["recorded_at"])),
        ("effective_at_wrong", segment.first_effective_at, stored_text(extremes["first_effective_at"])),
        ("effective_at_wrong", segment.last_effective_at, stored_text(extremes["last_effective_at"])),
    ]
    faults = [Fault(code, where, *pair) for code, *pair in comparisons if pair[0] != pair[1]]
    if not events["recorded_at"].is_sorted():
        faults.append(Fault("recorded_at_wrong", where, "times that never decrease", "some that do"))
    return faults, pieces


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


def _unknown_files(workspace: Workspace) -> Iterator[Fault]:
    """Files in the log's folder beyond those of commits. What a crash left before a commit is whole, and no fault."""
    present = sorted(workspace.log_folder.iterdir())
    with workspace.catalog.read() as connection:  # After the folder: whatever was committed meanwhile has its row.
        named = manifest.file_names(connection)
    for path in present:
        if path.name not in named and not path.name.endswith(".part") and not names_its_content(path):
            yield Fault("file_unknown", path.name, "only files that the manifest names", "a file without a row")


def _identity_hashes(events: pl.DataFrame) -> npt.NDArray[np.uint64]:
    if not {"producer", "id"} <= set(events.columns):
        return np.arange(events.height, dtype=np.uint64)  # They are no events, which is a fault of their file.
    return events.select(identity_hash()).to_series().to_numpy()


def _repeated_identities(log: LogReader, hashes: npt.NDArray[np.uint64]) -> Iterator[Fault]:
    """Events that are in the log twice under one identity, by the hashes of all, which it sorts."""
    hashes.sort()
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(repeated):
        return
    scan = pl.concat([log.scan(item).select("producer", "id", "sequence") for item in log.files])
    suspects = (
        scan.filter(identity_hash().is_in(pl.Series(repeated).implode()))
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
        with projections_from(workspace, fresh.applied_sequence) as projected:
            follow(fresh, projected.log, workspace.known_models())  # What was committed while we looked.
            yield from _differing_rows(projected.store.connection, fresh)
    except DataError as error:
        yield Fault(error.code, "projections", "a log with all that was projected", error.message)


def _differing_rows(connection: duckdb.DuckDBPyConnection, fresh: ProjectionStore) -> Iterator[Fault]:
    """Compares the sums over all rows first, which is quick, and looks for the rows where these differ."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sums") as thread:
        beside = thread.submit(_sums, connection)
        fresh_sums, stored_sums = _sums(fresh.connection), beside.result()
    for table, stored, wanted in zip(TABLES, stored_sums, fresh_sums, strict=True):
        if stored == wanted:
            continue
        connection.register("fresh_rows", fresh.connection.execute(f"SELECT * FROM {table}").to_arrow_reader())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh_{table} AS SELECT * FROM fresh_rows")
        connection.unregister("fresh_rows")
        yield from _differences(connection, table, f"fresh_{table}", "a row that the log gives", "it is missing")
        yield from _differences(connection, f"fresh_{table}", table, "only rows that the log gives", "it is there")


def _sums(connection: duckdb.DuckDBPyConnection) -> list[list[tuple[int, ...]]]:
    return [connection.execute(_SUMS.format(table)).fetchall() for table in TABLES]


def _differences(
    connection: duckdb.DuckDBPyConnection, present: str, wanted: str, expected: str, found: str
) -> Iterator[Fault]:
    table = wanted.removeprefix("fresh_")
    named = _NAMED.get(table, _OF_ACCOUNT)
    rows = connection.execute(
        f"SELECT {named} FROM (SELECT * FROM {wanted} EXCEPT ALL SELECT * FROM {present}) LIMIT {_SHOWN}"
    ).fetchall()
    for (row,) in rows:
        yield Fault("projection_differs", f"{table}: {row}", expected, found)
