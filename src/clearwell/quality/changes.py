"""What changed since the period before: of each node of the tree, its score in points, and the money that is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_NAMES = ("node", "parent", "name", "currency")
_LOST = ("uncleared_money", "late_money", "missing_money")


def with_changes(nodes: Sequence[Row], before: Sequence[Row] | None) -> list[dict[str, Any]]:
    """The rows of a tree of scores, each beside what it was in the tree `before`; None where there is no such period.

    `score_change` is in points of a hundred, `lost_money_change` in minor units. A node that was not there before had
    lost nothing, and no score.
    """
    earlier = {_node(row): row for row in before or ()}
    return [dict(row) | _change(row, earlier.get(_node(row)), known=before is not None) for row in nodes]


def _change(row: Row, earlier: Row | None, *, known: bool) -> dict[str, Any]:
    score = earlier["score"] if earlier else None
    both = score is not None and row["score"] is not None
    return {
        "score_before": score,
        "score_change": 100 * (row["score"] - score) if both else None,
        "lost_money_change": _lost(row) - (_lost(earlier) if earlier else 0) if known else None,
    }


def _node(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _NAMES)


def _lost(row: Row) -> int:
    return sum(row[name] for name in _LOST)
