"""Checking flow models, and putting a changed one in force after asking the log what the change would mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from clearwell.application.auditing import note
from clearwell.application.projecting import projections
from clearwell.application.workspace import Workspace
from clearwell.application.writing import writing
from clearwell.catalog import expectations, models
from clearwell.catalog.lease import WriterLease
from clearwell.catalog.models import ModelPeriod
from clearwell.errors import DataError, UsageError
from clearwell.flows.changes import Change, compare_models
from clearwell.flows.check import Equation, clearing_equations
from clearwell.flows.draw import draw_flow
from clearwell.flows.load import load_model
from clearwell.flows.model import EventType, Model
from clearwell.flows.personal import PersonalUse, personal_uses
from clearwell.flows.problems import Problem
from clearwell.ingest.personal import may_be_encrypted
from clearwell.log.manifest import LogFile
from clearwell.log.reader import LogReader
from clearwell.projections.store import ProjectionStore
from clearwell.values import columns
from clearwell.values.times import stored_text

_POSTING_CHANGES = {
    "moves_changed",
    "required_properties_added",
    "amounts_added",
    "amounts_removed",
    "amounts_changed",
}
_PRODUCER_CHANGE = "producer_changed"
_IDENTITY_CHANGES = {"removed", "kind_changed", "properties_changed"}


@dataclass(frozen=True)
class Consequence:
    """What a model change would mean for the log: `refused` cannot be, `acceptance` must be accepted by a person."""

    severity: Literal["refused", "acceptance"]
    subject: str
    text: str


@dataclass(frozen=True)
class CheckReport:
    """All that is known of the folder's model. `version` is empty while it has errors."""

    version: str
    in_force: str
    problems: tuple[Problem, ...]
    equations: tuple[Equation, ...]
    changes: tuple[Change, ...]
    consequences: tuple[Consequence, ...]
    personal: tuple[PersonalUse, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether events could be ingested under this model, given a person's acceptance where it needs one."""
        errors = [item for item in self.problems if item.severity == "error"]
        return not errors and not any(item.severity == "refused" for item in self.consequences)


def check(workspace: Workspace) -> CheckReport:
    """Prove what can be proved without data, and compare with the model in force and its log, if there is one."""
    _ = workspace.currencies
    model, problems = load_model(workspace.project_texts())
    if model is None:
        return CheckReport("", "", tuple(problems), (), (), ())
    old = _in_force(workspace)
    changes = compare_models(old, model) if old else ()
    consequences = tuple(_consequences(workspace, old, model, changes)) if old and changes else ()
    version = old.version if old else ""
    personal = personal_uses(model)
    return CheckReport(
        model.version, version, tuple(problems), clearing_equations(model), changes, consequences, personal
    )


def draw(workspace: Workspace, flow: str) -> str:
    """The flow as a Mermaid flowchart. Raises UsageError when the model has no such flow."""
    model = workspace.project_model()
    names = [item.name for item in model.flows]
    if flow not in names:
        raise UsageError("flow_unknown", f"expected a flow of the model ({', '.join(names)}), found {flow!r}")
    return draw_flow(model, flow)


def flow_names(workspace: Workspace) -> list[str]:
    """The flows of the folder's model."""
    return [item.name for item in workspace.project_model().flows]


def accept_model(workspace: Workspace) -> Model:
    """Put the folder's model in force, whatever it means for open accounts. Raises as `put_in_force` does."""
    with writing(workspace) as lease:
        return put_in_force(workspace, lease, accept=True)[0]


def put_in_force(
    workspace: Workspace, lease: WriterLease, *, accept: bool, since: datetime | None = None
) -> tuple[Model, datetime]:
    """Make the folder's model the one that events are posted under; returns it and the time that events come after.

    That is when it came into force, or, where that is later, when a learned window was accepted. With `since`, history
    is imported into an empty log, and the model is in force from that instant on. Raises DataError when the model has
    problems, when the log forbids the change, or when the change has consequences and `accept` is not given.
    """
    model = workspace.project_model()
    if since is not None:
        return model, _begin(workspace, lease, model, since)
    periods = workspace.periods()
    time_zone = workspace.settings.time_zone
    fitted_at = _newest_fitted_at(workspace, periods)
    if periods and (periods[-1].version, periods[-1].time_zone) == (model.version, time_zone):
        return model, datetime.fromisoformat(max([periods[-1].accepted_at, *fitted_at]))
    old = _in_force(workspace)
    if old:
        _refuse_unaccepted(list(_consequences(workspace, old, model, compare_models(old, model))), accept=accept)
    known = [period.accepted_at for period in periods] + [item.recorded_at for item in workspace.log().segments]
    known += fitted_at
    earliest = datetime.fromisoformat(max(known)) + timedelta(microseconds=1) if known else workspace.clock()
    accepted_at = max(workspace.clock(), earliest)
    with lease.write() as connection:
        period = ModelPeriod(len(periods) + 1, model.version, time_zone, stored_text(accepted_at))
        models.put_in_force(connection, period, workspace.project_texts())
        note(connection, workspace, "model.accept", model.version, time_zone=time_zone, by_decision=accept)
    return model, accepted_at


def _newest_fitted_at(workspace: Workspace, periods: list[ModelPeriod]) -> list[str]:
    """When a learned window was accepted last, if one ever was: no event may seem to have been known before that."""
    if not periods:
        return []
    with workspace.catalog.read() as connection:
        return [text for text in [expectations.newest_fitted_at(connection)] if text]


def _begin(workspace: Workspace, lease: WriterLease, model: Model, since: datetime) -> datetime:
    """Let a log that has no event yet begin with this model; models that were in force before anything happened go."""
    accepted_at = min(workspace.clock(), since)
    with lease.write() as connection:
        models.forget_periods(connection)
        period = ModelPeriod(1, model.version, workspace.settings.time_zone, stored_text(accepted_at))
        models.put_in_force(connection, period, workspace.project_texts())
        note(connection, workspace, "model.accept", model.version, time_zone=period.time_zone, by_decision=False)
    return accepted_at


def _in_force(workspace: Workspace) -> Model | None:
    periods = workspace.periods()
    return workspace.known_models()[periods[-1].version] if periods else None


def _refuse_unaccepted(consequences: list[Consequence], *, accept: bool) -> None:
    refused = [item.text for item in consequences if item.severity == "refused"]
    if refused:
        raise DataError("model_change_refused", "the changed flows cannot follow the log", refused)
    if consequences and not accept:
        raise DataError(
            "model_change_not_accepted",
            "the changed flows have consequences for the log: run `clearwell check --accept` if they are meant",
            [item.text for item in consequences],
        )


def _consequences(workspace: Workspace, old: Model, new: Model, changes: tuple[Change, ...]) -> Iterator[Consequence]:
    """Ask the log what would no longer post, and what would no longer clear."""
    log = workspace.log()
    if not log.segments:
        return
    with projections(workspace) as projected:
        store = projected.store
        for change in changes:
            if change.subject_kind == "account_type" and change.what in _IDENTITY_CHANGES:
                count = _account_count(store, change.subject)
                if count:
                    yield Consequence(
                        "refused",
                        change.subject,
                        f"{change.text.rstrip('.')}, but the log has {count} account(s) of it: "
                        "declare a new account type instead",
                    )
        changed = {
            item.subject for item in changes if item.subject_kind == "event_type" and item.what in _POSTING_CHANGES
        }
        removed = {item.subject for item in changes if item.subject_kind == "event_type" and item.what == "removed"}
        for change in changes:
            if change.what == _PRODUCER_CHANGE:
                yield from _no_longer_recognised(log, change)
        for name in sorted(changed):
            yield from _no_longer_posting(log, new.event_types[name])
        for name in sorted(changed | removed):
            yield from _no_longer_clearing(store, old, name)
    yield from _otherwise_private(log, old, new)


def _account_count(store: ProjectionStore, account_type: str) -> int:
    row = store.connection.execute(
        """SELECT count(*) FROM (
            SELECT account FROM open_accounts WHERE account_type = $name
            UNION SELECT account FROM episodes WHERE account_type = $name
            UNION SELECT account FROM reservoirs WHERE account_type = $name)""",
        {"name": account_type},
    ).fetchone()
    assert row is not None
    return int(row[0])


def _no_longer_recognised(log: LogReader, change: Change) -> Iterator[Consequence]:
    """Count the log's events that would be taken for new ones if they came again, for identity is (producer, id)."""
    counts = [
        log.collected(file, log.scan(file).filter(pl.col("type") == change.subject).select(pl.len()))
        for file in log.files
    ]
    total = sum(frame.item() for frame in counts)
    if total:
        text = f"{change.text}: {total} events in the log would be accepted once more if they came again"
        yield Consequence("acceptance", change.subject, text)


def _otherwise_private(log: LogReader, old: Model, new: Model) -> Iterator[Consequence]:
    """What is personal from now on stays in clear in the events before, and the other way round."""
    for name in sorted(set(new.personal_names) - set(old.personal_names)):
        count = sum(_in_clear(log, file, name) for file in log.files)
        if count:
            text = f"{count} events in the log keep {name} in clear, also when their subject is forgotten"
            yield Consequence("acceptance", name, text)
    for name in sorted(set(old.personal_names) - set(new.personal_names)):
        text = f"{name} is personal no longer: new events keep it in clear, those in the log stay encrypted"
        yield Consequence("acceptance", name, text)


def _in_clear(log: LogReader, file: LogFile, name: str) -> int:
    """How many events of a file hold the property in clear, in its column or among the undeclared ones."""
    scan = log.scan(file)
    column, others = pl.col(columns.property_column(name)), pl.col(columns.OTHER_PROPERTIES)
    conditions = {
        columns.property_column(name): column.is_not_null() & ~may_be_encrypted(column),
        columns.OTHER_PROPERTIES: others.str.json_path_match(f"$.{name}").is_not_null(),
    }
    present = scan.collect_schema().names()
    held = [condition for needed, condition in conditions.items() if needed in present]
    counted = scan.filter(pl.any_horizontal(pl.lit(value=False), *held)).select(pl.len()).collect()
    return int(counted.item())


def _no_longer_posting(log: LogReader, event_type: EventType) -> Iterator[Consequence]:
    """Count the log's events of this type that lack what its new moves need."""
    needed = [
        *((f"property {name}", columns.property_column(name)) for name in event_type.required_properties),
        *((f"amount {rule.name}", columns.amount_column(rule.name)) for rule in event_type.amounts),
    ]
    total, lacking = 0, dict.fromkeys((label for label, _ in needed), 0)
    for segment in log.files:
        lazy = log.scan(segment).filter(pl.col("type") == event_type.name)
        present = set(log.schema(segment, lazy).names())
        counts = lazy.select(
            pl.len().alias("total"),
            *((pl.col(name).is_null().sum() if name in present else pl.len()).alias(label) for label, name in needed),
        )
        row = log.collected(segment, counts).row(0, named=True)
        total += row.pop("total")
        lacking = {label: lacking[label] + count for label, count in row.items()}
    for label, count in lacking.items():
        if count:
            text = f"{count} of the {total} {event_type.name} events in the log would no longer post: no {label}"
            yield Consequence("acceptance", event_type.name, text)


def _no_longer_clearing(store: ProjectionStore, old: Model, name: str) -> Iterator[Consequence]:
    """Count the accounts that are open while an event type that filled or drained them changes."""
    sides = [side for move in old.event_types[name].moves for side in (move.source, move.destination)]
    for account_type in sorted({side.account_type for side in sides}):
        row = store.connection.execute(
            "SELECT count(*) FROM open_accounts WHERE account_type = ?", [account_type]
        ).fetchone()
        assert row is not None
        if row[0]:
            text = (
                f"{row[0]} open {account_type} account(s) may no longer clear: {name}, which moves their money, changes"
            )
            yield Consequence("acceptance", account_type, text)
