"""Puts docs/reliability.md together: every test with the mark `fault`, its claim, and what the last run counted."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "reliability.md"

OF_PARSERS = "test_fuzz"

AREAS = {
    "test_kill": "Killed at any moment",
    "test_disk": "A full disk",
    "test_service": "A service under load",
    "test_storage": "Damaged, missing and locked files; clocks; two writers",
    "test_hostile": "Hostile input",
    OF_PARSERS: "The parsers' promises, which fuzzing holds them to",
}
"""Beginning of a module's name to heading."""

INTRODUCTION = """\
# Reliability

What Clearwell survives, and how that is known. This page is written by the fault suite in `tests/faults`: each row is a
test, with what it claims and how often the last run put it to the proof. A *round* is one act of damage with all
checks after it.

After every fault the same is asked: the error has a name; every event that was acknowledged is in the log exactly
once; what was refused is in quarantine, whole; `verify` finds nothing; and the projections are those of a rebuild.
Repeating the command completes the work.

| to run | what it does |
| --- | --- |
| `make test` | every test, with 200 rounds of kill -9, and 30 of a service under load |
| `make faults ROUNDS=5000` | this suite, with as many rounds of kill -9, and 300 of a service; writes this page |
| `make fuzz SECONDS=600` | coverage-guided fuzzing of the parsers, so long for each |

Each round of kill -9 goes on with the ledger that the round before it left, for eight rounds. The child process is
ended with SIGKILL a random time after one of its acknowledgements; a failure tells the seed, and `FAULT_SEED` sets it.
SIGKILL ends a process, not the machine: that a file which was synced survives a power cut is taken from the operating
system.

The disk is filled in a memory file system of its own, for which one must be allowed to mount. Memory is measured as the
largest resident size of a process of its own. `make faults` also fills the disk to more points and damages more tables.

What is not covered: hardware that lies about syncing, a catalog changed by hand with all its hashes made anew (see
[the chain](architecture.md#what-is-derived-and-how-that-is-proved)), and Parquet or Arrow files whose tiny pages stand
for rows larger than memory. Such a file ends the process, and nothing that was acknowledged is lost.
"""


@dataclass(frozen=True)
class Row:
    """A fault, what is claimed after it, and the test that proves it."""

    area: str
    fault: str
    claim: str
    test: str

    @property
    def cells(self) -> str:
        return f"| {self.fault} | {self.claim} | `{self.test}` |"


def _functions(module: Any) -> list[Any]:
    found = [value for name, value in vars(module).items() if name.startswith("test_") and callable(value)]
    return [item for item in found if item.__module__ == module.__name__]


def rows() -> list[Row]:
    """One row per test with the mark, in order of area, module and place. Raises AssertionError for one without it."""
    found = []
    for start, area in AREAS.items():
        for path in sorted(FOLDER.glob(f"{start}*.py")):
            for function in _functions(importlib.import_module(path.stem)):
                marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "fault"]
                if not marks and start == OF_PARSERS:
                    continue  # It tests the promises themselves.
                assert len(marks) == 1, f"{path.name}::{function.__name__} needs one mark `fault`"
                claim = " ".join((function.__doc__ or "").split("\n\n")[0].split())
                found.append(Row(area, marks[0].args[0], claim, f"{path.stem}::{function.__name__}"))
    return found


def page(counts: dict[str, tuple[int, int]]) -> str:
    """The text of docs/reliability.md; `counts` gives cases and rounds by test."""
    parts = [INTRODUCTION]
    every = rows()
    total = sum(rounds for _, rounds in counts.values())
    parts.append(f"The last run: {len(every)} tests, {sum(n for n, _ in counts.values())} cases, {total} rounds.\n")
    for area in AREAS.values():
        parts.append(f"## {area}\n\n| fault | after it | test | cases | rounds |\n| --- | --- | --- | ---: | ---: |")
        parts[-1] += "".join(
            f"\n{row.cells} {counts[row.test][0]} | {counts[row.test][1]} |" for row in every if row.area == area
        )
        parts[-1] += "\n"
    return "\n".join(parts)


def without_counts(text: str) -> str:
    """A page as it is whatever the last run counted."""
    return re.sub(r"\| \d+ \| \d+ \|$|^The last run: .*$", "", text, flags=re.MULTILINE)
