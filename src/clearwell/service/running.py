"""A service that runs: the open project, and what works for it beside the requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from clearwell.application.comparing import OpenProducer
from clearwell.application.jobs import JobReport, Jobs
from clearwell.application.keeping import Keeper, keeping
from clearwell.application.publishing import Limits, Publisher
from clearwell.application.standing_jobs import StandingJobs
from clearwell.application.workspace import Workspace
from clearwell.service.logs import log
from clearwell.service.metrics import Metrics
from clearwell.service.stopping import Stopping

JOB_SECONDS = 10.0
"""So long a job that is asked to stop is waited for; what it does is done in steps that may be broken off."""


@dataclass(frozen=True)
class ServiceOptions:
    """What whoever starts the service says: the largest body of a request, as sent and unpacked, and what may wait.

    A body may take `body_seconds` to arrive; of all requests together `held_bytes` of bodies are held. Beside that, the
    largest answer, how many queries in SQL may run at once and how long, and what opens a producer's own records. With
    `metrics_need_key`, `/metrics` is for keys that read only. `oidc_secret` is what the identity provider knows the
    service by.
    """

    body_bytes: int = 32 << 20
    unpacked_bytes: int = 64 << 20
    limits: Limits = field(default_factory=Limits)
    body_seconds: float = 60.0
    held_bytes: int = 512 << 20
    metrics_need_key: bool = False
    answer_bytes: int = 4 << 30
    query_seconds: float = 30.0
    queries: int = 4
    open_producer: OpenProducer | None = None
    oidc_secret: str = field(default="", repr=False)


@dataclass
class Held:
    """How many bytes of bodies are held for requests that were not answered yet."""

    bytes: int = 0


@dataclass(frozen=True)
class Service:
    """What requests are answered with."""

    workspace: Workspace
    publisher: Publisher
    keeper: Keeper
    options: ServiceOptions
    jobs: Jobs
    metrics: Metrics
    stopping: Stopping = field(default_factory=Stopping)
    held: Held = field(default_factory=Held)


@contextmanager
def running(workspace: Workspace, options: ServiceOptions) -> Iterator[Service]:
    """Take the writer's lease, keep the projections, publish, and do the jobs, until the block ends.

    Raises StorageError when another process writes to the log, DataError when the model or the log has problems.
    """
    metrics = Metrics()
    with keeping(workspace) as keeper:
        publisher = Publisher(workspace, options.limits, metrics)
        publisher.start()
        try:
            standing = StandingJobs(workspace, publisher, options.open_producer).all()
            jobs = Jobs(standing, workspace.clock, workspace.settings.time_zone, _tell)
            metrics.watch(workspace, publisher, keeper, jobs)
            jobs.start()
            try:
                yield Service(workspace, publisher, keeper, options, jobs, metrics)
            finally:
                jobs.stop(JOB_SECONDS)
        finally:
            publisher.stop()


def _tell(report: JobReport) -> None:
    error = report.last_error
    log(
        logging.ERROR if error else logging.INFO,
        f"the job {report.name} {'failed' if error else 'ended'}" + (f": {error.message}" if error else ""),
        job=report.name,
        code=error.code if error else None,
        seconds=report.last_duration_seconds,
        failure_count=report.failure_count or None,
    )
