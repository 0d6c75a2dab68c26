"""The Python API: `Project` has what the command line can do, as methods. Every method names its errors where it leads.

It imports the whole application. A command imports only what it needs, and opens the project by `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clearwell import bootstrap
from clearwell.application import (
    access,
    arriving,
    attributing,
    auditing,
    backing_up,
    checkpointing,
    compacting,
    comparing,
    evaluating,
    expecting,
    forgetting,
    incidents,
    ingesting,
    modelling,
    projecting,
    proving,
    quarantining,
    querying,
    questions,
    scoring,
    sealing,
    tracing,
    verifying,
)
from clearwell.application.access import Key, MadeKey, Role
from clearwell.application.arriving import ArrivalsReport
from clearwell.application.attributing import AttributionReport, Selection
from clearwell.application.auditing import AuditEntry
from clearwell.application.backing_up import BackedUp
from clearwell.application.checkpointing import IssuedCheckpoint
from clearwell.application.compacting import Compacted
from clearwell.application.comparing import Comparison
from clearwell.application.cutting import CutRequest
from clearwell.application.evaluating import EvaluationReport, Point
from clearwell.application.expecting import ExpectationsReport
from clearwell.application.forgetting import Forgotten
from clearwell.application.incidents import IncidentReport
from clearwell.application.modelling import CheckReport
from clearwell.application.quarantining import Retried
from clearwell.application.questions import OpenFilter, OpenReport, StatusReport
from clearwell.application.scoring import ScoreReport
from clearwell.application.tracing import Trace
from clearwell.application.verifying import Verification
from clearwell.application.verifying_seals import KeptCheckpoint
from clearwell.application.workspace import Workspace
from clearwell.bootstrap import open_producer, open_workspace
from clearwell.catalog.audit import AuditFilter
from clearwell.catalog.incidents import Incident, Rule
from clearwell.catalog.quarantine import QuarantinedRecord
from clearwell.errors import UsageError
from clearwell.ingest.door import Receipt
from clearwell.ingest.inputs import file_input
from clearwell.log.checkpoints import read_checkpoint, read_verifier
from clearwell.log.proofs import Proof
from clearwell.log.seals import Seal
from clearwell.values.cuts import Cut
from clearwell.values.instants import format_instant
from clearwell.values.periods import PeriodKind

if TYPE_CHECKING:
    from clearwell.application.measuring import MeasureReport, QualityReport
    from clearwell.quality.metrics import Metric

When = datetime | str | None
"""An effective time: a datetime with a zone, or ISO 8601 text; None is now."""

Known = datetime | int | str | None
"""A recorded time, or a sequence; None is all that is known."""


@contextmanager
def open_project(folder: Path | str = ".") -> Iterator[Project]:
    """The project in `folder`, for use from Python. Raises as `open_workspace` does."""
    with open_workspace(folder, actor=auditing.on_this_machine("Python")) as workspace:
        yield Project(workspace)


def restore_project(backup: str | PathLike[str], folder: str | PathLike[str]) -> Verification:
    """Make `folder` the project of a backup, and prove it. Raises as `restoring.restore` does."""
    restored = bootstrap.restore(Path(backup), Path(folder))
    with open_workspace(Path(folder), actor=auditing.on_this_machine("Python")) as workspace:
        auditing.note_after(workspace, "ledger.restore", restored.made_at, head=restored.head)
        return verifying.verify(workspace)


class Project:
    """A project that is open. Money is in minor units; instants are datetimes in UTC."""

    def __init__(self, workspace: Workspace) -> None:
        """Use `open_project` to get one."""
        self._workspace = workspace

    def check(self) -> CheckReport:
        """Prove what can be proved about the flows without data."""
        return modelling.check(self._workspace)

    def accept_model(self) -> None:
        """Put the folder's flows in force, whatever changes for open accounts."""
        modelling.accept_model(self._workspace)

    def ingest(
        self,
        *files: str | PathLike[str],
        input_format: str | None = None,
        variables: Mapping[str, str] | None = None,
        imports: bool = False,
    ) -> Receipt:
        """Take every record of `files` in; without files, of the project's sources. Safe to repeat.

        With `imports` they are history, and events keep the `recorded_at` that they bring. Everything is sealed after.
        """
        inputs = [file_input(fspath(name), input_format) for name in files]
        receipt = ingesting.ingest(self._workspace, inputs, variables=dict(variables or {}), imports=imports)
        sealing.seal(self._workspace)
        return receipt

    def status(self, at: When = None, known_at: Known = None) -> StatusReport:
        """Per flow and account type: open, in flight, overdue, and the share cleared."""
        return questions.status(self._workspace, _request(at, known_at))

    def open_accounts(self, at: When = None, known_at: Known = None, **wanted: Any) -> OpenReport:
        """The non-zero clearing accounts; `wanted` are fields of `OpenFilter`."""
        return questions.open_accounts(self._workspace, _request(at, known_at), OpenFilter(**wanted))

    def balances(
        self, account_type: str, properties: Mapping[str, str] | None = None, at: When = None, known_at: Known = None
    ) -> tuple[Cut, list[dict[str, Any]]]:
        """The balances of the accounts of a type, per currency."""
        return questions.balances(self._workspace, _request(at, known_at), account_type, properties or {})

    def scores(self, at: When = None, known_at: Known = None, period: str = "month", engine: str = "") -> ScoreReport:
        """The tree of scores of a period, and of the one before it, with what of the lost money is explained now."""
        return scoring.scores(self._workspace, _request(at, known_at), period, engine)

    def quality(
        self, at: When = None, known_at: Known = None, period: str = "month", engine: str = "duckdb"
    ) -> QualityReport:
        """Scores, timeliness, clearing and aging of a period."""
        from clearwell.application import measuring  # Ibis takes a second.

        return measuring.quality(self._workspace, _request(at, known_at), period, engine)

    def measure(self, metric: Metric, at: When = None, known_at: Known = None, **wanted: Any) -> MeasureReport:
        """One metric in cross-sections; `wanted` are fields of `MeasureRequest`."""
        from clearwell.application import measuring

        request = measuring.MeasureRequest(metric, **wanted)
        return measuring.measure(self._workspace, _request(at, known_at), request)

    def evaluate(
        self, period: PeriodKind = "day", since: str = "", until: str = "", at: When = None, known_at: Known = None
    ) -> EvaluationReport:
        """Evaluate the scores of many periods at one cut, and keep them; safe to repeat."""
        return evaluating.evaluate(self._workspace, _request(at, known_at), period, since, until)

    def history(self, period: PeriodKind = "day") -> list[Point]:
        """The newest kept evaluation of each period of a kind, in order."""
        return evaluating.history(self._workspace, period)

    def compute_again(self, point: Point, engine: str = "duckdb") -> Point:
        """A kept point computed anew at its cut, with the comparisons that it was evaluated with: it is the same."""
        return evaluating.compute_again(self._workspace, point, engine)

    def trace(
        self,
        values: Mapping[str, str] | None = None,
        steps: int = 1,
        at: When = None,
        known_at: Known = None,
        *,
        event: str = "",
    ) -> Trace:
        """Every event and account that these property values touch, or one event, as `PRODUCER/ID` or `#SEQUENCE`."""
        return tracing.trace(self._workspace, _request(at, known_at), values or {}, steps, event)

    def query(self, sql: str, at: When = None, known_at: Known = None) -> list[dict[str, Any]]:
        """The rows of one SELECT over the documented views."""
        with querying.query(self._workspace, _request(at, known_at), sql) as answer:
            if len(set(answer.columns)) < len(answer.columns):
                raise UsageError(
                    "query_columns_repeated", f"expected columns of different names, found {answer.columns}"
                )
            return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    def expectations(
        self, account_type: str = "", at: When = None, known_at: Known = None, *, accept: bool = False
    ) -> ExpectationsReport:
        """Clearing windows learned from history; with `accept`, those of learned account types come into force."""
        learn = expecting.accept if accept else expecting.expectations
        return learn(self._workspace, _request(at, known_at), account_type)

    def arrivals(
        self,
        bucket: Literal["hour", "day"] = "hour",
        days: int = 7,
        at: When = None,
        known_at: Known = None,
        *,
        event_type: str = "",
        account_type: str = "",
    ) -> ArrivalsReport:
        """Hours or days of the last ones before the cut with too few events, too many, late ones, or none.

        Of all event types and account types, or of those that are named.
        """
        return arriving.arrivals(
            self._workspace, _request(at, known_at), bucket, days, event_type=event_type, account_type=account_type
        )

    def completeness(self, *names: str, period: str = "", at: When = None, known_at: Known = None) -> list[Comparison]:
        """Compare the named producer sources, or all, with the log, of a period such as `2026-01` or of everything."""
        request = _request(at, known_at)
        return list(comparing.compare(self._workspace, open_producer, request, names, period=period))

    def differences(self, comparison: Comparison, limit: int | None = None) -> list[dict[str, Any]]:
        """What a comparison found that does not match."""
        return list(comparing.differences(self._workspace, comparison.number, limit))

    def open_incident(self, name: str, known: str = "") -> Incident:
        """Name a cause, with what is known of it."""
        return incidents.open_incident(self._workspace, name, known)

    def close_incident(self, name: str, known: str | None = None) -> Incident:
        """Say that a cause is over; what is attributed to it stays so."""
        return incidents.close_incident(self._workspace, name, known)

    def incidents(self, *, closed: bool = False) -> list[IncidentReport]:
        """The open incidents, or with `closed` all, and how much is attributed to each."""
        return incidents.listed(self._workspace, closed=closed)

    def attribute(
        self,
        incident: str,
        *subjects: str,
        rule: Rule = "uncleared",
        at: When = None,
        known_at: Known = None,
        move: bool = False,
        **wanted: Any,
    ) -> AttributionReport:
        """Attribute subjects of a rule to an incident, or all that is `wanted`: other fields of `Selection`."""
        selection = Selection(rule, subjects, **wanted)
        return attributing.attribute(self._workspace, _request(at, known_at), incident, selection, move=move)

    def withdraw(
        self,
        incident: str,
        *subjects: str,
        rule: Rule = "uncleared",
        at: When = None,
        known_at: Known = None,
        **wanted: Any,
    ) -> AttributionReport:
        """Attribute subjects, or all that is `wanted`, or without either everything, to an incident no longer."""
        selection = Selection(rule, subjects, **wanted) if subjects or wanted else None
        return attributing.withdraw(self._workspace, _request(at, known_at), incident, selection)

    def quarantined(self, code: str | None = None, limit: int = 100) -> list[QuarantinedRecord]:
        """The records that wait in quarantine, with the reason for each."""
        return quarantining.quarantined(self._workspace, code=code, limit=limit)

    def retry_quarantine(self, numbers: Sequence[int] = (), corrected: bytes | None = None) -> Retried:
        """Send waiting records through the door again."""
        retried = quarantining.retry(self._workspace, numbers, corrected)
        sealing.seal(self._workspace)
        return retried

    def verify(self, *checkpoints: str, key: str = "") -> Verification:
        """Prove the ledger anew from its files, and against the texts of signed checkpoints that were kept.

        They must be signed with the verifier key `key`, or without one with the key of this folder.
        """
        kept = []
        if checkpoints:
            verifier = read_verifier(key) if key else checkpointing.known_verifier(self._workspace)
            kept = [
                KeptCheckpoint(str(number), read_checkpoint(text), verifier)
                for number, text in enumerate(checkpoints, start=1)
            ]
        return verifying.verify(self._workspace, checkpoints=kept)

    def seal(self) -> Seal | None:
        """Commit the root of the tree over all events; returns the newest seal."""
        return sealing.seal(self._workspace)

    def prove(self, event: str, producer: str = "", size: int | None = None) -> Proof:
        """The proof that an event, given by id or `#SEQUENCE`, is in the log's tree."""
        return proving.prove(self._workspace, event, producer, size)

    def checkpoint(self) -> IssuedCheckpoint:
        """A signed checkpoint of the whole log, for others to keep."""
        return checkpointing.checkpoint(self._workspace)

    def forget(self, subject: str) -> Forgotten:
        """Destroy the key of a subject: its personal values read as erased from now on. Cannot be undone."""
        return forgetting.forget(self._workspace, subject)

    def compact(self) -> Compacted:
        """Make the small files of the log large ones."""
        return compacting.compact(self._workspace)

    def backup(self, destination: str | PathLike[str], *, check: bool = False) -> BackedUp:
        """Bring the backup in a folder up to the ledger; with `check`, hash what is there already, too."""
        return backing_up.back_up(self._workspace, Path(destination), check=check)

    def make_key(
        self,
        name: str,
        role: Role,
        *,
        event_types: Collection[str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> MadeKey:
        """Make a key to the service; its secret is told this once."""
        types = frozenset(event_types) if event_types is not None else None
        return access.make_key(self._workspace, name, role, event_types=types, properties=properties)

    def keys(self) -> list[Key]:
        """Every key that was ever made, revoked or not, without its secret."""
        return access.keys(self._workspace)

    def revoke_key(self, name: str) -> bool:
        """Revoke a key; returns whether that was still to be done."""
        return access.revoke_key(self._workspace, name)

    def audit(self, since: str = "", until: str = "", limit: int = 100, **wanted: Any) -> list[AuditEntry]:
        """Who changed what, the newest first; `wanted` are fields of `AuditFilter`."""
        return auditing.entries(self._workspace, AuditFilter(**wanted), since=since, until=until, limit=limit)

    def rebuild(self) -> int:
        """Fold the whole log again; returns the number of events."""
        return projecting.catch_up(self._workspace, anew=True)


def _request(at: When, known_at: Known) -> CutRequest:
    return CutRequest(_text(at), _text(known_at))


def _text(value: datetime | int | str | None) -> str:
    if value is None:
        return ""
    return format_instant(value) if isinstance(value, datetime) else str(value)
