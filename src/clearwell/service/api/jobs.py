"""`/v1/jobs`: what the service does by itself, how far it is, and what kept it from that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from clearwell.application.auditing import note_after
from clearwell.application.jobs import JobReport, State
from clearwell.errors import UsageError
from clearwell.service.api.schemas import responses
from clearwell.service.api.security import Administering, Reading
from clearwell.service.running import Service
from clearwell.values.instants import format_instant

router = APIRouter(tags=["jobs"])

NamePath = Annotated[str, Path(max_length=64, description="The job's name.")]

FOLD = "fold"
"""The job that always runs: the projections follow the log."""


class JobError(BaseModel):
    """Why the last run of a job failed."""

    code: str
    message: str


class JobProgress(BaseModel):
    """How much is done of what is under way, or was last; `total` is null where nobody knows."""

    done: int
    total: int | None


class JobAnswer(BaseModel):
    """How it stands with a job. Instants are ISO 8601 in UTC.

    `next_run_at` is null for a job that waits to be asked. `lag_events` and `lag_seconds` are of the job `fold` only.
    """

    name: str
    state: State
    progress: JobProgress
    last_started_at: str | None
    last_ended_at: str | None
    last_duration_seconds: float | None
    last_error: JobError | None
    failure_count: int
    next_run_at: str | None
    lag_events: int | None = None
    lag_seconds: float | None = None


class JobsAnswer(BaseModel):
    """Every job of the service."""

    jobs: list[JobAnswer]


_JOB = {
    "name": "seal", "state": "idle", "progress": {"done": 0, "total": None},
    "last_started_at": "2026-01-02T03:04:05Z", "last_ended_at": "2026-01-02T03:04:06Z", "last_duration_seconds": 1.0,
    "last_error": None, "failure_count": 0, "next_run_at": "2026-01-02T03:14:05Z", "lag_events": None,
    "lag_seconds": None,
}  # fmt: skip


@router.get("/v1/jobs", responses=responses(JobsAnswer, {"jobs": [_JOB]}, of_cut=False))
def jobs(request: Request, _principal: Reading) -> JobsAnswer:
    """The jobs of the service: what runs, what comes next, and what kept one from ending well."""
    service: Service = request.app.state.service
    return JobsAnswer(jobs=[_fold(service), *(_answer(report) for report in service.jobs.reports())])


@router.post("/v1/jobs/{name}/run", status_code=202, responses=responses(JobAnswer, _JOB, of_cut=False, status=202))
def run_job(request: Request, name: NamePath, principal: Administering) -> JobAnswer:
    """Have a job run as soon as no other does. `GET /v1/jobs` says how it goes."""
    service: Service = request.app.state.service
    if name == FOLD:
        raise UsageError("job_runs_always", "the job fold runs as long as the service does")
    asked = _answer(service.jobs.ask(name))
    note_after(service.workspace.by(principal.actor), "job.run", name)
    return asked


def _answer(report: JobReport) -> JobAnswer:
    error = report.last_error
    return JobAnswer(
        name=report.name,
        state=report.state,
        progress=JobProgress(done=report.done, total=report.total),
        last_started_at=format_instant(report.last_started_at) if report.last_started_at else None,
        last_ended_at=format_instant(report.last_ended_at) if report.last_ended_at else None,
        last_duration_seconds=report.last_duration_seconds,
        last_error=JobError(code=error.code, message=error.message) if error else None,
        failure_count=report.failure_count,
        next_run_at=format_instant(report.next_run_at) if report.next_run_at else None,
    )


def _fold(service: Service) -> JobAnswer:
    keeper = service.keeper
    lag, error = keeper.lag(), keeper.error
    return JobAnswer(
        name=FOLD,
        state="failed" if error else "running",
        progress=JobProgress(done=keeper.applied_sequence, total=keeper.applied_sequence + lag.events),
        last_started_at=None,
        last_ended_at=None,
        last_duration_seconds=None,
        last_error=JobError(code=error.code, message=error.message) if error else None,
        failure_count=1 if error else 0,
        next_run_at=None,
        lag_events=lag.events,
        lag_seconds=round(lag.seconds, 3),
    )
