"""The books by the slowest obvious way: plain loops over plain entries, to hold the product against.

Imports only `values` and `flows`, so that it shares no code, and no mistake, with what it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clearwell.flows.model import AccountReference, Model
from clearwell.values.accounts import account_key
from clearwell.values.calendars import due_at

Account = tuple[str, str, str]
"""Account type, account key, currency."""


@dataclass(frozen=True)
class Event:
    """An event as producers tell it; `amounts` holds (value, currency) by name."""

    type: str
    id: str
    effective_at: datetime
    properties: Mapping[str, str]
    amounts: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Entry:
    """One side of a move, at its place in the log."""

    account: Account
    amount: int
    sequence: int
    effective_at: datetime
    recorded_at: datetime


@dataclass
class Episode:
    """One excursion from zero; cleared when its balance is back there."""

    account: Account
    entries: list[Entry]

    @property
    def balance(self) -> int:
        return sum(entry.amount for entry in self.entries)

    @property
    def turnover(self) -> int:
        return sum(entry.amount for entry in self.entries if entry.amount > 0)

    @property
    def due_money(self) -> int:
        """The greater of money in and money out."""
        return max(self.turnover, -sum(entry.amount for entry in self.entries if entry.amount < 0))

    @property
    def figures(self) -> tuple[object, ...]:
        """What the product's tables say of an episode, in one tuple that can be compared."""
        first, last = self.entries[0], self.entries[-1]
        return (
            *self.account,
            self.balance,
            self.turnover,
            len(self.entries),
            first.effective_at,
            first.recorded_at,
            first.sequence,
            last.effective_at,
            last.recorded_at,
            last.sequence,
        )


def accepted(model: Model, events: Iterable[Event]) -> list[Event]:
    """The events that enter: the first of every identity, in order."""
    seen = set()
    result = []
    for event in events:
        identity = (model.event_types[event.type].producer, event.id)
        if identity not in seen:
            seen.add(identity)
            result.append(event)
    return result


def post(model: Model, events: Sequence[Event], recorded_at: Sequence[datetime]) -> list[Entry]:
    """The entries in log order; the sequence of an event is its place among `events`, from 1."""
    entries = []
    for number, event in enumerate(events):
        for move in model.event_types[event.type].moves:
            value, currency = event.amounts[move.amount]
            if value == 0:
                continue
            for reference, amount in ((move.source, -value), (move.destination, value)):
                account = (reference.account_type, key_of(reference, event.properties), currency)
                entries.append(Entry(account, amount, number + 1, event.effective_at, recorded_at[number]))
    return entries


def key_of(reference: AccountReference, properties: Mapping[str, str]) -> str:
    """The key of the account that one side of a move touches."""
    return account_key(
        [item.value if item.source == "constant" else properties[item.value] for item in reference.values]
    )


@dataclass(frozen=True)
class Books:
    """The entries that a cut includes, and what follows from them."""

    model: Model
    entries: tuple[Entry, ...]
    at: datetime
    time_zone: str

    def balances(self) -> dict[Account, int]:
        """The balance of every account with an entry."""
        result: dict[Account, int] = {}
        for entry in self.entries:
            result[entry.account] = result.get(entry.account, 0) + entry.amount
        return result

    def entry_counts(self) -> dict[Account, int]:
        result: dict[Account, int] = {}
        for entry in self.entries:
            result[entry.account] = result.get(entry.account, 0) + 1
        return result

    def episodes(self) -> list[Episode]:
        """The episodes of clearing accounts, open and cleared, in the order in which they opened."""
        running: dict[Account, Episode] = {}
        result = []
        for entry in self.entries:
            if self.model.account_types[entry.account[0]].kind != "clearing":
                continue
            if entry.account not in running:
                running[entry.account] = Episode(entry.account, [])
                result.append(running[entry.account])
            running[entry.account].entries.append(entry)
            if running[entry.account].balance == 0:
                del running[entry.account]
        return result

    def due_at(self, episode: Episode) -> datetime | None:
        window = self.model.account_types[episode.account[0]].clears_within
        assert window is not None
        return due_at(window, episode.entries[0].effective_at, self.time_zone)

    def is_due(self, episode: Episode) -> bool:
        due = self.due_at(episode)
        return due is not None and due <= self.at

    def status(self) -> list[dict[str, object]]:
        """The rows of the product's status: account types as declared, then currencies."""
        rows = []
        for account_type in self.model.account_types.values():
            currencies = sorted({item.account[2] for item in self.entries if item.account[0] == account_type.name})
            shown: list[str | None] = [*currencies] or [None]
            for currency in shown:
                row: dict[str, object] = {
                    "flow": account_type.flow,
                    "account_type": account_type.name,
                    "owner": account_type.owner,
                    "kind": account_type.kind,
                    "currency": currency,
                }
                figures = self._reservoir if account_type.kind == "reservoir" else self._clearing
                rows.append(row | figures(account_type.name, currency))
        return rows

    def _reservoir(self, name: str, currency: str | None) -> dict[str, object]:
        own = [money for account, money in self.balances().items() if (account[0], account[2]) == (name, currency)]
        return _row(open_count=sum(money != 0 for money in own), open_money=sum(own))

    def _clearing(self, name: str, currency: str | None) -> dict[str, object]:
        own = [item for item in self.episodes() if (item.account[0], item.account[2]) == (name, currency)]
        still_open = [item for item in own if item.balance]
        overdue = [item for item in still_open if self.is_due(item)]
        cleared = [item for item in own if not item.balance and self.is_due(item)]
        open_money = sum(abs(item.balance) for item in still_open)
        overdue_money = sum(abs(item.balance) for item in overdue)
        return _row(
            open_count=len(still_open),
            open_money=open_money,
            in_flight_money=open_money - overdue_money,
            overdue_count=len(overdue),
            overdue_money=overdue_money,
            due_money=sum(item.due_money for item in overdue + cleared),
            due_count=len(overdue + cleared),
        )


_NOTHING = ("open_count", "open_money", "in_flight_money", "overdue_count", "overdue_money", "due_money", "due_count")


def _row(**figures: int) -> dict[str, object]:
    row: dict[str, object] = {**dict.fromkeys(_NOTHING, 0), **figures}
    due_money, due_count = figures.get("due_money", 0), figures.get("due_count", 0)
    row["clearing"] = 1 - figures["overdue_money"] / due_money if due_money else None
    row["clearing_by_count"] = 1 - figures["overdue_count"] / due_count if due_count else None
    return row


def books_at(model: Model, entries: Sequence[Entry], at: datetime, sequence: int, time_zone: str = "UTC") -> Books:
    """The books up to `at` as known at `sequence`."""
    included = [item for item in entries if item.effective_at <= at and item.sequence <= sequence]
    return Books(model, tuple(included), at, time_zone)
