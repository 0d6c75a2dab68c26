"""What the footers of the log's files say, kept between questions, in bounded memory.

The least and greatest text of a column in a row group tell which row groups cannot hold a text; where they do not, a
filter does after the row group was read twice. Files of the log never change: what was read of one stays right.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from clearwell.log.filters import Wanted, filter_pages, may_hold

if TYPE_CHECKING:
    import polars as pl
    from pyarrow import parquet

_MOST_COLUMN_CHUNKS = 200_000
"""So many are kept; each takes about 800 bytes."""

_MOST_FILTER_PAGES = 16_384
"""So many pages of filters are kept: 64 MiB, for the texts of fifty million rows of a column."""

Range = Sequence[str] | Literal[True] | None
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
        self.filters: dict[tuple[str, int], list[bytes]] = {}
        """The pages of the filter of a column in a row group; none while it was read but once."""
        self._ranges: dict[str, list[Range]] = {}

    def holding(self, column: str, wanted: Wanted | None) -> set[int]:
        """The row groups that may hold a text that is wanted in the column, or with None any value; misses none."""
        if column not in self.columns:
            return set()
        found = within(self.ranges(column), wanted)
        return {item for item in found if self._may_hold(wanted, self.filters.get((column, item)))} if wanted else found

    @staticmethod
    def _may_hold(wanted: Wanted, pages: list[bytes] | None) -> bool:
        return not pages or may_hold(wanted, len(pages), pages.__getitem__)

    def ranges(self, column: str) -> list[Range]:
        """The range of each row group in a column that the file has."""
        return self._ranges.get(column) or self._ranges.setdefault(column, self._read_ranges(column))

    def has_ranges(self, column: str) -> bool:
        """Whether the least and greatest text of any row group are known in a column that the file has."""
        logical_type = self.metadata.schema.column(self.columns[column]).logical_type.type
        return logical_type == "STRING" and any(span is not True for span in self.ranges(column))

    def unpacked_bytes(self, column: str, group: int) -> int:
        """What a column takes in a row group before it is compressed."""
        return int(self.metadata.row_group(group).column(self.columns[column]).total_uncompressed_size)

    def _read_ranges(self, column: str) -> list[Range]:
        place = self.columns[column]
        return [_range(self.metadata.row_group(number), place) for number in range(self.metadata.num_row_groups)]


def _range(row_group: parquet.RowGroupMetaData, place: int) -> Range:
    statistics = row_group.column(place).statistics
    if statistics is None:
        return True
    if statistics.has_null_count and statistics.null_count == row_group.num_rows:
        return None
    try:
        return (statistics.min, statistics.max) if statistics.has_min_max else True
    except UnicodeDecodeError:  # A writer may cut a long text anywhere.
        return True


def within(ranges: Sequence[Range], wanted: Wanted | None) -> set[int]:
    """The row groups whose range has a text that is wanted, or with None any text; misses none."""
    if wanted is None:
        return {number for number, span in enumerate(ranges) if span is not None}
    return {number for number, span in enumerate(ranges) if _may_hold(span, wanted.texts)}


def _may_hold(span: Range, texts: list[str]) -> bool:
    return span is True or (span is not None and bisect_left(texts, span[0]) < bisect_right(texts, span[1]))


class Footers:
    """The footers of the files that were asked for last. Threads may share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Footer] = OrderedDict()
        self._column_chunks = 0
        self._filter_pages = 0
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
                self._filter_pages -= sum(map(len, dropped.filters.values()))
        return footer

    def learn(self, footer: Footer, column: str, group: int, texts: pl.Series) -> None:
        """Remember which texts a row group has in a column, when they were read for the second time.

        Where the ranges rule out most row groups, the same one is seldom read again.
        """
        place = (column, group)
        with self._lock:
            if place not in footer.filters:
                footer.filters[place] = []
                return
            if footer.filters[place] or self._filter_pages >= _MOST_FILTER_PAGES:
                return
        learned = filter_pages(texts)
        with self._lock:
            if not footer.filters[place] and footer in self._kept.values():
                footer.filters[place] = learned
                self._filter_pages += len(learned)
