"""The figures: what is measured, where it must get to, what stands beside it. The one table that `run.py` follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

MEMORY_MUST_BYTES = 4 << 30
MEMORY_GOAL_BYTES = 3 << 29
MOST_INSTEAD = 10_000_000
"""What users would pick instead is measured up to this size: beyond it, it takes hours, and more than the memory."""


@dataclass(frozen=True)
class Figure:
    """One line of the report. `must` and `goal` are in `unit`; `better` says which direction is good.

    Figures with the same `measure` and `options` come out of one run. `most_events` bounds the size that it is measured
    at. A figure with a `beside` is no figure of Clearwell: it is compared with the one named there.
    """

    name: str
    unit: str
    what: str
    better: Literal["more", "less"]
    must: float | None
    goal: float | None
    measure: str
    options: tuple[tuple[str, Any], ...] = ()
    most_events: int | None = None
    beside: str = ""
    growth_must: float | None = None
    """How many times the smallest size's value that of the largest may be."""

    @property
    def of_clearwell(self) -> bool:
        """Whether it measures Clearwell, and not an alternative or a limit."""
        return not self.measure.startswith(("instead.", "limits."))

    def reached(self, value: float) -> str:
        """`goal`, `must`, `no`, or empty where nothing is asked."""
        if self.must is None or self.goal is None:
            return ""
        sign = 1 if self.better == "more" else -1
        return "goal" if sign * value >= sign * self.goal else "must" if sign * value >= sign * self.must else "no"


def memory_reached(memory_bytes: int) -> str:
    """As `Figure.reached`, of the peak memory of a run."""
    return "goal" if memory_bytes <= MEMORY_GOAL_BYTES else "must" if memory_bytes <= MEMORY_MUST_BYTES else "no"


_RATE, _MS = "events/s", "ms"

FIGURES = (
    Figure("ingest-1m", _RATE, "ingest Parquet, batches of 1 M", "more", 500_000, 1_000_000,
           "clearwell.ingest", (("batch_events", 1_000_000),)),
    Figure("seal", _RATE, "seal the log after the ingest", "more", None, None, "clearwell.seal"),
    Figure("ingest-20k", _RATE, "ingest Parquet, batches of 20 k", "more", 250_000, 500_000,
           "clearwell.ingest", (("batch_events", 20_000),)),
    Figure("ingest-known", "ratio", "ingest time, so many ids known / none", "less",
           1.25, 1.10, "clearwell.ingest_known"),
    Figure("ingest-ndjson", _RATE, "ingest an NDJSON file", "more", 250_000, 500_000,
           "clearwell.ingest_ndjson", most_events=1_000_000),
    Figure("ingest-csv", _RATE, "ingest a CSV through a source's SQL", "more", 250_000, 500_000,
           "clearwell.ingest_csv", most_events=1_000_000),
    Figure("status", _MS, "status, in process", "less", 50, 20, "clearwell.status", growth_must=1.2),
    Figure("open", _MS, "open, the first 1,000, in process", "less", 50, 20, "clearwell.open_accounts",
           growth_must=1.2),
    Figure("trace-cold", _MS, "trace of a value: new process, cold log", "less", 200, 50,
           "clearwell.trace_cold"),
    Figure("trace-warm", _MS, "trace of further, different values", "less", 50, 10, "clearwell.trace_warm"),
    Figure("past", "s", "status in the middle of the history", "less", 5, 2, "clearwell.past"),
    Figure("quality", _MS, "the tree of scores of all time, and of a month", "less", 100, 50, "clearwell.quality"),
    Figure("quality-past", "s", "the tree of scores in the middle of the history", "less", 5, 2,
           "clearwell.quality_past"),
    Figure("evaluate", "s", "evaluate and keep a year of daily scores", "less", 60, 20, "clearwell.evaluate"),
    Figure("learn-windows", "s", "learn the windows of 50 account types with 200 k episodes each", "less", 30, 15,
           "learning.windows", most_events=10_000),
    Figure("rebuild", _RATE, "rebuild the projections", "more", 1_000_000, 3_000_000, "clearwell.rebuild"),
    Figure("verify", _RATE, "verify the whole ledger", "more", 1_000_000, 3_000_000, "clearwell.verify"),
    Figure("completeness", "ids/s", "compare a producer's ids and amounts in PostgreSQL with the log", "more", 500_000,
           1_000_000, "completeness.postgresql"),
    Figure("completeness-equal", "ids/s", "the same where both sides are equal", "more", 500_000, 1_000_000,
           "completeness.postgresql", (("equal", True),)),
    Figure("http-ndjson", _RATE, "publish NDJSON over HTTP, 1,000 events a request", "more", 100_000, 250_000,
           "service.ndjson", most_events=1_000_000),
    Figure("http-arrow", _RATE, "publish Arrow over HTTP, 10,000 events a request", "more", 300_000, 600_000,
           "service.arrow", most_events=1_000_000),
    Figure("http-single", "requests/s", "publish events one by one, 1,000 offered a second", "more", 990, 990,
           "service.single", most_events=1_000_000),
    Figure("http-single-p99", _MS, "the acknowledgement of these, 99th percentile", "less", 50, 20,
           "service.single", most_events=1_000_000),
    Figure("http-live", "s", "from an acknowledgement to the changed figure in /v1/live", "less", 1, 0.3,
           "service.live", most_events=1_000_000),
    Figure("log-size", "bytes/event", "size of the log", "less", 40, 25, "clearwell.log_size"),
    Figure("help-process", "s", "clearwell --help, as a process", "less", 0.5, 0.2, "clearwell.help_process",
           most_events=10_000),
    Figure("status-process", "s", "clearwell status on a small ledger, as a process", "less", 1, 0.5,
           "clearwell.status_process", most_events=10_000),
    Figure("postgres-ingest", _RATE, "PostgreSQL: COPY of posted entries into a table with a unique key", "more", None,
           None, "instead.postgres", most_events=MOST_INSTEAD, beside="ingest-1m"),
    Figure("postgres-clearing", _MS, "PostgreSQL: GROUP BY account HAVING sum <> 0", "less", None, None,
           "instead.postgres", most_events=MOST_INSTEAD, beside="status"),
    Figure("postgres-size", "bytes/event", "PostgreSQL: the table and its index", "less", None, None,
           "instead.postgres", most_events=MOST_INSTEAD, beside="log-size"),
    Figure("duckdb-clearing", _MS, "DuckDB: GROUP BY account HAVING sum <> 0 over raw Parquet", "less", None, None,
           "instead.duckdb_clearing", most_events=MOST_INSTEAD, beside="status"),
    Figure("polars-clearing", _MS, "Polars: the same", "less", None, None,
           "instead.polars_clearing", most_events=MOST_INSTEAD, beside="status"),
    Figure("raw-parquet-write", _RATE, "Polars: write the records as Parquet, synced, and nothing else", "more", None,
           None, "limits.raw_parquet_write", beside="ingest-1m"),
    Figure("memory-bandwidth", "GB/s", "copy memory, one thread", "more", None, None, "limits.memory_bandwidth",
           most_events=10_000),
    Figure("fsync", _MS, "append 4 KB to a file, and sync it", "less", None, None, "limits.fsync", most_events=10_000),
)  # fmt: skip

_NAMES = {figure.name: figure for figure in FIGURES}


def chosen(names: list[str]) -> list[Figure]:
    """The figures of these names, in the order of the table; all when none is named. Raises ValueError."""
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        raise ValueError(f"expected figures of: {', '.join(_NAMES)}; found {', '.join(unknown)}")
    return [figure for figure in FIGURES if not names or figure.name in names]
