"""Jobs of a service: when they run, what they say, and that none of them ever stops what is published."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from clearwell.application import ingesting, keeping, projecting, verifying
from clearwell.application.jobs import FIRST_RETRY, LAST_RETRY, Job, Jobs, Report, next_run, retry_after
from clearwell.application.publications import Outcome, Publication
from clearwell.application.standing_jobs import ANSWERS_KEPT, StandingJobs
from clearwell.catalog import requests
from clearwell.errors import StorageError, UsageError
from clearwell.service.running import Service
from clearwell.settings import JobSchedule, JobSettings, Settings
from clearwell.values.times import stored_text

if TYPE_CHECKING:
    from conftest import Clock, NewLedger

Make = Callable[..., dict[str, Any]]
UTC_ZONE = ZoneInfo("UTC")
HOURLY = JobSchedule(every_minutes=60)
ASKED = JobSchedule()


def lines(creation: Make, *names: str) -> bytes:
    """A creation for each name."""
    records = [creation(id=name, properties={"charge": name, "business": "b", "network": "visa"}) for name in names]
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def publish(service: Service, body: bytes) -> Outcome:
    return service.publisher.publish(Publication(body, "ndjson", "test")).result(60)


def fails(_report: Report) -> None:
    raise StorageError("disk_gone", "the disk is gone")


def jobs_of(clock: Clock, *jobs: Job) -> Jobs:
    return Jobs(jobs, clock)


# --- when ------------------------------------------------------------------------------------------------------------


def test_an_interval_runs_from_the_last_end() -> None:
    """A job with an interval runs again that long after it ended."""
    now = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    assert next_run(JobSchedule(every_minutes=10), now, UTC_ZONE) == now + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-01T01:59:59Z", "2026-03-01T02:00:00Z"),
        ("2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z"),
        ("2026-03-28T23:30:00Z", "2026-03-29T01:00:00Z"),  # The clocks go forward at 02:00 that night.
        ("2026-10-24T23:30:00Z", "2026-10-25T00:00:00Z"),
    ],
)
def test_a_time_of_the_day_is_that_of_the_zone(now: str, expected: str) -> None:
    """A daily job runs once a day at the local time, on the days when clocks change too."""
    zone = "UTC" if now.startswith("2026-03-01") else "Europe/Amsterdam"
    found = next_run(JobSchedule(daily_at=time(2)), datetime.fromisoformat(now), ZoneInfo(zone))
    assert found == datetime.fromisoformat(expected)


def test_off_has_no_next_run() -> None:
    """A job that is off waits to be asked."""
    assert next_run(ASKED, datetime(2026, 1, 1, tzinfo=UTC), UTC_ZONE) is None


def test_a_failing_job_waits_longer_and_longer() -> None:
    """The pauses double from a minute to an hour."""
    pauses = [retry_after(count) for count in range(1, 12)]
    assert pauses[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert pauses[-1] == retry_after(10_000) == LAST_RETRY


@pytest.mark.parametrize("text", ["0 minutes", "every day", "daily at 24:00", "10", "-1 hours", 10, None, "1.5 hours"])
def test_a_schedule_that_cannot_be_is_refused(text: object) -> None:
    """Settings say which schedule they could not read."""
    with pytest.raises(ValidationError, match="expected a schedule"):
        JobSettings.model_validate({"seal": text})


def test_schedules_are_read() -> None:
    """An interval, a time of the day, and off."""
    read = JobSettings.model_validate({"seal": "2 hours", "compact": "daily at 23:59", "evaluate": "off"})
    assert (read.seal, read.compact) == (JobSchedule(every_minutes=120), JobSchedule(daily_at=time(23, 59)))
    assert read.evaluate == ASKED


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [({"back_up": "1 day"}, "backup_folder"), ({"compare": "1 day"}, "producer_sources"), ({"walk": "off"}, "walk")],
)
def test_a_job_without_what_it_needs_is_refused(jobs: dict[str, str], expected: str) -> None:
    """A backup needs a folder, a comparison sources; an unknown job is a misspelt one."""
    with pytest.raises(ValidationError, match=expected):
        Settings.model_validate({"jobs": jobs})


# --- how it goes ------------------------------------------------------------------------------------------------------


def test_a_job_runs_when_it_is_due(ledger_clock: Clock) -> None:
    """Not before, then once, and again after its interval; its progress is told."""
    jobs = jobs_of(ledger_clock, Job("count", lambda report: report(3, 5), HOURLY))
    assert not jobs.step()
    ledger_clock.advance(minutes=60)
    assert jobs.step()
    assert not jobs.step()
    (report,) = jobs.reports()
    assert (report.state, report.done, report.total, report.last_error) == ("idle", 3, 5, None)
    assert report.next_run_at == ledger_clock.now + timedelta(hours=1)


@pytest.fixture
def ledger_clock(new_ledger: NewLedger) -> Clock:
    """A clock that stands still."""
    return new_ledger().clock


def test_a_job_that_fails_says_why_and_is_tried_again(ledger_clock: Clock) -> None:
    """The report has the code and the message; the next run comes after a minute, then after two."""
    told: list[int] = []
    jobs = Jobs([Job("bad", fails, HOURLY)], ledger_clock, ended=lambda report: told.append(report.failure_count))
    for expected in (1, 2, 4):
        jobs.ask("bad")
        assert jobs.step()
        (report,) = jobs.reports()
        assert report.state == "failed"
        assert report.last_error is not None
        assert (report.last_error.code, report.last_error.message) == ("disk_gone", "the disk is gone")
        assert report.next_run_at == ledger_clock.now + timedelta(minutes=expected)
    assert told == [1, 2, 3]


def test_a_mistake_of_ours_is_a_failure_too(ledger_clock: Clock) -> None:
    """Whatever a job raises, the next job runs; one that nobody scheduled is not tried again by itself."""

    def mistaken(_report: Report) -> None:
        raise ZeroDivisionError

    done: list[str] = []
    jobs = jobs_of(ledger_clock, Job("bad", mistaken, ASKED), Job("good", lambda _report: done.append("good"), ASKED))
    jobs.ask("bad")
    jobs.ask("good")
    assert jobs.step()
    assert jobs.step()
    bad, good = jobs.reports()
    assert bad.last_error is not None
    assert (bad.last_error.code, bad.next_run_at, good.state, done) == ("job_failed", None, "idle", ["good"])


def test_a_job_that_recovers_has_no_error(ledger_clock: Clock) -> None:
    """After a good run nothing is left of the failures before."""
    answers: Iterator[Callable[[Report], None]] = iter([fails, lambda _report: None])

    def work(report: Report) -> None:
        next(answers)(report)

    jobs = jobs_of(ledger_clock, Job("mended", work, HOURLY))
    for _ in range(2):
        jobs.ask("mended")
        jobs.step()
    (report,) = jobs.reports()
    assert (report.state, report.last_error, report.failure_count) == ("idle", None, 0)


def test_asking_for_what_cannot_be(ledger_clock: Clock) -> None:
    """An unknown job, and one that runs at present, are refused."""
    began, go = threading.Event(), threading.Event()

    def waits(_report: Report) -> None:
        began.set()
        assert go.wait(60)

    jobs = jobs_of(ledger_clock, Job("slow", waits, ASKED))
    with pytest.raises(UsageError, match="found 'fast'"):
        jobs.ask("fast")
    jobs.ask("slow")
    jobs.start()
    assert began.wait(60)
    with pytest.raises(UsageError, match="runs already"):
        jobs.ask("slow")
    go.set()
    assert jobs.stop(60)


def test_a_job_that_is_asked_to_stop_stops_at_its_next_report(ledger_clock: Clock) -> None:
    """`report` raises once the service stops, and the job says so."""
    began, go = threading.Event(), threading.Event()

    def goes_on(report: Report) -> None:
        began.set()
        assert go.wait(60)
        while True:
            report(1, None)

    jobs = jobs_of(ledger_clock, Job("endless", goes_on, ASKED))
    jobs.ask("endless")
    jobs.start()
    assert began.wait(60)
    assert not jobs.stop(0.0)
    go.set()
    assert jobs.stop(60)
    (report,) = jobs.reports()
    assert report.last_error is not None
    assert report.last_error.code == "job_stopped"


# --- in a service -----------------------------------------------------------------------------------------------------


@contextmanager
def with_job(service: Service, work: Callable[[Report], None]) -> Iterator[Jobs]:
    """A job of ours beside the service, asked for already."""
    jobs = Jobs([Job("ours", work, ASKED)], service.workspace.clock)
    jobs.ask("ours")
    jobs.start()
    yield jobs
    assert jobs.stop(60)


def test_a_job_that_raises_does_not_stop_publishing(service: Any, creation: Make) -> None:
    """Events are accepted after a failure as before it."""
    with with_job(service.service, fails) as jobs:
        while jobs.reports()[0].state != "failed":
            pass
        assert publish(service.service, lines(creation, "a", "b")).accepted == 2


def test_a_job_that_hangs_does_not_stop_publishing(service: Any, creation: Make) -> None:
    """While a job gets nothing but errors from its disk and tries again, events are accepted and folded."""
    go, tries = threading.Event(), threading.Event()

    def hangs(_report: Report) -> None:
        while not go.wait(0.001):
            try:
                fails(_report)
            except StorageError:
                tries.set()

    with with_job(service.service, hangs) as jobs:
        assert tries.wait(60)
        outcome = publish(service.service, lines(creation, "a", "b"))
        assert service.service.keeper.reached(2, 60)
        assert (outcome.accepted, jobs.reports()[0].state) == (2, "running")
        go.set()


def test_compaction_while_events_are_published(service: Any, creation: Make) -> None:
    """Compactions beside a stream of batches lose and double nothing, and replaced files go while the service runs."""
    running: Service = service.service
    standing = StandingJobs(running.workspace, running.publisher)
    ended = threading.Event()
    compacted: list[BaseException | None] = []

    def compact_again_and_again() -> None:
        try:
            while not ended.is_set():
                standing.compact(lambda _done, _total: None)
            compacted.append(None)
        except BaseException as error:
            compacted.append(error)

    publish(running, lines(creation, "first"))
    thread = threading.Thread(target=compact_again_and_again)
    thread.start()
    for number in range(60):
        assert publish(running, lines(creation, f"x{number}", f"y{number}")).accepted == 2
        assert publish(running, lines(creation, "first", f"x{number}")).duplicates == 2
    ended.set()
    thread.join()
    assert compacted == [None]
    standing.compact(lambda _done, _total: None)
    workspace = running.workspace
    log = workspace.log(anew=True)
    assert log.last_sequence == 121
    assert len(log.files) < 61
    assert sorted(path.name for path in workspace.log_folder.iterdir()) == sorted(file.name for file in log.files)
    assert verifying.verify(workspace).faults == ()
    assert publish(running, lines(creation, "first", "x59")).duplicates == 2


def test_verify_waits_for_projections_that_are_behind(
    service: Any, creation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the service has not projected yet is no fault; where it never comes, the error says so."""
    running: Service = service.service
    held, project = threading.Event(), keeping.project

    def later(*given: Any) -> None:
        assert held.wait(60)
        project(*given)

    monkeypatch.setattr(keeping, "project", later)
    publish(running, lines(creation, "a", "b"))
    monkeypatch.setattr(projecting, "WAIT_SECONDS", 0.0)
    with pytest.raises(StorageError) as behind:
        verifying.verify(running.workspace)
    assert behind.value.code == "projections_behind"
    monkeypatch.setattr(projecting, "WAIT_SECONDS", 60.0)
    threading.Timer(0.2, held.set).start()
    assert verifying.verify(running.workspace).faults == ()
    assert running.keeper.applied_sequence == 2


def test_what_a_compaction_is_writing_is_not_cleared_away(service: Any) -> None:
    """A publisher that opens the log again while a file is about to be committed leaves it where it is."""
    running: Service = service.service
    workspace = running.workspace
    held = workspace.shared.lease
    assert held is not None
    coming = workspace.log_folder / "segments-00000001-00000002-0123456789abcdef.parquet"
    coming.write_bytes(b"")
    with workspace.shared.uncommitted:
        ingesting.open_door(workspace, held.lease)
        assert coming.exists()
    ingesting.open_door(workspace, held.lease)
    assert not coming.exists()


def test_the_jobs_do_what_the_commands_do(service: Any, creation: Make, tmp_path_factory: Any) -> None:
    """Sealing, evaluating, compacting and tidying end well, with nothing in the log and with something."""
    running: Service = service.service
    standing = StandingJobs(running.workspace, running.publisher)
    done: dict[str, tuple[int, int | None]] = {}
    for _ in range(2):
        for name in ("seal", "evaluate", "compact", "tidy"):

            def report(count: int, total: int | None, name: str = name) -> None:
                done[name] = (count, total)

            getattr(standing, name)(report)
        publish(running, lines(creation, "a", "b"))
        assert running.keeper.reached(2, 60)
    assert done["seal"] == (2, 2)
    assert done["evaluate"] == (36, 36)
    with pytest.raises(UsageError, match="backup_folder"):
        standing.back_up(lambda _done, _total: None)
    with pytest.raises(UsageError, match="without producer sources"):
        standing.compare(lambda _done, _total: None)


def test_answers_are_forgotten_after_a_week(service: Any) -> None:
    """Tidying keeps what is a week old, and forgets what is older."""
    workspace = service.service.workspace
    now = service.clock.now
    with workspace.catalog.write() as connection:
        for name, age in (("old", ANSWERS_KEPT + timedelta(seconds=1)), ("new", ANSWERS_KEPT)):
            requests.keep(connection, [requests.Answer(name, "", "{}")], stored_text(now - age))
    StandingJobs(workspace, service.service.publisher).tidy(lambda _done, _total: None)
    with workspace.catalog.read() as connection:
        assert set(requests.answers(connection, ["old", "new"])) == {"new"}


def test_jobs_are_seen_by_readers_and_run_by_administrators(service: Any) -> None:
    """The list needs a key that reads; to run one takes an administrator."""
    reader = service.client(service.key("reader"))
    listed = reader.get("/v1/jobs")
    assert [job["name"] for job in listed.json()["jobs"]] == [
        "fold", "seal", "evaluate", "compare", "compact", "back_up", "tidy",
    ]  # fmt: skip
    assert service.client().get("/v1/jobs").status_code == 401
    assert reader.post("/v1/jobs/tidy/run").status_code == 403
    assert service.admin.post("/v1/jobs/tidy/run").status_code == 202
    assert service.admin.post("/v1/jobs/nothing/run").status_code == 404
    assert service.admin.post("/v1/jobs/fold/run").json()["error"]["code"] == "job_runs_always"


def test_the_job_fold_says_how_far_it_is(service: Any, creation: Make) -> None:
    """Its progress is the sequence that is folded, of those that the log has."""
    publish(service.service, lines(creation, "a", "b"))
    assert service.service.keeper.reached(2, 60)
    fold = service.admin.get("/v1/jobs").json()["jobs"][0]
    assert (fold["progress"], fold["lag_events"], fold["state"]) == ({"done": 2, "total": 2}, 0, "running")
