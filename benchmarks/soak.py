"""The soak: events at a steady pace for as long as asked, and what the service takes for them over time.

Each line says the memory, the fold's lag, and the acknowledgements of the minute before it. A service that is well has
the same line after an hour as after a minute.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

from children import Source
from load import Target, put_load
from measures_of_service import service
from projects import new_project
from run import REPOSITORY, say
from stores import Store

WORLD = 200_000
"""The events that are published again and again, each time with ids and charges of their own."""

COLUMNS = ("seconds", "events", "memory_mb", "lag_seconds", "p50_ms", "p99_ms", "most_ms", "files")
_CLIENTS = 16


def bodies(lines: Path, size: int) -> Iterator[bytes]:
    """Bodies of so many lines, without an end."""
    content = lines.read_bytes().splitlines(keepends=True)[:WORLD]
    number = 0
    while True:
        number += 1
        mark = b'":"%d-' % number
        for start in range(0, len(content) - size + 1, size):
            body = b"".join(content[start : start + size])
            for name in (b'"id', b'"charge', b'"payout', b'"dispute'):
                body = body.replace(name + b'":"', name + mark)
            yield body


def sampled(target: Target, process: int, folder: Path, latencies: list[float]) -> dict[str, float]:
    """What there is to tell after the requests with these latencies."""
    ordered = sorted(latencies)
    with urlopen(f"{target.url}/metrics", timeout=30) as answer:  # noqa: S310
        figures = answer.read().decode()
    lag = re.search(r"^clearwell_fold_lag_seconds ([0-9.e+-]+)$", figures, re.MULTILINE)
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    resident = re.search(r"VmRSS:\s+(\d+)", status)
    return {
        "memory_mb": int(resident[1]) / 1024 if resident else 0.0,
        "lag_seconds": float(lag[1]) if lag else 0.0,
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(0.99 * len(ordered))] * 1000,
        "most_ms": ordered[-1] * 1000,
        "files": len(list((folder / "data" / "log").glob("segment-*"))),
    }


def soak(folder: Path, lines: Path, asked: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Publish at the pace, and tell what there is every so often."""
    with service(new_project(folder)) as (target, process):
        supply, begun, events = bodies(lines, asked.size), time.monotonic(), 0
        while time.monotonic() - begun < asked.seconds:
            count = max(1, round(asked.every * asked.rate / asked.size))
            requests = [target.request(next(supply)) for _ in range(count)]
            loaded = put_load(target, requests, _CLIENTS, asked.rate / asked.size)
            if set(loaded.statuses) - {200, 429}:
                raise RuntimeError(f"expected every request acknowledged, or put off, found {loaded.statuses}")
            events += asked.size * loaded.statuses.get(200, 0)
            own = {"seconds": round(time.monotonic() - begun), "events": events}
            yield {**own, **sampled(target, process, folder, loaded.latencies)}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Publish events to a service at a steady pace, and tell its memory, lag and latency over time.",
        epilog="Example: .venv/bin/python benchmarks/soak.py --seconds 3600 --rate 10000",
    )
    parser.add_argument("--seconds", type=int, default=3_600, help="for so long (3600)")
    parser.add_argument("--rate", type=int, default=10_000, help="events in a second (10000)")
    parser.add_argument("--size", type=int, default=500, help="events in a request (500)")
    parser.add_argument("--every", type=int, default=60, help="seconds between two lines (60)")
    parser.add_argument("--json", action="store_true", help="print a JSON text per line, for programs")
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "build" / "benchmarks", help="where worlds are kept"
    )
    asked = parser.parse_args()
    store = Store(asked.folder.resolve())
    lines = store.material("ndjson", WORLD, Source("soak", REPOSITORY / "src")) / "events.ndjson"
    store.work.mkdir(parents=True, exist_ok=True)
    if not asked.json:
        print("".join(f"{name:>13}" for name in COLUMNS))
    with TemporaryDirectory(dir=store.work) as work:
        for row in soak(Path(work) / "project", lines, asked):
            print(json.dumps(row) if asked.json else _line(row), flush=True)
    say("The pace was kept, or requests were put off with 429: see events.")
    return 0


def _line(row: dict[str, Any]) -> str:
    return "".join(f"{row[name]:>13,.1f}" if isinstance(row[name], float) else f"{row[name]:>13,}" for name in COLUMNS)


if __name__ == "__main__":
    sys.exit(main())
