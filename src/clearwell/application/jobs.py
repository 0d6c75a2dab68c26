"""Runs the jobs of a service, one at a time, in a thread: each at its times, or when somebody asks for it.

A job that fails is told of, and tried again later and later. It stops nothing but itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from clearwell.errors import ClearwellError, UsageError
from clearwell.settings import JobSchedule

State = Literal["idle", "running", "failed"]

Report = Callable[[int, int | None], None]
"""Told how much of a job is done, and of how much where that is known. Raises when the job is to stop."""

FIRST_RETRY, LAST_RETRY = timedelta(minutes=1), timedelta(hours=1)
"""A job that failed is tried again after the first, then after twice as long each time, up to the last."""

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """Something that a service does from time to time. `work` raises what keeps it from that."""

    name: str
    work: Callable[[Report], None]
    schedule: JobSchedule


@dataclass(frozen=True)
class Failure:
    """Why a job failed, by the code and the message of the error."""

    code: str
    message: str


@dataclass(frozen=True)
class JobReport:
    """How it stands with a job. `done` and `total` count what is under way, or was last, in units of the job.

    `last_error` is that of the last run, None when it ended well. Without `next_run_at` the job waits to be asked.
    """

    name: str
    state: State = "idle"
    done: int = 0
    total: int | None = None
    last_started_at: datetime | None = None
    last_ended_at: datetime | None = None
    last_duration_seconds: float | None = None
    last_error: Failure | None = None
    failure_count: int = 0
    """How many runs in a row have failed."""
    next_run_at: datetime | None = None


class _StoppedError(Exception):
    """The service stops, and the job with it."""


class Jobs:
    """The jobs of a service. `ended` is told of each run that is over, in the thread of the jobs."""

    def __init__(
        self,
        jobs: Sequence[Job],
        clock: Callable[[], datetime],
        time_zone: str = "UTC",
        ended: Callable[[JobReport], None] = lambda _report: None,
    ) -> None:
        """Nothing runs before `start`. Times of the day are those of `time_zone`."""
        self._clock = clock
        self._zone = ZoneInfo(time_zone)
        self._tell = ended
        self._changed = threading.Condition()
        self._jobs: Mapping[str, Job] = {job.name: job for job in jobs}
        now = clock()
        self._reports = {job.name: JobReport(job.name, next_run_at=self._next(job, now)) for job in jobs}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="clearwell-jobs", daemon=True)

    def start(self) -> None:
        """Begin to look after the jobs."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Ask the job that runs to stop, and wait for it so long at most; whether it has stopped."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def reports(self) -> list[JobReport]:
        """How it stands with each."""
        with self._changed:
            return list(self._reports.values())

    def ask(self, name: str) -> JobReport:
        """Have a job run as soon as no other does. Raises UsageError for an unknown job, and one that runs."""
        with self._changed:
            if name not in self._reports:
                expected = ", ".join(self._reports)
                raise UsageError("job_unknown", f"expected a job of: {expected}; found {name!r}")
            if self._reports[name].state == "running":
                raise UsageError("job_running", f"the job {name} runs already: wait until it has ended")
            self._set(name, next_run_at=self._clock())
            self._changed.notify_all()
            return self._reports[name]

    def step(self) -> bool:
        """Run the job that is due longest, in this thread; whether there was one."""
        with self._changed:
            now = self._clock()
            due = [item for item in self._reports.values() if item.next_run_at is not None and item.next_run_at <= now]
            if not due or self._is_stopping:
                return False
            name = min(due, key=lambda item: item.next_run_at or now).name
            self._set(name, state="running", done=0, total=None, last_started_at=now, next_run_at=None)
        self._work(self._jobs[name])
        return True

    def _run(self) -> None:
        while not self._is_stopping:
            if not self.step():
                with self._changed:
                    self._changed.wait_for(lambda: self._is_stopping, _LOOK_SECONDS)

    def _work(self, job: Job) -> None:
        began = time.monotonic()
        failure = None
        try:
            job.work(lambda done, total: self._report(job, done, total))
        except _StoppedError:
            failure = Failure("job_stopped", "the service was stopped; the job begins anew with the service")
        except ClearwellError as error:
            failure = Failure(error.code, error.message)
        except BaseException as error:
            failure = Failure("job_failed", f"the service made a mistake: {error!r}")
        with self._changed:
            now, before = self._clock(), self._reports[job.name]
            count = before.failure_count + 1 if failure else 0
            following = self._next(job, now)
            if failure and following is not None:
                following = now + retry_after(count)
            self._set(
                job.name,
                state="failed" if failure else "idle",
                last_ended_at=now,
                last_duration_seconds=round(time.monotonic() - began, 3),
                last_error=failure,
                failure_count=count,
                next_run_at=following,
            )
            report = self._reports[job.name]
        self._tell(report)

    def _report(self, job: Job, done: int, total: int | None) -> None:
        with self._changed:
            if self._is_stopping:
                raise _StoppedError
            self._set(job.name, done=done, total=total)

    def _set(self, name: str, **changes: object) -> None:
        self._reports[name] = replace(self._reports[name], **changes)  # type: ignore[arg-type]

    def _next(self, job: Job, after: datetime) -> datetime | None:
        return next_run(job.schedule, after, self._zone)


def retry_after(failure_count: int) -> timedelta:
    """How long a job waits that failed so many times in a row."""
    return min(FIRST_RETRY * (1 << min(failure_count - 1, 30)), LAST_RETRY)


def next_run(schedule: JobSchedule, after: datetime, zone: ZoneInfo) -> datetime | None:
    """The next instant of a schedule; a time of the day is that of the zone. None when there is none."""
    if schedule.every_minutes:
        return after + timedelta(minutes=schedule.every_minutes)
    if schedule.daily_at is None:
        return None
    day = after.astimezone(zone).date()
    while True:
        found = datetime.combine(day, schedule.daily_at, zone).astimezone(after.tzinfo)
        if found > after:
            return found
        day += timedelta(days=1)
