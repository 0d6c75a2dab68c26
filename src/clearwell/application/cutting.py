"""Turns what a user says about times into a cut, and makes the projections answer as of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

import duckdb

from clearwell.application.projecting import projections
from clearwell.application.workspace import KnownModels, Workspace, require_ledger
from clearwell.catalog.expectations import LearnedSubdivision, LearnedWindow, in_use, of_windows
from clearwell.catalog.models import ModelPeriod
from clearwell.errors import ClearwellError, UsageError
from clearwell.flows.model import Model
from clearwell.ingest.personal import Decryption
from clearwell.ledger.views import with_values
from clearwell.log.reader import LogReader
from clearwell.projections.cuts import evaluate_at
from clearwell.projections.store import ProjectionStore
from clearwell.quality import clearing
from clearwell.quality.windows import (
    LearnedSeconds,
    WindowKinds,
    business_windows,
    has_learned,
    value_windows,
    window_kinds,
    windows,
)
from clearwell.values.cuts import Cut
from clearwell.values.instants import parse_cut_instant
from clearwell.values.times import stored_text


@dataclass(frozen=True)
class CutRequest:
    """What the user said: `at` (effective time) and `known_at` (a sequence, or a recorded time); empty for now.

    With `exact`, the cut of an answer that was made before, and neither of the others.
    """

    at: str = ""
    known_at: str = ""
    exact: Cut | None = None

    @property
    def is_of_now(self) -> bool:
        """Whether the same request means another cut a moment later, even if nothing comes meanwhile."""
        return self.exact is None and not self.at and not self.known_at


@dataclass(frozen=True)
class Known:
    """The log as it is read at a cut: by the model in force then (`model`), its events by the ones of their time."""

    cut: Cut
    model: Model
    models: KnownModels
    time_zone: str
    log: LogReader
    decryption: Decryption
    learned: Mapping[str, LearnedWindow]
    """By account type, the learned window that was accepted last by the recorded time of the cut."""

    subdivisions: Sequence[LearnedSubdivision]
    """The windows that were accepted with those for values of a property."""

    @cached_property
    def learned_seconds(self) -> dict[str, LearnedSeconds]:
        """The learned windows that count at the cut, by account type."""
        found = {}
        for name, item in self.learned.items():
            own = [it for it in self.subdivisions if it.account_type == name]
            by_value = {it.value: it.seconds for it in own}
            found[name] = LearnedSeconds(item.seconds, own[0].property_name if own else "", by_value)
        return found

    @property
    def kinds(self) -> WindowKinds:
        """What the windows of the cut need."""
        return window_kinds(self.model, self.learned_seconds)

    @property
    def producers(self) -> dict[str, str]:
        """The producer of each event type, as the newest model up to the cut says that has it."""
        versions = list(self.models)
        upto = [*versions[: versions.index(self.model.version)], self.model.version]
        return {name: item.producer for version in upto for name, item in self.models[version].event_types.items()}

    @property
    def personal_names(self) -> list[str]:
        """The properties that a model of the project ever called personal, sorted."""
        return sorted({name for model in self.models.values() for name in model.personal_names})


@dataclass(frozen=True)
class Evaluated(Known):
    """The books at a cut: the relations of `projections.cuts`, and of `quality.windows`, on the connection."""

    store: ProjectionStore

    def ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        """Run a query over the relations; `$effective_at` and `$time_zone` in it are those of the cut."""
        own: dict[str, Any] = {"effective_at": self.cut.effective_at, "time_zone": self.time_zone}
        return self.store.connection.execute(with_values(query, {**own, **(parameters or {})}))


def known_at(workspace: Workspace, request: CutRequest) -> Known:
    """What there is to read at a cut, without the books. Raises as `books_at` does."""
    periods = _periods(workspace)
    return _known(workspace, request, periods, workspace.log())


def cut_of(workspace: Workspace, request: CutRequest, upto: int | None = None) -> Cut:
    """The cut that a request means, of the log up to the sequence `upto`. Raises as `books_at` does."""
    log = workspace.log()
    return _known(workspace, request, _periods(workspace), log if upto is None else log.upto(upto)).cut


@contextmanager
def books_at(workspace: Workspace, request: CutRequest) -> Iterator[Evaluated]:
    """Evaluate the projections at a cut. Raises UsageError for an unreadable cut, and when the ledger is empty."""
    periods = _periods(workspace)
    with projections(workspace) as projected:
        known = _known(workspace, request, periods, projected.log)
        evaluate_at(projected.store, known.log, known.models, known.cut)
        evaluated = Evaluated(**{item.name: getattr(known, item.name) for item in fields(known)}, store=projected.store)
        _put_windows(evaluated)
        yield evaluated


def _periods(workspace: Workspace) -> list[ModelPeriod]:
    """The models' periods, of which there is one at least; tells of flows that wait."""
    periods = workspace.periods()
    require_ledger(periods)
    _tell_of_waiting_flows(workspace, periods[-1])
    return periods


def _known(workspace: Workspace, request: CutRequest, periods: Sequence[ModelPeriod], log: LogReader) -> Known:
    models = workspace.known_models(periods)
    accepted = workspace.learned_windows() if has_learned(models[periods[-1].version]) else []
    cut = resolve_cut(request, log, periods, workspace.clock(), [item.fitted_at for item in accepted])
    period = _in_force_at(periods, cut)
    model = models[period.version]
    if has_learned(model) and not accepted:
        accepted = workspace.learned_windows()
    learned = in_use(accepted, stored_text(cut.recorded_at))
    # Only an account type that was accepted has subdivisions, and few have any.
    subdivisions = of_windows(workspace.learned_subdivisions() if learned else [], learned)
    return Known(cut, model, models, period.time_zone, log, workspace.decryption, learned, subdivisions)


def resolve_cut(
    request: CutRequest, log: LogReader, periods: Sequence[ModelPeriod], now: datetime, fitted: Sequence[str] = ()
) -> Cut:
    """The cut that `request` means; `fitted` are the times at which learned windows were accepted.

    Without `known_at`, all that is known now. Without `at`, the present, or the recorded time of `known_at`.
    """
    if request.exact is not None:
        if request.exact.sequence > log.last_sequence:
            message = f"expected a cut up to sequence {log.last_sequence}, found {request.exact.sequence}"
            raise UsageError("cut_unknown", message)
        return request.exact
    known = [item.recorded_at for item in log.segments] + [item.accepted_at for item in periods] + list(fitted)
    newest = datetime.fromisoformat(max(known))
    if not request.known_at:
        recorded_at, sequence, default_at = newest, log.last_sequence, now
    elif request.known_at.isdecimal():
        sequence = int(request.known_at)
        if sequence > log.last_sequence:
            raise UsageError(
                "cut_unknown", f"--known-at: expected a sequence up to {log.last_sequence}, found {sequence}"
            )
        recorded_at = log.recorded_at(sequence) if sequence else datetime.fromisoformat(min(known))
        default_at = recorded_at
    else:
        default_at = _instant("--known-at", request.known_at, "a sequence or ")
        recorded_at = min(default_at, newest)
        sequence = log.sequence_at(recorded_at)
    effective_at = _instant("--at", request.at) if request.at else default_at
    return Cut(effective_at=effective_at, recorded_at=recorded_at, sequence=sequence)


def _in_force_at(periods: Sequence[ModelPeriod], cut: Cut) -> ModelPeriod:
    """The model in force at the cut's recorded time; before there was any, the first one."""
    text = stored_text(cut.recorded_at)
    return next((item for item in reversed(periods) if item.accepted_at <= text), periods[0])


def _tell_of_waiting_flows(workspace: Workspace, in_force: ModelPeriod) -> None:
    """Say so when the folder's flows are others than those in force, by which every answer is given."""
    stored = workspace.accepted_texts(in_force.version)
    with suppress(ClearwellError):
        if sorted(workspace.project_texts().values()) != sorted(stored.values()):
            workspace.say(
                "The flows in this folder have changed and are not in force: answers follow the accepted ones. "
                "The next ingest puts them in force, or `clearwell check --accept`."
            )


def _instant(option: str, text: str, alternative: str = "") -> datetime:
    try:
        return parse_cut_instant(text)
    except ValueError as error:
        message = str(error).replace("expected ", f"expected {alternative}", 1)
        raise UsageError("cut_unreadable", f"{option}: {message}") from error


def _put_windows(evaluated: Evaluated) -> None:
    """Make `windows`, a view of literal rows: to read so few takes less than to make a table."""
    connection = evaluated.store.connection
    connection.execute(f"CREATE TEMP VIEW windows AS {windows(evaluated.model, evaluated.learned_seconds)}")
    if evaluated.kinds.places:
        own = value_windows(evaluated.kinds, evaluated.learned_seconds)
        connection.execute(
            "CREATE TEMP TABLE value_windows AS SELECT unnest($names::VARCHAR[]) AS account_type, "
            "unnest($values::VARCHAR[]) AS value, unnest($seconds::BIGINT[]) AS window_seconds",
            dict(zip(("names", "values", "seconds"), map(list, zip(*own, strict=True)), strict=True)),
        )
    if not evaluated.kinds.business_days:
        return
    rows = connection.execute(clearing.opening_days(), {"time_zone": evaluated.time_zone}).fetchall()
    days = {name: (first, last) for name, first, last in rows}
    connection.execute("CREATE TEMP TABLE business_windows (account_type VARCHAR, opened_day DATE, due_day DATE)")
    for name, (opened, due) in business_windows(evaluated.model, days).items():
        filled = "INSERT INTO business_windows SELECT $name, unnest($opened::DATE[]), unnest($due::DATE[])"
        connection.execute(filled, {"name": name, "opened": opened, "due": due})
