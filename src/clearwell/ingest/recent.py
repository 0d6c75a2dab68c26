"""The newest events, kept in memory: what is told twice is mostly told again soon."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.log.reader import LogReader

KEPT_EVENTS = 400_000
"""So many of the newest events are kept, whole batches of them."""


_JOINED_EVENTS = 20_000
_MOST_CHUNKS = 64


class RecentEvents:
    """Finds events by sequence, the newest without reading the log."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._batches: deque[pl.DataFrame] = deque()
        self._starts: deque[int] = deque()
        self._count = 0

    def add(self, events: pl.DataFrame) -> None:
        """Keep these, which follow the last ones; lets go of the oldest. Small batches become one, to be few."""
        last = self._batches[-1] if self._batches else None
        if last is not None and last.height + events.height <= _JOINED_EVENTS:
            joined = pl.concat([last, events], how="diagonal", rechunk=False)
            self._batches[-1] = joined if joined.n_chunks() < _MOST_CHUNKS else joined.rechunk()
        else:
            self._batches.append(events)
            self._starts.append(int(events["sequence"][0]))
        self._count += events.height
        while self._count > KEPT_EVENTS:
            self._count -= self._batches.popleft().height
            self._starts.popleft()

    def at(self, sequences: npt.NDArray[np.int64], log: LogReader) -> pl.DataFrame:
        """As `LogReader.at` of the whole log."""
        starts = np.array(self._starts, dtype=np.int64)
        places = np.searchsorted(starts, sequences, side="right") - 1
        recent = [
            self._batches[place][sequences[places == place] - starts[place]] for place in np.unique(places[places >= 0])
        ]
        found: pl.DataFrame = pl.concat([log.at(sequences[places < 0]), *recent], how="diagonal")
        return found
