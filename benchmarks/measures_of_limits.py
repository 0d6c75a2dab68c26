"""The limits of the machine: what no ledger on it could do better."""

from __future__ import annotations

import os
import statistics

import numpy as np
import polars as pl

from measuring import Measured, Task, timed

MOST_FILES = 5
COPIED_BYTES = 512 << 20
SYNCS = 200


def raw_parquet_write(task: Task) -> Measured:
    """Write the world's records as Parquet files of a million, each synced to the disk, and do nothing else."""
    events, seconds, cpu = 0, 0.0, 0.0
    for path in sorted(task.path("records").glob("*.parquet"))[:MOST_FILES]:
        frame = pl.read_parquet(path)
        with timed() as watch:
            target = task.work / path.name
            frame.write_parquet(target, compression="zstd")
            with target.open("rb") as file:
                os.fsync(file.fileno())
        events, seconds, cpu = events + frame.height, seconds + watch.seconds, cpu + watch.cpu_seconds
    written = sum(path.stat().st_size for path in task.work.glob("*.parquet"))
    return Measured({"raw-parquet-write": events / seconds}, cpu, details={"bytes_per_event": written / events})


def memory_bandwidth(task: Task) -> Measured:
    """Copy an array to another, by one thread: bytes copied per second, each of them read and written once."""
    source = np.ones(COPIED_BYTES // 8)
    target = np.zeros_like(source)
    seconds = []
    for _copy in range(9):
        with timed() as watch:
            np.copyto(target, source)
        seconds.append(watch.seconds)
    return Measured({"memory-bandwidth": COPIED_BYTES / 1e9 / statistics.median(seconds)})


def fsync(task: Task) -> Measured:
    """Append 4 KB to a file and sync it, again and again."""
    seconds = []
    with (task.work / "synced").open("wb", buffering=0) as file:
        for _sync in range(SYNCS):
            with timed() as watch:
                file.write(os.urandom(4096))
                os.fsync(file.fileno())
            seconds.append(watch.seconds)
    return Measured({"fsync": statistics.median(seconds) * 1000}, details={"slowest_ms": max(seconds) * 1000})
