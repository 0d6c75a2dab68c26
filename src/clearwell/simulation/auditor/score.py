"""The score of company, teams, flows and account types, the findings that lower it, and what of them is explained.

A finding is a sum of money that is not as it should be. The score of a node is one minus the money of its findings by
the money that it moved, so that every finding has its price and every node is the sum of what is below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from clearwell.simulation.auditor.books import Books, Row
from clearwell.simulation.auditor.clearing import clearing_rows, episodes_of, is_overdue
from clearwell.simulation.auditor.completeness import Completeness
from clearwell.simulation.auditor.periods import ALL_TIME, Period
from clearwell.simulation.auditor.timeliness import arrivals, is_late
from clearwell.values.accounts import account_name

COMPANY = "company"
"""The name of the node above all teams."""

_NO_ACCOUNT_TYPE = ""


@dataclass(frozen=True)
class Finding:
    """Money that is uncleared, late or missing, of the flow that owns the account or the event type.

    `subject` is what a cause is named for: the account as it is printed, or PRODUCER/ID of the event. `account_type` is
    empty but for uncleared money.
    """

    rule: Literal["uncleared", "late", "missing"]
    subject: str
    flow: str
    account_type: str
    currency: str
    money: int
    estimated: bool = False


def findings(books: Books, period: Period = ALL_TIME, completeness: Iterable[Completeness] = ()) -> list[Finding]:
    """All that lowers a score in the period: overdue accounts, late events, and records without an event.

    A missing record without a currency, of which nothing at all is known, is no money and no finding.
    """
    return [*_uncleared(books, period), *_late(books, period), *(_missing(books, completeness))]


def _uncleared(books: Books, period: Period) -> list[Finding]:
    found = []
    for item in episodes_of(books, period):
        if is_overdue(books, item):
            name, _, currency = item.account
            subject = account_name(name, books.properties_of(item.account))
            flow = books.model.account_types[name].flow
            found.append(Finding("uncleared", subject, flow, name, currency, abs(item.balance)))
    return found


def _late(books: Books, period: Period) -> list[Finding]:
    found = []
    for item in arrivals(books, period):
        if is_late(item.recorded):
            event = item.recorded.event
            subject = f"{item.recorded.event_type.producer}/{event.id}"
            flow = books.event_type(event.type).flow
            found.append(Finding("late", subject, flow, _NO_ACCOUNT_TYPE, item.currency, item.money))
    return found


def _missing(books: Books, completeness: Iterable[Completeness]) -> list[Finding]:
    found = []
    for held in completeness:
        declared = books.event_type(held.event_type)
        for item in held.claims:
            if item.is_missing and item.currency is not None:
                subject, money = f"{declared.producer}/{item.id}", item.expected or 0
                own = (declared.flow, _NO_ACCOUNT_TYPE, item.currency, money)
                found.append(Finding("missing", subject, *own, estimated=item.estimated))
    return found


@dataclass
class _Sums:
    """The four sums of a node in one currency, and of the findings in it the money whose cause is named."""

    total: int = 0
    uncleared: int = 0
    late: int = 0
    missing: int = 0
    estimated: bool = False
    attributed: int = 0

    @property
    def lost(self) -> int:
        return self.uncleared + self.late + self.missing

    def add(self, other: _Sums) -> None:
        self.total += other.total
        self.uncleared += other.uncleared
        self.late += other.late
        self.missing += other.missing
        self.estimated |= other.estimated
        self.attributed += other.attributed


_Node = tuple[str, str, str, str]
"""The kind of a node, its name, the name of the node above (empty above the company), and the currency."""


def node_rows(books: Books, period: Period = ALL_TIME, completeness: Sequence[Completeness] = ()) -> list[Row]:
    """The rows of the score: company, teams, flows and clearing account types, each by currency.

    The total of an account type is what was due, and its score its clearing; of a flow it is the money that its events
    moved, and what is missing of them. `completeness` is what was found of producers' own records in the same period.
    """
    sums = _tree(books, period, findings(books, period, completeness), {})
    return [_told(node) | _score(own) for node, own in sums.items()]


def explained_rows(
    books: Books,
    causes: Mapping[str, str],
    period: Period = ALL_TIME,
    completeness: Sequence[Completeness] = (),
) -> list[Row]:
    """For each node the share of its money that is explained: `causes` has for subjects of findings a cause's name.

    All money of the total that no finding is about is healthy or in flight, and needs no cause. So the explained share
    is one minus the money of the findings whose subject has no cause, by the total of the node; as a score, it is zero
    where that would be below it, and null where nothing moved and nothing is lost.
    """
    sums = _tree(books, period, findings(books, period, completeness), causes)
    return [
        _told(node)
        | {
            "total_money": own.total,
            "lost_money": own.lost,
            "attributed_money": own.attributed,
            "explained": _left(own.lost - own.attributed, own.total),
        }
        for node, own in sums.items()
    ]


def _tree(books: Books, period: Period, found: Sequence[Finding], causes: Mapping[str, str]) -> dict[_Node, _Sums]:
    """The sums of every node, from the company down, sorted by name and currency within a kind."""
    flows: dict[tuple[str, str], _Sums] = {}
    account_types: dict[tuple[str, str, str], _Sums] = {}
    for row in clearing_rows(books, period):
        account_types[row["flow"], row["account_type"], row["currency"]] = _Sums(total=row["due_money"])
        flows.setdefault((row["flow"], row["currency"]), _Sums())
    for item in arrivals(books, period):
        key = (books.event_type(item.recorded.event.type).flow, item.currency)
        flows.setdefault(key, _Sums()).total += item.money
    for finding in found:
        lost = _sums_of(finding, causes)
        flows.setdefault((finding.flow, finding.currency), _Sums()).add(lost)
        if finding.rule == "uncleared":
            account_types[finding.flow, finding.account_type, finding.currency].add(lost)
    tree: dict[_Node, _Sums] = {}
    for (flow, currency), own in flows.items():
        team = books.team(flow)
        for node in ((COMPANY, COMPANY, ""), ("team", team, COMPANY), ("flow", flow, team)):
            tree.setdefault((*node, currency), _Sums()).add(own)
    for (flow, name, currency), own in account_types.items():
        tree["account_type", name, flow, currency] = own
    return {node: tree[node] for node in sorted(tree, key=_place)}


def _sums_of(finding: Finding, causes: Mapping[str, str]) -> _Sums:
    attributed = finding.money if finding.subject in causes else 0
    if finding.rule == "uncleared":
        return _Sums(uncleared=finding.money, attributed=attributed)
    if finding.rule == "late":
        return _Sums(late=finding.money, attributed=attributed)
    missing = finding.money
    return _Sums(total=missing, missing=missing, estimated=finding.estimated, attributed=attributed)


_KINDS = (COMPANY, "team", "flow", "account_type")


def _place(node: _Node) -> tuple[int, str, str]:
    return _KINDS.index(node[0]), node[1], node[3]


def _told(node: _Node) -> Row:
    return {"node": node[0], "name": node[1], "parent": node[2], "currency": node[3]}


def _score(own: _Sums) -> Row:
    return {
        "total_money": own.total,
        "uncleared_money": own.uncleared,
        "late_money": own.late,
        "missing_money": own.missing,
        "missing_estimated": own.estimated,
        "score": _left(own.lost, own.total),
    }


def _left(lost: int, total: int) -> Fraction | None:
    """The share that is left of the total, at least zero; None where nothing moved and nothing is lost."""
    if lost >= total:
        return Fraction(0) if lost else None
    return 1 - Fraction(lost, total)
