"""Measures Clearwell through its public names: ingest, seal, the questions, rebuild, verify, and the size of the log.

What a new process costs, imports most of all, is measured by the processes alone: elsewhere it is paid before the clock
starts.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import clearwell  # noqa: F401 - ahead of Polars, whose memory it sets up, as its command does
from measuring import Measured, Stopwatch, Task, forget_cached, timed
from projects import HERE, copied, new_project

CALLS = 7
PROCESSES = 5
KNOWN_BATCH = 200_000
IMPORTED_BEFORE = (
    "clearwell.application.tracing", "clearwell.bootstrap", "clearwell.project", "clearwell.values.calendars",
    "cryptography.hazmat.primitives.ciphers.aead", "duckdb", "holidays", "numpy", "pyarrow.dataset", "pydantic",
    "sqlalchemy", "sqlalchemy.dialects.sqlite",
)  # fmt: skip
"""What a first trace imports; what it imports beyond is told beside its figure."""


def ingest(task: Task) -> Measured:
    """Ingest the whole world into an empty ledger."""
    _warm_up(task)
    folder = new_project(task.work / "project", task.options["batch_events"])
    name = "ingest-1m" if task.options["batch_events"] == 1_000_000 else "ingest-20k"
    return _ingested(name, folder, sorted(task.path("records").glob("*.parquet")))


def ingest_ndjson(task: Task) -> Measured:
    """Ingest an NDJSON file in batches of the default size."""
    _warm_up(task)
    return _ingested("ingest-ndjson", new_project(task.work / "project"), [task.path("ndjson") / "events.ndjson"])


def ingest_csv(task: Task) -> Measured:
    """Ingest a CSV file through the SQL of a source."""
    _warm_up(task)
    folder = new_project(task.work / "project")
    shutil.copytree(HERE / "sources", folder / "sources")
    return _ingested("ingest-csv", folder, [], {"operations": str(task.path("csv") / "operations.csv")})


def ingest_known(task: Task) -> Measured:
    """Ingest the same records into an empty ledger, then into one that knows the world's ids.

    Compared are the batches after the first where there are several, for the first loads the ids that are known.
    """
    _warm_up(task)
    openings = [task.path("openings") / "openings.parquet"]
    empty = new_project(task.work / "empty", KNOWN_BATCH)
    known = copied(task.path("ledger"), task.work / "known", batch_events=KNOWN_BATCH)
    watches, receipts = {}, {}
    batches: dict[str, list[float]] = {}
    for name, folder in (("empty", empty), ("known", known)):
        watches[name], receipts[name], batches[name] = _ingest(folder, openings)
    later = {name: sum(seconds[1:]) if len(seconds) > 1 else watches[name].seconds for name, seconds in batches.items()}
    return Measured(
        {"ingest-known": later["known"] / later["empty"]},
        cpu_seconds=watches["known"].cpu_seconds,
        details={
            "accepted_empty": receipts["empty"].accepted,
            "accepted_known": receipts["known"].accepted,
            "seconds_empty": watches["empty"].seconds,
            "seconds_known": watches["known"].seconds,
            "first_batch_seconds": {name: seconds[0] for name, seconds in batches.items()},
            "cpu_ratio": watches["known"].cpu_seconds / watches["empty"].cpu_seconds,
        },
    )


def seal(task: Task) -> Measured:
    """Seal a log that has no seal yet."""
    from clearwell.application import sealing
    from clearwell.bootstrap import open_workspace

    folder = copied(task.path("ledger"), task.work / "project", sealed=False)
    with timed() as watch, open_workspace(folder) as workspace:
        sealed = sealing.seal(workspace)
    assert sealed is not None
    return Measured({"seal": sealed.tree_size / watch.seconds}, watch.cpu_seconds)


def status(task: Task) -> Measured:
    """Ask for the status, again and again, in one process."""
    return _asked("status", task, lambda project: project.status())


def open_accounts(task: Task) -> Measured:
    """Ask for the first 1,000 open accounts, again and again."""
    return _asked("open", task, lambda project: project.open_accounts(limit=1000))


def past(task: Task) -> Measured:
    """Ask for the status at three cuts around the middle of the history, as it was known then."""
    with _opened(task.path("ledger")) as project:
        last = project.status().cut.sequence
        middle = datetime.fromisoformat(task.until) - timedelta(days=15)
        seconds, cpu = [], 0.0
        for place in range(3):
            with timed() as watch:
                project.status(at=middle + timedelta(hours=place), known_at=last // 2 + place * last // 1000)
            seconds.append(watch.seconds)
            cpu += watch.cpu_seconds
    return Measured({"past": statistics.median(seconds)}, cpu / len(seconds), details={"first_seconds": seconds[0]})


def quality(task: Task) -> Measured:
    """Ask for the tree of scores, again and again: of all time, and of the present month with the one before."""
    seconds, cpu = [], 0.0
    with _opened(task.path("ledger")) as project:
        for period in ("all", "month") * CALLS:
            with timed() as watch:
                found = project.scores(period=period)
            assert found.nodes
            seconds.append(watch.seconds)
            cpu += watch.cpu_seconds
    return Measured(
        {"quality": statistics.median(seconds[2:]) * 1000}, cpu / len(seconds),
        details={"first_ms": seconds[0] * 1000, "slowest_ms": max(seconds[2:]) * 1000},
    )  # fmt: skip


def quality_past(task: Task) -> Measured:
    """Ask for the tree of scores of the month at a cut in the middle of the history, as it was known then."""
    with _opened(task.path("ledger")) as project:
        last = project.status().cut.sequence
        middle = datetime.fromisoformat(task.until) - timedelta(days=15)
        with timed() as watch:
            found = project.scores(at=middle, known_at=last // 2, period="all")
        assert found.nodes
    return Measured({"quality-past": watch.seconds}, watch.cpu_seconds)


def evaluate(task: Task) -> Measured:
    """Evaluate the scores of each day of a year, at one cut, and keep them."""
    until = datetime.fromisoformat(task.until).date()
    with _opened(copied(task.path("ledger"), task.work / "project")) as project, timed() as watch:
        done = project.evaluate("day", since=str(until - timedelta(days=364)), until=str(until))
    return Measured({"evaluate": watch.seconds}, watch.cpu_seconds, details={"periods": done.periods})


def compacted(task: Task) -> Measured:
    """Make the copy of a ledger whose log is compacted, for tracing."""
    from clearwell.application import compacting
    from clearwell.bootstrap import open_workspace

    folder = copied(task.path("ledger"), task.path("folder"))
    with timed() as watch, open_workspace(folder) as workspace:
        compacting.compact(workspace)
    return Measured({}, watch.cpu_seconds)


def trace_cold(task: Task) -> Measured:
    """Open a project in a new process and trace one value, with nothing of its log in the system's memory."""
    (charge,) = _charges(task, 1)
    for name in IMPORTED_BEFORE:
        import_module(name)
    for name in ("log", "index"):
        forget_cached(task.path("compacted") / "data" / name)
    modules = set(sys.modules)
    with timed() as watch, _opened(task.path("compacted")) as project:
        found = project.trace({"charge": charge})
    assert found.events
    details = {
        "cache": "of the log and its indexes dropped with posix_fadvise; catalog and projections not",
        "modules_imported_meanwhile": len(set(sys.modules) - modules),
    }
    return Measured({"trace-cold": watch.seconds * 1000}, watch.cpu_seconds, details=details)


def trace_warm(task: Task) -> Measured:
    """Trace different values, one after another, in one process; the first does not count. The log is compacted."""
    seconds, cpu = [], 0.0
    with _opened(task.path("compacted")) as project:
        for charge in _charges(task, CALLS + 1):
            with timed() as watch:
                found = project.trace({"charge": charge})
            assert found.events
            seconds.append(watch.seconds)
            cpu += watch.cpu_seconds
    return Measured(
        {"trace-warm": statistics.median(seconds[1:]) * 1000}, cpu / len(seconds),
        details={"first_ms": seconds[0] * 1000, "slowest_ms": max(seconds[1:]) * 1000},
    )  # fmt: skip


def rebuild(task: Task) -> Measured:
    """Fold the whole log again."""
    with _opened(copied(task.path("ledger"), task.work / "project")) as project, timed() as watch:
        events = project.rebuild()
    return Measured({"rebuild": events / watch.seconds}, watch.cpu_seconds)


def verify(task: Task) -> Measured:
    """Prove the whole ledger from its files."""
    with _opened(task.path("ledger")) as project:
        events = project.status().cut.sequence
        with timed() as watch:
            found = project.verify()
    assert not found.faults, "a ledger that was just made is sound"
    return Measured({"verify": events / watch.seconds}, watch.cpu_seconds)


def log_size(task: Task) -> Measured:
    """The bytes of the log's files, and of the other files, per event."""
    with _opened(task.path("ledger")) as project:
        events = project.status().cut.sequence
    data = task.path("ledger") / "data"
    per_event = {path.name: _bytes(path) / events for path in sorted(data.iterdir())}
    return Measured({"log-size": per_event["log"]}, details={"bytes_per_event": per_event})


def help_process(task: Task) -> Measured:
    """`clearwell --help`, from start to end."""
    return _processes("help-process", ["--help"])


def status_process(task: Task) -> Measured:
    """`clearwell status`, from start to end."""
    return _processes("status-process", ["status", "--project", str(task.path("ledger"))])


def _opened(folder: Path) -> Any:
    """The project, with what its commands import imported."""
    from clearwell import open_project

    return open_project(folder)


def _warm_up(task: Task) -> None:
    """Ingest a thousand records into a ledger that is not looked at: what libraries do at their first use is done."""
    from measures_of_material import world_of

    file = task.work / "warm.parquet"
    world_of(task).records(0, min(task.events, 1000)).write_parquet(file)
    _ingest(new_project(task.work / "warm"), [file])


def _ingested(name: str, folder: Path, files: list[Path], variables: dict[str, str] | None = None) -> Measured:
    watch, receipt, _batches = _ingest(folder, files, variables)
    assert receipt.accepted
    return Measured(
        {name: receipt.accepted / watch.seconds},
        watch.cpu_seconds,
        details={
            "accepted": receipt.accepted,
            "duplicates": receipt.duplicates,
            "quarantined": receipt.quarantined,
            "bytes_per_event": _bytes(folder / "data" / "log") / receipt.accepted,
        },
    )


def _ingest(
    folder: Path, files: list[Path], variables: dict[str, str] | None = None
) -> tuple[Stopwatch, Any, list[float]]:
    """How long it took from opening to closing the project, what became of the records, and the seconds per batch."""
    from clearwell.application import ingesting
    from clearwell.bootstrap import open_workspace
    from clearwell.ingest.inputs import file_input

    instants = [time.perf_counter()]
    with timed() as watch, open_workspace(folder) as workspace:
        receipt = ingesting.ingest(
            workspace,
            [file_input(str(path)) for path in files],
            variables=variables,
            report=lambda _input, _share, _records: instants.append(time.perf_counter()),
        )
    return watch, receipt, [after - before for before, after in pairwise(instants)]


def _asked(name: str, task: Task, question: Callable[[Any], Any]) -> Measured:
    """The median of several calls in one process; the first does not count, and is told beside."""
    watches = []
    with _opened(task.path("ledger")) as project:
        for _call in range(CALLS + 1):
            with timed() as watch:
                question(project)
            watches.append(watch)
    return Measured(
        {name: statistics.median(watch.seconds for watch in watches[1:]) * 1000},
        statistics.median(watch.cpu_seconds for watch in watches[1:]),
        details={"first_ms": watches[0].seconds * 1000},
    )


def _charges(task: Task, count: int) -> list[str]:
    """The charges of as many accepted creations, from random places of the world."""
    import numpy as np
    import polars as pl

    from measures_of_material import world_of

    random = np.random.default_rng()
    found: list[str] = []
    while len(found) < count:
        records = world_of(task).records(int(random.integers(0, max(1, task.events - 100))), 100)
        sound = records.filter(
            (pl.col("type") == "charge.creation") & (pl.col("currency") != "XXQ") & pl.col("effective_at").is_not_null()
        )
        found += sound["property_charge"].head(1).to_list()
    return found


def _processes(name: str, arguments: list[str]) -> Measured:
    """The median time of several processes from start to end, and the most memory that one had."""
    seconds, cpu, memory = [], [], 0
    command = [sys.executable, "-m", "clearwell", *arguments]
    for _process in range(PROCESSES + 1):
        start = time.perf_counter()
        child = os.posix_spawn(
            sys.executable, command, os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )  # fmt: skip
        _child, code, usage = os.wait4(child, 0)
        seconds.append(time.perf_counter() - start)
        assert code == 0, f"clearwell {arguments} failed"
        cpu.append(usage.ru_utime + usage.ru_stime)
        memory = max(memory, usage.ru_maxrss * 1024)
    return Measured(
        {name: statistics.median(seconds[1:])},
        statistics.median(cpu[1:]),
        memory_bytes=memory,
        details={"first_seconds": seconds[0]},
    )


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
