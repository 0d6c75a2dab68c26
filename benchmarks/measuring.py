"""One measurement, in a process of its own: `measuring.py TASK`, where TASK is JSON; prints the result as JSON.

Called by `children.py`, with the `src` of the revision that is measured first on the path.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """What to measure: `measure` is MODULE.FUNCTION, of `measures_of_MODULE.py` beside this file.

    `paths` are what it needs, by name; `work` is an empty folder for it, which is removed after.
    """

    measure: str
    events: int
    work: Path
    until: str = ""
    paths: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """The path of what it needs."""
        return Path(self.paths[name])


@dataclass
class Measured:
    """The values by figure. `memory_bytes` is that of this process, unless the measure knows better."""

    values: dict[str, float]
    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Stopwatch:
    """How long a block took: on the wall, and on the processors (all threads of this process)."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time a block."""
    watch = Stopwatch()
    wall, cpu = time.perf_counter(), time.process_time()
    yield watch
    watch.seconds, watch.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu


def peak_memory() -> int:
    """The most memory, in bytes, that this process has had since it started."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def forget_cached(folder: Path) -> None:
    """Have the system drop from memory what it keeps of the files below `folder`, and of nothing else."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def main() -> None:
    """Do the task of the command line."""
    content = json.loads(sys.argv[1])
    task = Task(**{**content, "work": Path(content["work"])})
    import clearwell

    assert os.environ["PYTHONPATH"] in str(clearwell.__file__), "another revision is measured than was asked for"
    module, function = task.measure.split(".")
    measured = getattr(import_module(f"measures_of_{module}"), function)(task)
    if measured.memory_bytes is None:
        measured.memory_bytes = peak_memory()
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    # Under its own name, so that the measures find the same classes.
    import_module("measuring").main()
