"""What quality asks of an engine. Which engine it is, is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from ibis.expr.types import Table


@dataclass(frozen=True)
class LogAtCut:
    """The files of the log, the cut (`effective_us` and `sequence`), and the columns that `events` must have."""

    paths: Sequence[str]
    sequence: int
    effective_us: int
    schema: Mapping[str, str]


class Engine(Protocol):
    """Runs relations over the `events` of one cut."""

    def run(self, relation: Table, tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
        """The rows of a relation over `events` and the given tables."""

    def close(self) -> None:
        """Let go what the engine holds."""
