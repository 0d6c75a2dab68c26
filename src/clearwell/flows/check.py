"""What can be proved about a model without data: every clearing account type can be filled and drained.

Also states, for each of them, the equation under which it clears.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clearwell.flows.model import AccountType, EventType, Flow, Model, Move
from clearwell.flows.problems import Problem


@dataclass(frozen=True)
class Term:
    """An amount that an event type moves into or out of a clearing account type."""

    event_type: str
    amount: str
    producer: str

    def __str__(self) -> str:
        return f"{self.event_type}.{self.amount}"


@dataclass(frozen=True)
class Equation:
    """Who fills a clearing account type and who drains it; it clears when both sides are equal."""

    account_type: str
    flow: str
    owner: str
    clears_within: str
    filled_by: tuple[Term, ...]
    drained_by: tuple[Term, ...]

    @property
    def text(self) -> str:
        """The equation, e.g. `charge.creation.gross = charge.release.net + charge.release.fee`."""
        return f"{_sum(self.filled_by)} = {_sum(self.drained_by)}"


def check_model(flows: Sequence[Flow]) -> list[Problem]:
    """Return the problems of resolved flows: accounts never filled, drained or used."""
    moves = list(_moves(flows))
    signed = {
        (event.name, amount.name)
        for flow in flows
        for event in flow.events
        for amount in event.amounts
        if amount.signed
    }
    filled: set[str] = set()
    drained: set[str] = set()
    for event, move in moves:
        filled.add(move.destination.account_type)
        drained.add(move.source.account_type)
        if (event.name, move.amount) in signed:
            # A negative value moves the other way, so a signed amount fills and drains both its accounts.
            filled.add(move.source.account_type)
            drained.add(move.destination.account_type)
    problems: list[Problem] = []
    for account in (account for flow in flows for account in flow.accounts):
        problems.extend(_check_account(account, account.name in filled, account.name in drained))
    return problems


def clearing_equations(model: Model) -> tuple[Equation, ...]:
    """Return the equation of every clearing account type, in the order of flows and declarations.

    A term appears once per move. A signed amount stands on the side its positive values take.
    """
    moves = list(_moves(model.flows))
    return tuple(
        Equation(
            account_type=account.name,
            flow=account.flow,
            owner=account.owner,
            clears_within=str(account.clears_within),
            filled_by=tuple(
                _term(event, move) for event, move in moves if move.destination.account_type == account.name
            ),
            drained_by=tuple(_term(event, move) for event, move in moves if move.source.account_type == account.name),
        )
        for account in model.account_types.values()
        if account.kind == "clearing"
    )


def _check_account(account: AccountType, filled: bool, drained: bool) -> Iterator[Problem]:
    subject, place = f"account {account.name}", (account.file, account.line)
    if account.kind == "reservoir":
        if not filled and not drained:
            expected = "a move of some flow from or to it"
            yield Problem(*place, "account_unused", subject, expected, "none", "warning")
        return
    if not filled:
        expected = "a move of some flow to it, since it must be filled before it can clear"
        yield Problem(*place, "clearing_account_never_filled", subject, expected, "none")
    if not drained:
        expected = "a move of some flow from it, since money could never leave it"
        yield Problem(*place, "clearing_account_never_drained", subject, expected, "none")


def _moves(flows: Sequence[Flow]) -> Iterator[tuple[EventType, Move]]:
    for flow in flows:
        for event in flow.events:
            for move in event.moves:
                yield event, move


def _term(event: EventType, move: Move) -> Term:
    return Term(event.name, move.amount, event.producer)


def _sum(terms: Sequence[Term]) -> str:
    return " + ".join(str(term) for term in terms) or "0"
