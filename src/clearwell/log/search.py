"""Finds the events that meet a condition, reading little: first the columns of the condition, where the row groups'
ranges do not rule it out, then all columns where it holds.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import compute, parquet

from clearwell.log.filters import Wanted
from clearwell.log.footers import Footer
from clearwell.log.indexes import Index, IndexUnusable, opened_index
from clearwell.log.manifest import LogFile
from clearwell.log.reader import LogReader, unreadable, with_instants
from clearwell.values.cuts import Cut
from clearwell.values.times import INSTANT

_ROWS_AT_ONCE = 262_144
_FEW_ROWS = 4
"""So many events are read one by one; more by row groups, each of which takes as long as five."""

_TIMES = {"sequence", "effective_at"}
_PLACE = pl.Schema({"sequence": pl.Int64(), "group": pl.Int32(), "row": pl.Int32()})


@dataclass(frozen=True)
class Alternative:
    """One way to meet a condition: that `expression` holds. A column that a file lacks is null in it.

    For that, each column of `needs` must have one of its texts, or where these are None, any value.
    """

    expression: pl.Expr
    needs: Mapping[str, Collection[str] | None]

    @cached_property
    def wanted(self) -> Mapping[str, Wanted | None]:
        """As `needs`, made ready to be looked for in many files."""
        return {name: None if texts is None else Wanted(texts) for name, texts in self.needs.items()}


Condition = Sequence[Sequence[Alternative]]
"""Met when of each member one alternative holds."""


def found_by(log: LogReader, condition: Condition, cut: Cut, most: int) -> pl.DataFrame:
    """The first `most` events up to the cut that meet the condition, in order of sequence, with every column they have.

    Raises StorageError when a file is missing or damaged.
    """
    found = [pl.DataFrame(schema={"sequence": pl.Int64})]
    searches = [_Search(log, file, condition, cut, most) for file in log.covering(1, cut.sequence)]
    possible = [search for search in searches if search.is_possible()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chosen = []
        for search, places in zip(possible, [pool.submit(item.places) for item in possible], strict=True):
            # Files follow each other in sequence: what is found in later ones comes later.
            if most and not (own := places.result().head(most)).is_empty():
                chosen.append(pool.submit(search.events, own))
                most -= own.height
            if not most:
                places.cancel()
        found += [events.result() for events in chosen]
    return pl.concat(found, how="diagonal").sort("sequence")


class _Search:
    """The search of one file."""

    def __init__(self, log: LogReader, file: LogFile, condition: Condition, cut: Cut, most: int) -> None:
        self._log, self._file, self._condition, self._cut, self._most = log, file, condition, cut, most
        self._possible: set[int] | None = None
        """The row groups that may meet the condition, by the index of the file; None while nobody knows."""
        self._met = pl.all_horizontal(
            pl.any_horizontal(pl.lit(value=False), *(item.expression for item in member)) for member in condition
        )

    @cached_property
    def _names(self) -> set[str]:
        """The columns that say whether an event meets the condition."""
        needed = {name for member in self._condition for item in member for name in item.needs}
        return needed | set(self._met.meta.root_names())

    def places(self) -> pl.DataFrame:
        """Where the first events are that meet the condition, by `_PLACE`, in order of sequence."""
        found = [pl.DataFrame(schema=_PLACE)]
        with self._opened() as (reader, footer):
            possible = _row_groups(footer, self._condition) if self._possible is None else self._possible
            found += [self._placed(reader, footer, groups) for groups in _runs(footer, sorted(possible))]
        return pl.concat(found).sort("sequence").head(self._most)

    def is_possible(self) -> bool:
        """Whether the file may have an event that meets the condition, without a look at the file itself."""
        with suppress(OSError, IndexUnusable), opened_index(self._log.path(self._file)) as index:
            self._possible = _row_groups(index, self._condition)
        return self._possible != set()

    def events(self, places: pl.DataFrame) -> pl.DataFrame:
        """The events at these places, with all columns of the file, in no order."""
        with self._opened() as (reader, footer):
            if places.height <= _FEW_ROWS:
                return with_instants(self._one_by_one(footer, places)).collect()
            tables = [
                reader.read_row_group(int(str(group)), use_threads=False).take(own["row"].to_arrow())
                for (group,), own in places.partition_by("group", as_dict=True).items()
            ]
            return with_instants(_frame(pa.concat_tables(tables)).lazy()).collect()

    def _one_by_one(self, footer: Footer, places: pl.DataFrame) -> pl.LazyFrame:
        """The rows at these places, to be read from the pages that hold them alone."""
        groups = range(footer.metadata.num_row_groups)
        starts = [0, *accumulate(footer.metadata.row_group(group).num_rows for group in groups)]
        whole = pl.scan_parquet(self._log.path(self._file))
        rows = [starts[group] + row for group, row in places.select("group", "row").iter_rows()]
        return pl.concat([whole.slice(row, 1) for row in rows])

    def _learn(self, footer: Footer, table: pa.Table, groups: Sequence[int]) -> None:
        """Let the footer know which texts these row groups, of which `table` is read, have."""
        names = {name for member in self._condition for item in member for name, texts in item.needs.items() if texts}
        start = 0
        for group in groups:
            rows = footer.metadata.row_group(group).num_rows
            for name in names & set(table.column_names):
                own = _frame(table.select([name]).slice(start, rows))[name]
                if own.dtype == pl.String:
                    self._log.footers.learn(footer, name, group, own)
            start += rows

    @contextmanager
    def _opened(self) -> Iterator[tuple[parquet.ParquetFile, Footer]]:
        path = self._log.path(self._file)
        try:
            footer = self._log.footers.of(path)
            with parquet.ParquetFile(path, metadata=footer.metadata) as reader:
                yield reader, footer
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise unreadable(self._file, error) from error

    def _placed(self, reader: parquet.ParquetFile, footer: Footer, groups: Sequence[int]) -> pl.DataFrame:
        """Where in some row groups the events are that meet the condition."""
        present, lacking = self._names & footer.columns.keys(), self._names - footer.columns.keys()
        table = reader.read_row_groups(groups, columns=sorted(present), use_threads=False)
        if self._possible is None:  # With an index there is nothing to learn.
            self._learn(footer, table, groups)
        suspects = _suspects(table, self._condition)
        if not len(suspects):
            return pl.DataFrame(schema=_PLACE)
        others = reader.read_row_groups(groups, columns=sorted(_TIMES - present), use_threads=False)
        rows = suspects.to_numpy()
        starts = np.cumsum([0, *(footer.metadata.row_group(group).num_rows for group in groups)])
        turn = np.searchsorted(starts, rows, side="right") - 1
        absent = [pl.lit(None, dtype=pl.String).alias(name) for name in sorted(lacking)]
        within = (pl.col("sequence") <= min(self._cut.sequence, self._file.last_sequence)) & (
            pl.col("effective_at").cast(INSTANT) <= self._cut.effective_at
        )
        suspected = _frame(table.take(suspects)).hstack(_frame(others.take(suspects)))
        placed = suspected.lazy().with_columns(
            *absent,
            group=pl.Series(np.array(groups)[turn], dtype=pl.Int32),
            row=pl.Series(rows - starts[turn], dtype=pl.Int32),
        )
        return placed.filter(self._met, within).select(*_PLACE).collect()


def _suspects(table: pa.Table, condition: Condition) -> pa.Array:
    """The rows that have what some alternative needs, for each member of the condition; misses none that meets it."""

    def has(name: str, texts: Collection[str] | None) -> pa.ChunkedArray:
        if name not in table.column_names:
            return pa.chunked_array([pa.repeat(pa.scalar(value=False), table.num_rows)])
        column = table.column(name)
        if texts is None:
            return compute.is_valid(column)
        if len(texts) == 1:
            return compute.fill_null(compute.equal(column, next(iter(texts))), fill_value=False)
        return compute.is_in(column, value_set=pa.array(sorted(texts), column.type))

    members = []
    for member in condition:
        alternatives = [reduce(compute.and_, (has(*need) for need in item.needs.items())) for item in member]
        members.append(reduce(compute.or_, alternatives))
    return compute.indices_nonzero(reduce(compute.and_, members)).cast(pa.int64())


def _row_groups(of: Footer | Index, condition: Condition) -> set[int]:
    """The row groups that may have an event that meets the condition; misses none."""
    possible = [
        set().union(*(_all_of(of.holding(name, texts) for name, texts in item.wanted.items()) for item in member))
        for member in condition
    ]
    return _all_of(possible)


def _all_of(sets: Iterable[set[int]]) -> set[int]:
    first, *others = sets
    return first.intersection(*others)


def _runs(footer: Footer, groups: Sequence[int]) -> Iterator[list[int]]:
    """The row groups, by as many as are read at once."""
    some: list[int] = []
    rows = 0
    for group in groups:
        own = footer.metadata.row_group(group).num_rows
        if some and rows + own > _ROWS_AT_ONCE:
            yield some
            some, rows = [], 0
        some.append(group)
        rows += own
    if some:
        yield some


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
