"""Whether events arrive as history lets one expect: per event type and account type, by the hour or day, at a cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from clearwell.application.cutting import CutRequest, Known, known_at
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.log.manifest import LogFile
from clearwell.quality.expectations.arrivals import (
    ARRIVALS_SCHEMA,
    ArrivalFinding,
    ArrivalRules,
    Bucket,
    JudgedArrivals,
    counted,
    judge,
)
from clearwell.quality.expectations.subjects import Subject, SubjectKind, amounts, conditions
from clearwell.values.cuts import Cut
from clearwell.values.times import INSTANT

_COLUMNS = ("sequence", "type", "model_version", "effective_at", "occurred_at", "recorded_at")


@dataclass(frozen=True)
class ArrivalsReport:
    """What was judged, and how: event types in the order of the model, then the account types that can be filled."""

    cut: Cut
    rules: ArrivalRules
    subjects: list[JudgedArrivals]

    @property
    def findings(self) -> list[ArrivalFinding]:
        """All findings, the oldest first."""
        found = [finding for item in self.subjects for finding in item.findings]
        return sorted(found, key=lambda item: (item.start, item.subject_kind != "event_type", item.subject))


def arrivals(
    workspace: Workspace,
    request: CutRequest,
    bucket: Bucket = "hour",
    days: int = 7,
    *,
    event_type: str = "",
    account_type: str = "",
) -> ArrivalsReport:
    """Hold the last `days` before the cut against the history before them: of everything, or of what is named.

    Raises UsageError for an event type or account type that the model does not have, and as `known_at` does.
    """
    known = known_at(workspace, request)
    chosen = _chosen(known, {"event_type": event_type, "account_type": account_type})
    settings = workspace.settings.expectations
    until = known.cut.effective_at
    rules = ArrivalRules(bucket, days, until, known.time_zone, settings.quantile, settings.headroom)
    rows = _counted(known, rules, chosen)
    own = {(str(kind), str(name)): frame for (kind, name), frame in rows.group_by("subject_kind", "subject")}
    found = [judge(own.get((item.kind, item.name), rows.clear()), item, rules) for item in chosen]
    return ArrivalsReport(known.cut, rules, found)


def _chosen(known: Known, names: Mapping[SubjectKind, str]) -> dict[Subject, pl.Expr]:
    """The subjects that are named, or all. Raises UsageError for one that the model does not have."""
    every = conditions(known.models, known.model)
    wanted = {Subject(kind, name) for kind, name in names.items() if name}
    for subject in wanted - every.keys():
        expected = ", ".join(item.name for item in every if item.kind == subject.kind)
        what = "an event type" if subject.kind == "event_type" else "an account type that events fill"
        raise UsageError(
            f"{subject.kind}_unknown", f"expected {what}, of the model ({expected}), found {subject.name!r}"
        )
    return {item: condition for item, condition in every.items() if not wanted or item in wanted}


def _counted(known: Known, rules: ArrivalRules, chosen: Mapping[Subject, pl.Expr]) -> pl.DataFrame:
    """The events of the cut, counted file by file, so that no more than one is in memory."""
    files = known.log.covering(1, known.cut.sequence)
    parts = [known.log.collected(file, counted(_events(known, file), rules, chosen)) for file in files]
    return pl.concat([pl.DataFrame(schema=ARRIVALS_SCHEMA), *parts])


def _events(known: Known, file: LogFile) -> pl.LazyFrame:
    """The events of a file that the cut includes, with every amount, null where the file has it not."""
    scan = known.log.scan(file)
    present = known.log.schema(file, scan).names()
    own = amounts(known.models)
    absent = [pl.lit(None, pl.Int64).alias(name) for name in own if name not in present]
    within = pl.col("effective_at") <= pl.lit(known.cut.effective_at, INSTANT)
    texts = pl.col("type", "model_version").cast(pl.String)
    events = scan.filter(pl.col("sequence") <= known.cut.sequence, within)
    return events.select(*_COLUMNS, *(name for name in own if name in present)).with_columns(texts, *absent)
