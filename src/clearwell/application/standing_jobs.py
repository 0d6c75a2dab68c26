"""What a service does by itself beside publishing: seals, evaluates, compares, compacts, backs up, and tidies.

Each is what a command does, under the writer's lease that the service has already. None holds up what is published.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from clearwell.application.backing_up import back_up
from clearwell.application.compacting import compact, remove_replaced
from clearwell.application.comparing import OpenProducer, compare
from clearwell.application.cutting import CutRequest
from clearwell.application.evaluating import evaluating_at
from clearwell.application.jobs import Job, Report
from clearwell.application.publishing import Publisher
from clearwell.application.scoring import scoring_at
from clearwell.application.sealing import newest_seal, seal
from clearwell.application.workspace import Workspace
from clearwell.catalog import access, requests
from clearwell.errors import StorageError, UsageError
from clearwell.values.times import stored_text

ANSWERS_KEPT = timedelta(days=7)
"""So long a request that is sent again under its key gets the answer that it had."""


class StandingJobs:
    """The jobs of one service, by the functions that do them."""

    def __init__(self, workspace: Workspace, publisher: Publisher, open_producer: OpenProducer | None = None) -> None:
        """Without `open_producer` nothing can be compared."""
        self._workspace = workspace
        self._publisher = publisher
        self._open_producer = open_producer

    def all(self) -> list[Job]:
        """The jobs, with the schedules of `clearwell.yaml`."""
        when = self._workspace.settings.jobs
        return [
            Job("seal", self.seal, when.seal),
            Job("evaluate", self.evaluate, when.evaluate),
            Job("compare", self.compare, when.compare),
            Job("compact", self.compact, when.compact),
            Job("back_up", self.back_up, when.back_up),
            Job("tidy", self.tidy, when.tidy),
        ]

    def seal(self, report: Report) -> None:
        """Seal the events that no seal covers, in events."""
        if self._is_empty():
            return
        last = newest_seal(self._workspace)
        total = self._workspace.log().last_sequence - (last.tree_size if last else 0)
        seal(self._workspace, _adding(report, total))

    def evaluate(self, report: Report) -> None:
        """Keep the scores of the last days, at a cut of now, in days."""
        if self._is_empty():
            return
        since = self._workspace.clock() - timedelta(days=self._workspace.settings.jobs.evaluated_days)
        with scoring_at(self._workspace, CutRequest()) as scores:
            work = evaluating_at(self._workspace, scores, "day", since.date().isoformat(), "")
            told = _adding(report, len(work.spans))
            told(0)
            for count in work.steps():
                told(count)

    def compare(self, report: Report) -> None:
        """Compare every producer source with the log, in records."""
        if self._open_producer is None:
            raise UsageError("producer_source_missing", "this service was started without producer sources")
        if self._is_empty():
            return
        for _run in compare(self._workspace, self._open_producer, CutRequest(), report=_adding(report, None)):
            pass

    def compact(self, report: Report) -> None:
        """Make small files of the log large ones, in events. The publisher goes on, and reads the new ones after it."""
        if self._is_empty():
            return
        if self._workspace.shared.lease is None:
            raise self._publisher.error or StorageError("writer_busy", "the service does not have the log at present")
        try:
            compact(self._workspace, _adding(report, None))
        finally:
            self._publisher.refresh()
        remove_replaced(self._workspace)

    def back_up(self, report: Report) -> None:
        """Bring the backup up to the ledger as it is now, in hundredths of its log."""
        folder = self._workspace.settings.jobs.backup_folder
        if folder is None:
            raise UsageError("backup_folder_missing", "expected jobs.backup_folder in clearwell.yaml, found none")
        if self._is_empty():
            return
        report(0, 100)
        back_up(
            self._workspace,
            self._workspace.folder / folder,
            report=lambda _bytes, share: report(int(100 * share), 100),
        )

    def tidy(self, report: Report) -> None:
        """Forget what was answered to requests long ago, and the sessions that have ended."""
        report(0, None)
        now = self._workspace.clock()
        with self._workspace.catalog.write() as connection:
            done = requests.forget_before(connection, stored_text(now - ANSWERS_KEPT))
            done += access.forget_sessions_before(connection, stored_text(now))
        report(done, done)

    def _is_empty(self) -> bool:
        """Whether there is nothing yet to do anything with."""
        return not self._workspace.periods() or not self._workspace.log().segments


def _adding(report: Report, total: int | None) -> Callable[[int], None]:
    """Tells `report` the sum of what it is told."""
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    return told
