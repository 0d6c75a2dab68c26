"""Reads the log: events by range of sequence, or one by one. Never writes, never guesses: what is missing raises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.errors import StorageError
from clearwell.log.manifest import Segment


class LogReader:
    """The log as a manifest describes it. Later segments are not seen: a reader is a point in time."""

    def __init__(self, folder: Path, segments: Sequence[Segment]) -> None:
        self.folder = folder
        self.segments = tuple(segments)

    @property
    def last_sequence(self) -> int:
        """The sequence of the newest event, 0 for an empty log."""
        return self.segments[-1].last_sequence if self.segments else 0

    def upto(self, sequence: int) -> LogReader:
        """The log as it was when `sequence`, the last of a segment, was its newest."""
        return LogReader(self.folder, [item for item in self.segments if item.last_sequence <= sequence])

    def path(self, segment: Segment) -> Path:
        """Where a segment's file is."""
        return self.folder / segment.file_name

    def covering(self, first: int, last: int) -> list[Segment]:
        """The segments with a sequence between `first` and `last`, both included."""
        return [item for item in self.segments if item.last_sequence >= first and item.first_sequence <= last]

    def events(self, segment: Segment, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A segment's events in order of sequence. Raises StorageError when the file is missing or damaged."""
        scan = pl.scan_parquet(self.path(segment))
        return self._collected(segment, scan.select(*columns) if columns else scan)

    def matching(self, segment: Segment, condition: pl.Expr) -> pl.DataFrame:
        """A segment's events for which `condition` holds; a column that the segment lacks is null there."""
        scan = pl.scan_parquet(self.path(segment))
        present = scan.collect_schema().names()
        missing = [name for name in condition.meta.root_names() if name not in present]
        absent = [pl.lit(None, dtype=pl.String).alias(name) for name in set(missing)]
        return self._collected(segment, scan.with_columns(absent).filter(condition).drop(set(missing)))

    def _collected(self, segment: Segment, scan: pl.LazyFrame) -> pl.DataFrame:
        try:
            return scan.collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(
                "segment_unreadable",
                f"{segment.file_name} of the log cannot be read: {error}. Run `clearwell verify`.",
            ) from error

    def after(self, sequence: int, columns: Sequence[str] | None = None) -> Iterator[tuple[Segment, pl.DataFrame]]:
        """Each segment with events beyond `sequence`, and these events, in log order."""
        for segment in self.covering(sequence + 1, self.last_sequence):
            events = self.events(segment, columns)
            if segment.first_sequence <= sequence:
                events = events.filter(pl.col("sequence") > sequence)
            yield segment, events

    def at(self, sequences: npt.NDArray[np.int64]) -> pl.DataFrame:
        """The events with these sequences, in no order, with every column that one of them has."""
        found = []
        for segment in self.segments:
            chosen = sequences[(sequences >= segment.first_sequence) & (sequences <= segment.last_sequence)]
            if len(chosen):
                wanted = pl.col("sequence").is_in(pl.Series(chosen).implode())
                near = pl.col("sequence").is_between(int(chosen.min()), int(chosen.max()))  # Skips row groups.
                found.append(self._collected(segment, pl.scan_parquet(self.path(segment)).filter(near & wanted)))
        return pl.concat(found, how="diagonal") if found else pl.DataFrame(schema={"sequence": pl.Int64})
