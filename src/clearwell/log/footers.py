"""What the footers of the log's files say, kept between questions, in bounded memory.

The least and greatest value of a column in a row group tell which row groups cannot hold a value; where they do not, a
filter does after the row group was read twice. Files of the log never change: what was read of one stays right.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from clearwell.log.filters import TextFilter, text_hashes

if TYPE_CHECKING:
    import polars as pl
    from pyarrow import parquet

_MOST_COLUMN_CHUNKS = 200_000
"""So many are kept; each takes about 800 bytes."""

_MOST_FILTER_BYTES = 64 << 20
"""So much memory filters may take, a byte for each row of a column."""

_Range = tuple[str, str] | None | bool
"""The least and greatest text of a column in a row group; None when it has none, True when nobody knows."""


class Footer:
    """The footer of one file."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or an error of Arrow, when it cannot be read."""
        from pyarrow import parquet  # Few commands need it, and it takes 40 ms.

        self.metadata = parquet.read_metadata(path)
        schema = self.metadata.schema
        self.columns = {schema.column(place).name: place for place in range(self.metadata.num_columns)}
        self.column_chunks = self.metadata.num_columns * self.metadata.num_row_groups
        self.filters: dict[str, dict[int, TextFilter | None]] = {}
        self._ranges: dict[str, list[_Range]] = {}

    @property
    def filter_bytes(self) -> int:
        """How much memory its filters take."""
        return sum(item.bytes for filters in self.filters.values() for item in filters.values() if item)

    def holding(self, column: str, texts: Collection[str] | None) -> set[int]:
        """The row groups that may hold one of `texts` in the column, or with None any value; misses none."""
        if column not in self.columns:
            return set()
        ranges = self._ranges.get(column) or self._ranges.setdefault(column, self._read_ranges(column))
        if texts is None:
            return {number for number, span in enumerate(ranges) if span is not None}
        wanted = sorted(texts)
        found = {number for number, span in enumerate(ranges) if _may_hold(span, wanted)}
        filters = self.filters.get(column, {})
        hashes = text_hashes(texts)
        return {item for item in found if (own := filters.get(item)) is None or own.may_hold(hashes)}

    def _read_ranges(self, column: str) -> list[_Range]:
        place = self.columns[column]
        return [_range(self.metadata.row_group(number), place) for number in range(self.metadata.num_row_groups)]


def _range(row_group: parquet.RowGroupMetaData, place: int) -> _Range:
    statistics = row_group.column(place).statistics
    if statistics is None:
        return True
    if statistics.has_null_count and statistics.null_count == row_group.num_rows:
        return None
    try:
        return (statistics.min, statistics.max) if statistics.has_min_max else True
    except UnicodeDecodeError:  # A writer may cut a long text anywhere.
        return True


def _may_hold(span: _Range, wanted: list[str]) -> bool:
    if not isinstance(span, tuple):
        return span is not None
    place = bisect_left(wanted, span[0])
    return place < len(wanted) and wanted[place] <= span[1]


class Footers:
    """The footers of the files that were asked for last. Threads may share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Footer] = OrderedDict()
        self._column_chunks = 0
        self._filter_bytes = 0
        self._lock = Lock()

    def of(self, path: Path) -> Footer:
        """The footer of a file. Raises as `Footer` does."""
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        footer = Footer(path)
        with self._lock:
            if path not in self._kept:
                self._kept[path] = footer
                self._column_chunks += footer.column_chunks
            while self._column_chunks > _MOST_COLUMN_CHUNKS and len(self._kept) > 1:
                dropped = self._kept.popitem(last=False)[1]
                self._column_chunks -= dropped.column_chunks
                self._filter_bytes -= dropped.filter_bytes
        return footer

    def learn(self, footer: Footer, column: str, group: int, texts: pl.Series) -> None:
        """Remember which texts a row group has in a column, when they were read for the second time.

        Where the ranges rule out most row groups, the same one is seldom read again.
        """
        with self._lock:
            filters = footer.filters.setdefault(column, {})
            is_known = group in filters
            filters.setdefault(group, None)
            if not is_known or filters[group] or self._filter_bytes >= _MOST_FILTER_BYTES:
                return
        learned = TextFilter(texts)
        with self._lock:
            if not filters[group] and footer in self._kept.values():
                filters[group] = learned
                self._filter_bytes += learned.bytes
