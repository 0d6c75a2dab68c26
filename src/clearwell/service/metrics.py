"""What a service measures of itself, for Prometheus. Each service has a registry of its own; units end the names.

Labels have few values: path templates, rejection codes, account types, currencies. No ids, no names of people or keys.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from clearwell import __version__
from clearwell.application.gauging import Gauges, gauges
from clearwell.application.jobs import Jobs
from clearwell.application.keeping import Keeper
from clearwell.application.observing import Observer, Taken
from clearwell.application.publishing import Publisher
from clearwell.application.workspace import Workspace

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FIGURES_SECONDS = 15.0
"""So old the figures may be that are asked of the ledger."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EVENTS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics(Observer):
    """The counters of one service."""

    def __init__(self) -> None:
        """All are zero."""
        self.registry = CollectorRegistry()
        counter, histogram = self._counter, self._histogram
        self._accepted = counter("clearwell_accepted_events", "Events that were accepted over HTTP, and are durable.")
        self._duplicates = counter("clearwell_duplicate_events", "Events that were accepted before, and counted only.")
        self._refused = counter("clearwell_refused_records", "Records that were refused over HTTP.")
        self._requests = Counter(
            "clearwell_requests", "Answers, by path template.", ("method", "path", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "clearwell_request_seconds", "From a request's head to the end of its answer.", ("method", "path"),
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._received = counter("clearwell_received_bytes", "Bytes of bodies of requests, as sent.")
        self._sent = counter("clearwell_sent_bytes", "Bytes of bodies of answers.")
        self._under_way = Gauge("clearwell_under_way_requests", "Requests without an answer.", registry=self.registry)
        self._held = Gauge("clearwell_held_bytes", "Bytes of bodies of such requests.", registry=self.registry)
        self._batch_events = histogram("clearwell_batch_events", "Events accepted with one commit.", _EVENTS)
        self._batch_requests = histogram("clearwell_batch_requests", "Requests that share a commit.", _EVENTS)
        self._steps = {
            "batch": histogram("clearwell_batch_seconds", "To take a batch in, all included.", _SECONDS),
            "sync": histogram("clearwell_sync_seconds", "To sync a file of the log, and its folder.", _SECONDS),
            "commit": histogram("clearwell_commit_seconds", "To commit a batch in the catalog.", _SECONDS),
        }
        built = Gauge("clearwell_build_info", "1, with the version.", ("version",), registry=self.registry)
        built.labels(__version__).set(1)

    def timed(self, step: str) -> AbstractContextManager[object]:
        """Time a step of the publisher."""
        return self._steps[step].time()

    def taken(self, taken: Taken) -> None:
        """Count a batch."""
        self._accepted.inc(taken.accepted)
        self._duplicates.inc(taken.duplicates)
        self._refused.inc(taken.refused)
        self._batch_events.observe(taken.accepted)
        self._batch_requests.observe(taken.request_count)

    def held(self, requests: int, size: int) -> None:
        """So many requests, and bytes of bodies, more or fewer are under way."""
        self._under_way.inc(requests)
        self._held.inc(size)

    def answered(self, method: str, path: str, status: int, seconds: float, sizes: tuple[int, int]) -> None:
        """Count a request: its path template, and the bytes of its body and its answer's."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, path, str(status)).inc()
        self._seconds.labels(known, path).observe(seconds)
        self._received.inc(sizes[0])
        self._sent.inc(sizes[1])

    def watch(self, workspace: Workspace, publisher: Publisher, keeper: Keeper, jobs: Jobs) -> None:
        """From now on, show how these are when somebody looks."""
        self.registry.register(_Now(workspace, publisher, keeper, jobs))

    def shown(self) -> bytes:
        """All of it, in the text form of Prometheus."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, registry=self.registry, buckets=buckets)


class _Now(Collector):
    """What is read when somebody looks; of the ledger, at most every `FIGURES_SECONDS`."""

    def __init__(self, workspace: Workspace, publisher: Publisher, keeper: Keeper, jobs: Jobs) -> None:
        self._publisher = publisher
        self._keeper = keeper
        self._jobs = jobs
        self._figures = _Remembered(lambda: gauges(workspace), workspace.say)

    def describe(self) -> list[Metric]:
        """Nothing: to be registered is no reason to ask the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, each with what it is now."""
        requests, size = self._publisher.waiting
        lag = self._keeper.lag()
        yield _gauge("clearwell_waiting_requests", "Requests that wait to be taken in.", requests)
        yield _gauge("clearwell_waiting_bytes", "Bytes of the requests that wait.", size)
        yield _gauge("clearwell_fold_lag_events", "Events that the projections do not have yet.", lag.events)
        yield _gauge("clearwell_fold_lag_seconds", "Since the first of these was committed.", lag.seconds)
        yield from self._job_families()
        found = self._figures.get()
        yield _gauge("clearwell_figures_ready", "Whether what follows could be read.", float(found is not None))
        if found is not None:
            yield from _ledger(found)

    def _job_families(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("clearwell_job_running", "Whether a job runs.", labels=["job"])
        failures = GaugeMetricFamily("clearwell_job_failures", "Runs that failed in a row.", labels=["job"])
        ended = GaugeMetricFamily("clearwell_job_ended_timestamp_seconds", "When a job last ended.", labels=["job"])
        for report in self._jobs.reports():
            running.add_metric([report.name], float(report.state == "running"))
            failures.add_metric([report.name], report.failure_count)
            if report.last_ended_at is not None:
                ended.add_metric([report.name], report.last_ended_at.timestamp())
        yield from (running, failures, ended)


class _Remembered:
    """Figures that are asked for at most every `FIGURES_SECONDS`, by one at a time; None while they cannot be read."""

    def __init__(self, ask: Callable[[], Gauges], say: Callable[[str], None]) -> None:
        self._ask = ask
        self._say = say
        self._lock = threading.Lock()
        self._found: Gauges | None = None
        self._until = 0.0

    def get(self) -> Gauges | None:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._found = self._ask()
                except Exception as error:  # Whatever it is, the other figures are as good as before.
                    self._found = None
                    self._say(f"The figures for the monitor could not be read: {error}")
                self._until = time.monotonic() + FIGURES_SECONDS
            return self._found


def _ledger(found: Gauges) -> Iterator[Metric]:
    yield _gauge("clearwell_log_segments", "Segments of the log.", found.segment_count)
    yield _gauge("clearwell_log_files", "Files of the log.", found.file_count)
    yield CounterMetricFamily("clearwell_log_events", "Events of the log.", found.last_sequence)
    yield _gauge("clearwell_disk_free_bytes", "Room where the log is.", found.free_bytes)
    waiting = GaugeMetricFamily("clearwell_quarantine_waiting_records", "Records in quarantine.", labels=["code"])
    for code, count in found.waiting_by_code.items():
        waiting.add_metric([code], count)
    yield waiting
    labels = ["flow", "account_type", "currency"]
    for name, field, meaning in (
        ("clearwell_open_accounts", "open_count", "Clearing accounts that are not at zero."),
        ("clearwell_overdue_accounts", "overdue_count", "Such accounts whose window has run out."),
        ("clearwell_open_money_minor_units", "open_money", "Money in open accounts."),
        ("clearwell_overdue_money_minor_units", "overdue_money", "Money in overdue accounts."),
    ):
        family = GaugeMetricFamily(name, meaning, labels=labels)
        for row in found.account_types:
            if row["kind"] == "clearing" and row["currency"]:
                family.add_metric([row["flow"], row["account_type"], row["currency"]], row[field] or 0)
        yield family
    scored = GaugeMetricFamily(
        "clearwell_score_ratio", "Score of a node, of the last whole day that was evaluated.",
        labels=["kind", "name", "currency"],
    )  # fmt: skip
    for item in found.scores:
        scored.add_metric([item.kind, item.name, item.currency], item.score)
    yield scored


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)
