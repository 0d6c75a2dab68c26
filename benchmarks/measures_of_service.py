"""Measures the service over HTTP on loopback, with the clients on the same processors: throughput, acknowledgements,
and how soon a figure has changed.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from urllib.request import Request, urlopen

import polars as pl

from load import Loaded, Target, put_load
from measuring import Measured, Task
from projects import new_project

SIZES = (1, 10, 100, 1_000, 10_000)
CLIENTS = (1, 8, 64)
EVENTS_OF = {1: 3_000, 10: 15_000, 100: 50_000, 1_000: 100_000, 10_000: 120_000}
"""Of each size of a request, how many events are sent."""

WARM_EVENTS = 20_000
SINGLE_PER_SECOND = 1_000
SINGLE_SECONDS = 8
ARROW = "application/vnd.apache.arrow.stream"
FRESH_TIMES = 15


@contextmanager
def service(folder: Path) -> Iterator[tuple[Target, int]]:
    """A service of the project in `folder`, in a process of its own: where it is, and the number of its process."""
    command = [sys.executable, "-m", "clearwell", "serve", "--project", str(folder), "--port", "0"]
    with (folder / "serve.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=dict(os.environ))  # noqa: S603
        try:
            yield Target(*_started(folder, process)), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _started(folder: Path, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """The address and the administrator's key, as soon as it answers."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        said = (folder / "serve.log").read_text(encoding="utf-8")
        key, place = re.search(r"cw_[\w-]+", said), folder / "data" / "service.json"
        if key and place.exists():
            found = json.loads(place.read_text(encoding="utf-8"))
            url = f"http://{found['host']}:{found['port']}"
            try:
                with urlopen(f"{url}/healthz", timeout=5):  # noqa: S310
                    return url, key[0]
            except OSError:
                pass
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start: {(folder / 'serve.log').read_text(encoding='utf-8')[-2000:]}")


def ndjson(task: Task) -> Measured:
    """Publish NDJSON in requests of each size, by each number of clients."""
    with service(new_project(task.work / "project")) as (target, process), _lines(task) as lines:
        _warm_up(target, lines)
        table = {}
        for size in SIZES:
            for clients in CLIENTS:
                requests = [target.request(body) for body in _bodies(lines, size, EVENTS_OF[size])]
                loaded = _loaded(target, requests, clients)
                table[f"{size}x{clients}"] = {
                    "events_per_second": size * len(requests) / loaded.seconds,
                    "requests_per_second": len(requests) / loaded.seconds,
                    "p50_ms": loaded.quantile_ms(0.5),
                    "p99_ms": loaded.quantile_ms(0.99),
                }
        memory = _peak_memory(process)
    best = max(table[f"1000x{clients}"]["events_per_second"] for clients in CLIENTS)
    return Measured({"http-ndjson": best}, memory_bytes=memory, details=table)


def arrow(task: Task) -> Measured:
    """Publish Arrow in requests of 10,000 events, by 8 clients."""
    frame = pl.read_parquet(sorted(task.path("records").glob("*.parquet"))[0]).head(600_000)
    with service(new_project(task.work / "project")) as (target, process):
        requests = []
        for part in frame.iter_slices(10_000):
            content = io.BytesIO()
            part.write_ipc_stream(content, compat_level=pl.CompatLevel.oldest())
            requests.append(target.request(content.getvalue(), ARROW))
        warm = len(requests) // 6
        _loaded(target, requests[:warm], 8)
        loaded = _loaded(target, requests[warm:], 8)
        memory = _peak_memory(process)
    events = frame.height - warm * 10_000
    return Measured({"http-arrow": events / loaded.seconds}, memory_bytes=memory, details={"events": events})


def single(task: Task) -> Measured:
    """Publish events one by one, so many in a second: the acknowledgements counted from when each was due."""
    with service(new_project(task.work / "project")) as (target, process), _lines(task) as lines:
        _warm_up(target, lines)
        requests = [target.request(body) for body in _bodies(lines, 1, SINGLE_PER_SECOND * SINGLE_SECONDS)]
        _loaded(target, requests[:1_000], 64)
        loaded = _loaded(target, requests[1_000:], 64, SINGLE_PER_SECOND)
        memory = _peak_memory(process)
    rate = len(requests[1_000:]) / loaded.seconds
    details = {"p50_ms": loaded.quantile_ms(0.5), "offered_per_second": SINGLE_PER_SECOND}
    return Measured(
        {"http-single": rate, "http-single-p99": loaded.quantile_ms(0.99)}, memory_bytes=memory, details=details
    )


def live(task: Task) -> Measured:
    """From the acknowledgement of an event to the message of `/v1/live` that has the figure it changed."""
    with service(new_project(task.work / "project")) as (target, _process), _lines(task) as lines:
        _warm_up(target, lines)
        stream = urlopen(_asked(target, "/v1/live"), timeout=30)  # noqa: S310
        seconds = []
        for body in _bodies(lines, 1, FRESH_TIMES):
            with urlopen(_asked(target, "/v1/events", body), timeout=30) as answered:  # noqa: S310
                sequence = json.load(answered)["last_sequence"]
            began = time.perf_counter()
            _wait_for(stream, sequence)
            seconds.append(time.perf_counter() - began)
    return Measured({"http-live": statistics.median(seconds)}, details={"most_seconds": max(seconds)})


def _wait_for(stream: Iterator[bytes], sequence: int) -> None:
    """Read the stream up to the message whose id, a sequence, is this one or later."""
    for line in stream:
        if line.startswith(b"id:") and int(line[3:].strip().split(b".")[0]) >= sequence:
            return
    raise RuntimeError("the stream ended")


def _asked(target: Target, path: str, body: bytes | None = None) -> Request:
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/x-ndjson"}
    return Request(target.url + path, body, headers)  # noqa: S310


@contextmanager
def _lines(task: Task) -> Iterator[Iterator[bytes]]:
    with (task.path("ndjson") / "events.ndjson").open("rb") as file:
        yield file


def _bodies(lines: Iterator[bytes], size: int, events: int) -> list[bytes]:
    bodies = [b"".join(islice(lines, size)) for _ in range(events // size)]
    assert bodies[-1].count(b"\n") == size, "the world has too few events"
    return bodies


def _warm_up(target: Target, lines: Iterator[bytes]) -> None:
    _loaded(target, [target.request(body) for body in _bodies(lines, 1_000, WARM_EVENTS)], 8)


def _loaded(target: Target, requests: list[bytes], clients: int, per_second: float | None = None) -> Loaded:
    loaded = put_load(target, requests, clients, per_second)
    assert loaded.statuses == {200: len(requests)}, f"expected every request acknowledged, found {loaded.statuses}"
    return loaded


def _peak_memory(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM")
