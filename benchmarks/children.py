"""Runs a measurement in a process of its own, so that memory and caches are its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

MEASURING = Path(__file__).with_name("measuring.py")


@dataclass(frozen=True)
class Source:
    """The code that is measured: a revision, and the folder of its `src`."""

    revision: str
    src: Path

    def fingerprint(self) -> str:
        """A short hash of everything in `src`: a ledger is kept for the code that wrote it."""
        digest = sha256()
        for path in sorted(path for path in self.src.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            digest.update(str(path.relative_to(self.src)).encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Child:
    """What a child is told beside the measure; `work` is where it may write, on the disk that is measured."""

    source: Source
    work: Path
    events: int
    until: str = ""
    paths: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, measure: str) -> dict[str, Any]:
        """Run one measure, and return what it printed. Raises RuntimeError with its last words when it fails."""
        self.work.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=self.work))
        task = {
            "measure": measure, "events": self.events, "work": str(scratch), "until": self.until,
            "paths": self.paths, "options": self.options,
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(self.source.src)}
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                [sys.executable, str(MEASURING), json.dumps(task)],
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if done.returncode:
            raise RuntimeError(f"{measure} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result
