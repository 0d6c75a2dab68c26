"""What history lets one expect: windows learned from episodes, held against those in force, and accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from clearwell.application.auditing import note
from clearwell.application.cutting import CutRequest, Evaluated, books_at
from clearwell.application.workspace import Workspace
from clearwell.application.writing import writing
from clearwell.catalog.expectations import LearnedSubdivision, LearnedWindow, append_windows, newest_fitted_at
from clearwell.errors import DataError, UsageError
from clearwell.flows.model import AccountType
from clearwell.ledger.views import with_values
from clearwell.quality.expectations import windows
from clearwell.quality.expectations.windows import FittedWindow, Held, Rules
from clearwell.values.cuts import Cut
from clearwell.values.durations import Learned
from clearwell.values.times import stored_text


@dataclass(frozen=True)
class Expectation:
    """An account type, or a subdivision of it: the window it declares, how that fared, and what history teaches.

    `accepted` is the learned window in force, where the account type declares a learned one and one was accepted;
    `accepted_seconds` is its length, or that of the subdivision's own. `subdivided_by` is the property, empty for the
    whole account type.
    """

    account_type: AccountType
    subdivided_by: str
    accepted: LearnedWindow | None
    accepted_seconds: int | None
    fitted: FittedWindow
    held: Held
    warning: str


@dataclass(frozen=True)
class ExpectationsReport:
    """What was learned at the cut, in the order of the model; `accepted_at` is when it was stored, empty if not."""

    cut: Cut
    rules: Rules
    expectations: list[Expectation]
    accepted_at: str = ""
    accepted: tuple[LearnedWindow, ...] = ()
    accepted_subdivisions: tuple[LearnedSubdivision, ...] = ()


def expectations(workspace: Workspace, request: CutRequest, account_type: str = "") -> ExpectationsReport:
    """Learn the windows of all clearing account types that have episodes, or of one, and hold them against others.

    Raises UsageError for an account type that is none to learn, DataError for settings that the model does not know.
    """
    with books_at(workspace, request) as books:
        chosen = _chosen(books, account_type)
        parts = _subdivisions(workspace, books)
        found = _learned(books, chosen, parts, _rules(workspace))
        return ExpectationsReport(books.cut, _rules(workspace), found)


def accept(workspace: Workspace, request: CutRequest, account_type: str = "") -> ExpectationsReport:
    """Learn as `expectations` does, and put the windows of the account types that declare a learned one in force.

    With the window of an account type come those of its values that have enough history; all other values follow the
    account type's. They count for every cut from now on, and for no earlier one. Raises as `expectations` does,
    UsageError when the model has no learned window, and StorageError when another writer is at work.
    """
    with writing(workspace) as lease:
        report = expectations(workspace, request, account_type)
        wanted = [item for item in report.expectations if _is_learned(item.account_type)]
        if not wanted:
            expected = "an account type with episodes that declares `clears_within: learned`"
            raise UsageError("nothing_to_learn", f"expected {expected}, found none: declare it in its flow file first")
        fitted_at = stored_text(_next_instant(workspace))
        version = workspace.periods()[-1].version
        learned = [item for item in wanted if item.fitted.state == "learned"]
        rows = tuple(_row(item, report, fitted_at, version) for item in learned if not item.subdivided_by)
        names = {row.account_type for row in rows}
        parts = tuple(_part(item, fitted_at) for item in learned if item.fitted.value is not None)
        parts = tuple(part for part in parts if part.account_type in names)
        with lease.write() as connection:
            append_windows(connection, rows, parts)
            if rows:
                seconds = {row.account_type: row.seconds for row in rows}
                note(connection, workspace, "windows.accept", account_type, seconds=seconds, subdivisions=len(parts))
    accepted_at = fitted_at if rows else ""
    return replace(report, accepted_at=accepted_at, accepted=rows, accepted_subdivisions=parts)


def _next_instant(workspace: Workspace) -> datetime:
    """Now, but later than all that is known, so that a recorded time alone tells which window counts."""
    segments = workspace.log().segments
    known = [period.accepted_at for period in workspace.periods()] + [item.recorded_at for item in segments[-1:]]
    with workspace.catalog.read() as connection:
        known.append(newest_fitted_at(connection))
    return max(workspace.clock(), datetime.fromisoformat(max(known)) + timedelta(microseconds=1))


def _row(item: Expectation, report: ExpectationsReport, fitted_at: str, version: str) -> LearnedWindow:
    assert item.fitted.seconds is not None
    return LearnedWindow(
        fitted_at=fitted_at,
        account_type=item.account_type.name,
        known_sequence=report.cut.sequence,
        effective_at=stored_text(report.cut.effective_at),
        model_version=version,
        seconds=item.fitted.seconds,
        quantile=str(report.rules.quantile),
        headroom=str(report.rules.headroom),
        episode_count=item.fitted.episode_count,
        open_count=item.fitted.open_count,
    )


def _part(item: Expectation, fitted_at: str) -> LearnedSubdivision:
    assert item.fitted.seconds is not None
    assert item.fitted.value is not None
    return LearnedSubdivision(
        fitted_at=fitted_at,
        account_type=item.account_type.name,
        value=item.fitted.value,
        property_name=item.subdivided_by,
        seconds=item.fitted.seconds,
        episode_count=item.fitted.episode_count,
        open_count=item.fitted.open_count,
    )


def _rules(workspace: Workspace) -> Rules:
    settings = workspace.settings.expectations
    return Rules(settings.quantile, settings.headroom, settings.minimum_episodes)


def _chosen(books: Evaluated, account_type: str) -> list[AccountType]:
    clearing = [item for item in books.model.account_types.values() if item.kind == "clearing"]
    if not account_type:
        return clearing
    if found := [item for item in clearing if item.name == account_type]:
        return found
    names = ", ".join(item.name for item in clearing)
    raise UsageError(
        "account_type_unknown", f"expected a clearing account type of the model ({names}), found {account_type!r}"
    )


def _subdivisions(workspace: Workspace, books: Evaluated) -> dict[str, str]:
    """The property by account type, as the settings say. Raises DataError for what the model does not know."""
    named = workspace.settings.expectations.subdivide
    for name, property_name in named.items():
        known = books.model.account_types.get(name)
        if known is None or known.kind != "clearing" or property_name not in known.properties:
            expected = "a clearing account type and one of its properties"
            raise DataError(
                "settings_invalid", f"expectations.subdivide: expected {expected}, found {name}: {property_name}"
            )
    return named


def _learned(
    books: Evaluated, chosen: Sequence[AccountType], subdivided: Mapping[str, str], rules: Rules
) -> list[Expectation]:
    names = [item.name for item in chosen]
    places = {item.name: item.properties.index(subdivided[item.name]) + 1 for item in chosen if item.name in subdivided}
    durations = _frame(books, windows.durations(places, names), windows.DURATIONS_SCHEMA)
    judged = _frame(books, windows.judged(places, names, books.kinds), windows.JUDGED_SCHEMA)
    found = []
    for account_type in chosen:
        own = durations.filter(pl.col("account_type") == account_type.name)
        counted = judged.filter(pl.col("account_type") == account_type.name)
        fits = windows.fit(own, rules) if own.height else []
        alone = [item.value for item in fits if item.value is not None]
        for fitted in fits:
            held = windows.held(counted.filter(_of(fitted, alone)))
            subdivided_by = subdivided[account_type.name] if fitted.value is not None or fitted.is_rest else ""
            accepted = books.learned.get(account_type.name) if _is_learned(account_type) else None
            seconds = _accepted_seconds(books, account_type, subdivided_by, fitted.value) if accepted else None
            warning = windows.warning(fitted, held)
            found.append(Expectation(account_type, subdivided_by, accepted, seconds, fitted, held, warning))
    return found


def _accepted_seconds(books: Evaluated, account_type: AccountType, subdivided_by: str, value: str | None) -> int:
    """The window in force of a value, its own if it is of the property that was accepted, or of the account type."""
    own = books.learned_seconds[account_type.name]
    if value is None or subdivided_by != own.property_name:
        return own.seconds
    return own.by_value.get(value, own.seconds)


def _is_learned(account_type: AccountType) -> bool:
    return isinstance(account_type.clears_within, Learned)


def _of(fitted: FittedWindow, alone: Sequence[str]) -> pl.Expr:
    """The condition that a row is of the episodes that it was learned from."""
    if fitted.is_rest:
        return ~pl.col("value").is_in(alone)
    return pl.col("value") == fitted.value if fitted.value is not None else pl.lit(value=True)


def _frame(books: Evaluated, query: str, schema: pl.Schema) -> pl.DataFrame:
    own: dict[str, str | datetime] = {"effective_at": books.cut.effective_at, "time_zone": books.time_zone}
    frame = pl.from_arrow(books.store.connection.execute(with_values(query, own)).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame.match_to_schema(schema, integer_cast="upcast")
