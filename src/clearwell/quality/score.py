"""The score: one minus the money that is uncleared, late or missing, of all money; exact at every node.

The four sums are added up the tree company → team → flow → account type, per currency, and so is the part of what is
lost whose cause somebody has named. Plain integers; no engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from clearwell.quality.rows import Subjects

NodeKind = Literal["company", "team", "flow", "account_type"]
COMPANY = "company"
"""The name of the node at the root."""

_SUMS = ("total_money", "uncleared_money", "late_money", "missing_money")
_ALL_SUMS = (*_SUMS, "attributed_money")


@dataclass
class Sums:
    """Money in minor units of one currency. `total_money` includes what is missing, `attributed_money` is lost too."""

    total_money: int = 0
    uncleared_money: int = 0
    late_money: int = 0
    missing_money: int = 0
    missing_estimated: bool = False
    attributed_money: int = 0

    @property
    def lost_money(self) -> int:
        """What is uncleared, late or missing."""
        return self.uncleared_money + self.late_money + self.missing_money

    @property
    def score(self) -> Fraction | None:
        """`1 - lost / total`, at least 0; None where no money moved and none is lost."""
        return share_of(self.lost_money, self.total_money)

    @property
    def explained(self) -> Fraction | None:
        """The share that is healthy, in flight, or of a named cause: as `score`, where that of named causes counts."""
        return share_of(self.lost_money - self.attributed_money, self.total_money)

    def add(self, other: Sums) -> None:
        """Take the other's money in."""
        for name in _ALL_SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.missing_estimated |= other.missing_estimated


def share_of(lost: int, total: int) -> Fraction | None:
    """`1 - lost / total`, at least 0. Where something is lost of nothing, 0."""
    if total <= 0:
        return Fraction(0) if lost else None
    return max(Fraction(0), 1 - Fraction(lost, total))


@dataclass(frozen=True)
class Measured:
    """What the metrics found for one period; rows have the fields that their metric documents.

    `moved` are rows of timeliness by event type and currency, `cleared` rows of clearing by account type and currency,
    `missing` rows with `event_type`, `currency`, `money` and `estimated`. `attributed` are rows with `event_type` or
    `account_type`, `currency` and `attributed_money`, which is in the others, too; None where it is not asked.
    """

    moved: Iterable[Mapping[str, Any]]
    cleared: Iterable[Mapping[str, Any]]
    missing: Iterable[Mapping[str, Any]] = field(default_factory=tuple)
    attributed: Iterable[Mapping[str, Any]] | None = None


def tree(subjects: Subjects, measured: Measured) -> list[dict[str, Any]]:
    """A row per node and currency, parents before children, each with its sums and its score.

    Where it is asked what is attributed, each says that, too, and what is explained.
    """
    flows: dict[tuple[str, str, str], Sums] = defaultdict(Sums)
    leaves: dict[tuple[str, str, str, str], Sums] = defaultdict(Sums)
    for row in measured.moved:
        flow = subjects.events[row["event_type"]]
        flows[subjects.flows[flow], flow, row["currency"]].add(Sums(row["money"], 0, row["late_money"]))
    for row in measured.missing:
        flow = subjects.events[row["event_type"]]
        lost = Sums(row["money"], 0, 0, row["money"], bool(row["estimated"]))
        flows[subjects.flows[flow], flow, row["currency"]].add(lost)
    for row in measured.cleared:
        flow, _owner = subjects.accounts[row["account_type"]]
        team = subjects.flows[flow]
        flows[team, flow, row["currency"]].add(Sums(uncleared_money=row["overdue_money"]))
        own = Sums(row["due_money"], row["overdue_money"])
        leaves[team, flow, row["account_type"], row["currency"]].add(own)
    for row in measured.attributed or ():
        explained = Sums(attributed_money=row["attributed_money"])
        if "account_type" in row:
            flow, _owner = subjects.accounts[row["account_type"]]
            leaves[subjects.flows[flow], flow, row["account_type"], row["currency"]].add(explained)
        else:
            flow = subjects.events[row["event_type"]]
        flows[subjects.flows[flow], flow, row["currency"]].add(explained)
    rows = _rows(flows, leaves)
    return list(rows) if measured.attributed is not None else [_scored(row) for row in rows]


def _rows(
    flows: Mapping[tuple[str, str, str], Sums], leaves: Mapping[tuple[str, str, str, str], Sums]
) -> Iterator[dict[str, Any]]:
    company: dict[str, Sums] = defaultdict(Sums)
    teams: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for (team, _flow, currency), sums in flows.items():
        teams[team, currency].add(sums)
        company[currency].add(sums)
    yield from (_row("company", COMPANY, "", currency, sums) for currency, sums in sorted(company.items()))
    for team in sorted({team for team, _currency in teams}):
        yield from (_row("team", team, COMPANY, key[1], teams[key]) for key in sorted(teams) if key[0] == team)
        for flow in sorted({key[1] for key in flows if key[0] == team}):
            own = [key for key in sorted(flows) if key[:2] == (team, flow)]
            yield from (_row("flow", flow, team, key[2], flows[key]) for key in own)
            below = [key for key in sorted(leaves) if key[:2] == (team, flow)]
            yield from (_row("account_type", key[2], flow, key[3], leaves[key]) for key in below)


def _row(node: NodeKind, name: str, parent: str, currency: str, sums: Sums) -> dict[str, Any]:
    return {
        "node": node,
        "name": name,
        "parent": parent,
        "currency": currency,
        **{item: getattr(sums, item) for item in _SUMS},
        "missing_estimated": sums.missing_estimated,
        "score": _as_float(sums.score),
        "attributed_money": sums.attributed_money,
        "explained": _as_float(sums.explained),
    }


def _scored(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what is explained."""
    return {name: value for name, value in row.items() if name not in ("attributed_money", "explained")}


def _as_float(share: Fraction | None) -> float | None:
    return None if share is None else float(share)
