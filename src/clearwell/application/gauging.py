"""Figures about a project that a monitor asks for every few seconds: each is cheap."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clearwell.application.cutting import CutRequest
from clearwell.application.questions import status
from clearwell.application.workspace import Workspace
from clearwell.catalog import quarantine, scores
from clearwell.quality.score import share_of
from clearwell.values import periods


@dataclass(frozen=True)
class NodeScore:
    """The score of a node (a company, team, flow or account type) in a currency."""

    kind: str
    name: str
    currency: str
    score: float


@dataclass(frozen=True)
class Gauges:
    """`account_types` are rows of `questions.status`, `scores` those of the last day that was evaluated when over."""

    segment_count: int
    file_count: int
    last_sequence: int
    free_bytes: int
    waiting_by_code: dict[str, int]
    account_types: list[dict[str, Any]] = field(default_factory=list)
    scores: list[NodeScore] = field(default_factory=list)


def gauges(workspace: Workspace) -> Gauges:
    """The figures as they are now. Raises as the questions do that they are answers to."""
    log = workspace.log()
    with workspace.catalog.read() as connection:
        waiting = quarantine.waiting_counts(connection)
    return Gauges(
        segment_count=len(log.segments),
        file_count=len(log.files),
        last_sequence=log.last_sequence,
        free_bytes=shutil.disk_usage(workspace.log_folder).free,
        waiting_by_code=waiting,
        account_types=status(workspace, CutRequest()).account_types if log.segments else [],
        scores=_scores(workspace),
    )


def _scores(workspace: Workspace) -> list[NodeScore]:
    with workspace.catalog.read() as connection:
        for number, evaluation in scores.newest_first(connection, "day"):
            if _is_over(evaluation.period, evaluation.effective_at, workspace.settings.time_zone):
                nodes = scores.nodes_of(connection, number)
                return [item for node in nodes if (item := _score(node)) is not None]
    return []


def _is_over(period: str, effective_at: str, time_zone: str) -> bool:
    """Whether a period had ended at the cut of its evaluation."""
    end_us = periods.parse_named(period, time_zone).end_us
    return end_us is not None and periods.instant(end_us) <= datetime.fromisoformat(effective_at)


def _score(node: dict[str, Any]) -> NodeScore | None:
    lost = node["uncleared_money"] + node["late_money"] + node["missing_money"]
    share = share_of(lost, node["total_money"])
    if share is None:
        return None
    return NodeScore(node["node"], node["name"], node["currency"], float(share))
