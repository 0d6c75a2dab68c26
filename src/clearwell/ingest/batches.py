"""What every reader yields: a batch of records as columns, and for each its place and its original form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.ledger.rejections import SCHEMA, RejectionCode, no_rejections

_RANK = {code.value: rank for rank, code in enumerate(RejectionCode)}


@dataclass(frozen=True)
class Batch:
    """Records of one source, next to each other in it.

    `records` has `position` (from 0) and the columns of `values.columns`; a record that could not be read is missing
    there. `rejections` are the faults seen while reading. `lines` gives, by position, the record's line (of text) or
    row (of a table), from 1. `raw` returns, for positions, the records as they arrived.
    """

    source: str
    records: pl.DataFrame
    rejections: pl.DataFrame
    lines: npt.NDArray[np.int64]
    raw: Callable[[Sequence[int]], list[bytes]]

    def origin(self, position: int) -> tuple[str, int]:
        """The source of a record, and its line or row there."""
        return self.source, int(self.lines[position])


def at_most(batch: Batch, count: int) -> Iterator[Batch]:
    """`batch` in parts of at most `count` records; positions stay what they were."""
    if batch.records.height <= count:
        yield batch
        return
    rest = batch.rejections
    for start in range(0, batch.records.height, count):
        records = batch.records[start : start + count]
        last = start + count >= batch.records.height
        own = pl.lit(last) | (pl.col("position") <= records["position"][-1])
        yield replace(batch, records=records, rejections=rest.filter(own))
        rest = rest.filter(~own)


def rejections_frame(
    positions: Iterable[int], code: RejectionCode, *, field: str, expected: str, found: Iterable[str] | str
) -> pl.DataFrame:
    """Rejections that share a code, a field and an expectation."""
    places = list(positions)
    if not places:
        return no_rejections()
    texts = [found] * len(places) if isinstance(found, str) else list(found)
    count = len(places)
    columns = [
        places,
        [code.value] * count,
        [field] * count,
        [expected] * count,
        [text[:200] for text in texts],
    ]
    return pl.DataFrame(dict(zip(SCHEMA, columns, strict=True)), schema=SCHEMA)


def first_applicable(*frames: pl.DataFrame) -> pl.DataFrame:
    """One rejection per position: the one whose code comes first in the order of precedence."""
    found = [frame for frame in frames if not frame.is_empty()]
    if not found:
        return no_rejections()
    rejections = pl.concat(found)
    rank = pl.col("code").replace_strict(_RANK, return_dtype=pl.Int32)
    return rejections.sort("position", rank, maintain_order=True).unique("position", keep="first", maintain_order=True)
