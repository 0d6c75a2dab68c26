"""What the figures were measured on: the machine, the versions, the revision. The header of every report."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("polars", "duckdb", "pyarrow", "numpy")
_SYNCED_BYTES = 64 << 20


def header(folder: Path, repository: Path) -> dict[str, Any]:
    """The header; `folder` is on the disk whose speed is measured."""
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "disk_sync_mb_per_second": _disk_sync_speed(folder),
            "load_average": os.getloadavg()[0],
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
            "postgresql": _postgresql(),
        },
        "git": {"revision": git(repository, "rev-parse", "HEAD"), "dirty": bool(git(repository, "status", "--short"))},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git(repository: Path, *arguments: str) -> str:
    """What a git command prints; empty outside a repository. Raises ValueError for what git refuses."""
    command = ["git", "-C", str(repository), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode and "not a git repository" not in done.stderr:
        raise ValueError(done.stderr.strip())
    return done.stdout.strip()


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL server that is installed, None when there is none."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def _postgresql() -> str | None:
    programs = postgres_programs()
    if programs is None:
        return None
    command = [str(programs / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2]  # noqa: S603


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _disk_sync_speed(folder: Path) -> float:
    """MB/s of writing 64 MB of random bytes, and having them synced to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    content = os.urandom(_SYNCED_BYTES)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        start = time.perf_counter()
        file.write(content)
        os.fsync(file.fileno())
        return _SYNCED_BYTES / 1e6 / (time.perf_counter() - start)
