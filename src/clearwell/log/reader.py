"""Reads the log: events by range of sequence, or one by one. Never writes, never guesses: what is missing raises."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars import selectors

from clearwell.errors import StorageError
from clearwell.log.footers import Footers
from clearwell.log.manifest import Compaction, LogFile, Segment, current_files
from clearwell.log.retention import Hold
from clearwell.values.deferred import Deferred
from clearwell.values.times import INSTANT, stored_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Deferred("numpy")

PART_EVENTS = 500_000
"""So many events of a large file are read at once, to bound memory."""

_INSTANTS = ("effective_at", "occurred_at", "recorded_at")


def _place(parts: Sequence[LogFile] | Sequence[Segment], sequence: int) -> int:
    """Which of the parts of a log, in their order, has the sequence, or is the first beyond it."""
    return bisect_left(parts, sequence, key=lambda part: part.last_sequence)


class LogReader:
    """The log as a manifest describes it. Later segments are not seen: a reader is a point in time.

    `hold` keeps the reader's files from being removed, for as long as the reader lives. `footers` may be shared.
    """

    def __init__(
        self,
        folder: Path,
        segments: Sequence[Segment],
        compactions: Sequence[Compaction] = (),
        hold: Hold | None = None,
        footers: Footers | None = None,
    ) -> None:
        self.folder = folder
        self.segments = tuple(segments)
        self.files = tuple(current_files(segments, compactions))
        self._compactions = tuple(compactions)
        self._hold = hold
        self.footers = footers or Footers()

    @property
    def last_sequence(self) -> int:
        """The sequence of the newest event, 0 for an empty log."""
        return self.segments[-1].last_sequence if self.segments else 0

    def upto(self, sequence: int) -> LogReader:
        """The log as it was when `sequence`, the last of a segment, was its newest."""
        return self._of([item for item in self.segments if item.last_sequence <= sequence])

    def extended(self, segment: Segment) -> LogReader:
        """The log with one segment more."""
        return self.grown([segment], [])

    def grown(self, segments: Sequence[Segment], compactions: Sequence[Compaction]) -> LogReader:
        """The log with what was added to it meanwhile."""
        if not segments and not compactions:
            return self
        if compactions or any(item.last_segment >= new.number for item in self._compactions for new in segments[:1]):
            both = (*self._compactions, *compactions)
            return LogReader(self.folder, (*self.segments, *segments), both, self._hold, self.footers)
        longer = copy(self)
        longer.segments = (*self.segments, *segments)
        longer.files = (*self.files, *current_files(segments))
        return longer

    def held(self, hold: Hold | None) -> LogReader:
        """The same log, with a hold of its own."""
        other = copy(self)
        other._hold = hold
        return other

    @property
    def generation(self) -> int:
        """The number of the newest compaction that the reader knows, 0 without any."""
        return self._compactions[-1].number if self._compactions else 0

    def _of(self, segments: Sequence[Segment]) -> LogReader:
        return LogReader(self.folder, segments, self._compactions, self._hold, self.footers)

    def path(self, file: LogFile) -> Path:
        """Where a file of the log is."""
        return self.folder / file.name

    def scan(self, file: LogFile) -> pl.LazyFrame:
        """A file of the log, unread; its instants are in microseconds, however they are stored."""
        return with_instants(pl.scan_parquet(self.path(file)))

    def covering(self, first: int, last: int) -> list[LogFile]:
        """The files with a sequence between `first` and `last`, both included."""
        start = end = _place(self.files, first)
        while end < len(self.files) and self.files[end].first_sequence <= last:
            end += 1
        return list(self.files[start:end])

    def segment_of(self, sequence: int) -> Segment:
        """The segment that holds a sequence between 1 and the last one."""
        return self.segments[_place(self.segments, sequence)]

    def events(self, file: LogFile, columns: Sequence[str] | None = None, without: Sequence[str] = ()) -> pl.DataFrame:
        """The events of a file, or of a part of one, in order of sequence.

        Raises StorageError when it is missing or damaged.
        """
        whole = self.scan(file).drop(*without, strict=False)
        if not file.compacted:
            return self.collected(file, whole.select(*columns) if columns else whole)
        own = pl.col("sequence").is_between(file.first_sequence, file.last_sequence)
        wanted = whole.filter(own)
        if columns:
            wanted = wanted.select(*dict.fromkeys(["sequence", *columns]))
        events = self.collected(file, wanted.sort("sequence"))
        return events.select(*columns) if columns else events

    def require_sound(self, file: LogFile) -> None:
        """Hash the file again. Raises StorageError when it is not the one that was written."""
        try:
            digest = file_sha256(self.path(file))
        except OSError as error:
            raise unreadable(file, error) from error
        if digest != file.sha256:
            raise StorageError(
                "segment_changed",
                f"{file.name}: expected SHA-256 {file.sha256}, found {digest}. Run `clearwell verify`.",
            )

    def matching(self, file: LogFile, condition: pl.Expr) -> pl.DataFrame:
        """A file's events for which `condition` holds, in no order; a column that the file lacks is null there."""
        scan = self.scan(file)
        present = self.schema(file, scan).names()
        missing = [name for name in condition.meta.root_names() if name not in present]
        absent = [pl.lit(None, dtype=pl.String).alias(name) for name in set(missing)]
        within = pl.col("sequence") <= file.last_sequence if file.compacted else pl.lit(value=True)
        return self.collected(file, scan.with_columns(absent).filter(condition, within).drop(set(missing)))

    def schema(self, file: LogFile, scan: pl.LazyFrame) -> pl.Schema:
        """The columns of `scan`, of the file. Raises as `collected` does."""
        try:
            return scan.collect_schema()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise unreadable(file, error) from error

    def collected(self, file: LogFile, scan: pl.LazyFrame) -> pl.DataFrame:
        """What `scan`, of the file, gives. Raises StorageError when the file is missing or damaged."""
        try:
            return scan.collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise unreadable(file, error) from error

    def after(
        self, sequence: int, columns: Sequence[str] | None = None, without: Sequence[str] = ()
    ) -> Iterator[tuple[LogFile, pl.DataFrame]]:
        """The events beyond `sequence` in log order, in frames of bounded size, each with its file or part of one."""
        for file in self.covering(sequence + 1, self.last_sequence):
            for part in file.parts(PART_EVENTS):
                if part.last_sequence > sequence:
                    events = self.events(part, columns, without)
                    if part.first_sequence <= sequence:
                        events = events.filter(pl.col("sequence") > sequence)
                    yield part, events

    def between(self, first: int, last: int) -> pl.DataFrame:
        """The events with sequences from `first` to `last`, in order, with every column that one of them has."""
        return self.at(np.arange(first, last + 1, dtype=np.int64)).sort("sequence")

    def places(self, event_id: str) -> pl.DataFrame:
        """Where events of this id are: `sequence` and `producer` of each, in order of sequence."""
        found = [pl.DataFrame(schema={"sequence": pl.Int64, "producer": pl.String})]
        for file in self.files:
            scan = self.scan(file).filter(pl.col("id") == event_id).select("sequence", "producer")
            found.append(self.collected(file, scan.filter(pl.col("sequence") <= file.last_sequence)))
        return pl.concat(found).sort("sequence")

    def at(self, sequences: npt.NDArray[np.int64]) -> pl.DataFrame:
        """The events with these sequences, in no order, with every column that one of them has."""
        found = []
        left = np.sort(sequences)
        while len(left) and left[-1] >= 1 and (place := _place(self.files, max(int(left[0]), 1))) < len(self.files):
            file = self.files[place]
            end = np.searchsorted(left, file.last_sequence, side="right")
            chosen, left = left[:end], left[end:]
            wanted = pl.col("sequence").is_in(pl.Series(chosen).implode())
            near = pl.col("sequence").is_between(int(chosen[0]), int(chosen[-1]))  # Skips row groups.
            found.append(self.collected(file, self.scan(file).filter(near & wanted)))
        return pl.concat(found, how="diagonal") if found else pl.DataFrame(schema={"sequence": pl.Int64})

    def recorded_at(self, sequence: int) -> datetime:
        """When the event with a sequence between 1 and the last one was recorded."""
        segment = self.segment_of(sequence)
        if not segment.imported:
            return datetime.fromisoformat(segment.recorded_at)
        found: datetime = self.at(np.array([sequence], dtype=np.int64))["recorded_at"].item()
        return found

    def sequence_at(self, recorded_at: datetime) -> int:
        """The newest sequence that was recorded by `recorded_at`; 0 when none was."""
        text = stored_text(recorded_at)
        sequence = 0
        for segment in self.segments:
            if segment.recorded_at <= text:
                sequence = segment.last_sequence
            elif segment.imported and segment.first_recorded_at <= text:
                (file,) = self.covering(segment.last_sequence, segment.last_sequence)
                within = pl.col("sequence").is_between(segment.first_sequence, segment.last_sequence)
                by_then = pl.col("recorded_at") <= pl.lit(recorded_at, dtype=INSTANT)
                newest = self.scan(file).filter(within & by_then).select(pl.col("sequence").max())
                sequence = int(self.collected(file, newest).item())
            else:
                break
        return sequence


def unreadable(file: LogFile, error: Exception) -> StorageError:
    """What to raise for an error about a file of the log."""
    return StorageError(
        "segment_unreadable", f"{file.name} of the log cannot be read: {error}. Run `clearwell verify`."
    )


def with_instants(events: pl.LazyFrame) -> pl.LazyFrame:
    """Events as a file has them, their instants in microseconds."""
    return events.with_columns(selectors.by_name(*_INSTANTS, require_all=False).cast(INSTANT))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError when it cannot be read."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
