"""The books at a cut: balances, episodes, states, and the rows of `status`, `open` and `balance`, by plain loops.

Refuses to be fast: every figure is added up from the entries, each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property
from typing import Any

from clearwell.flows.model import EventType, Model
from clearwell.simulation.auditor.events import Account, Entry, Recorded, post
from clearwell.values.accounts import account_values
from clearwell.values.calendars import due_at
from clearwell.values.cuts import Cut
from clearwell.values.durations import Learned

Row = dict[str, Any]
"""A row of an answer, with the fields that docs/guides/questions.md lists for it."""


@dataclass
class Episode:
    """One excursion of an account from zero, with its entries in log order; cleared when its balance is back there."""

    account: Account
    entries: list[Entry]

    @property
    def first(self) -> Entry:
        """The entry that left zero."""
        return self.entries[0]

    @property
    def last(self) -> Entry:
        """The newest entry; of a cleared episode, the one that returned to zero."""
        return self.entries[-1]

    @property
    def balance(self) -> int:
        """Money in less money out, in minor units."""
        return sum(entry.amount for entry in self.entries)

    @property
    def turnover(self) -> int:
        """Money in, in minor units."""
        return sum(entry.amount for entry in self.entries if entry.amount > 0)

    @property
    def due_money(self) -> int:
        """The greater of money in and money out, in minor units (docs/decisions/0003-due-money.md)."""
        return max(self.turnover, -sum(entry.amount for entry in self.entries if entry.amount < 0))

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The least and the greatest `effective_at` of its entries."""
        times = [entry.effective_at for entry in self.entries]
        return min(times), max(times)


@dataclass(frozen=True)
class AcceptedWindow:
    """From `accepted_at` on, episodes of an account type whose window is to be learned may stay open for so long.

    Those of accounts whose `property_name` has a value in `by_value` may do so for as long as that says.
    """

    account_type: str
    seconds: int
    accepted_at: datetime
    property_name: str = ""
    by_value: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Books:
    """The events that a cut includes, in log order, and every figure that follows from them.

    `models` are those that came into force up to the cut, oldest first; the cut is judged by the last. `known` are all
    events up to the cut's sequence, also those that go on the books later. `learned` has, by account type, the window
    that was accepted last up to the cut.
    """

    cut: Cut
    models: tuple[Model, ...]
    time_zone: str
    events: tuple[Recorded, ...]
    known: tuple[Recorded, ...]
    learned: Mapping[str, AcceptedWindow] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model of the cut."""
        return self.models[-1]

    @cached_property
    def entries(self) -> list[Entry]:
        """All entries, in log order."""
        return [entry for recorded in self.events for entry in post(recorded)]

    @cached_property
    def balances(self) -> dict[Account, int]:
        """The balance of every account that ever had an entry."""
        result: dict[Account, int] = {}
        for entry in self.entries:
            result[entry.account] = result.get(entry.account, 0) + entry.amount
        return result

    @cached_property
    def entry_counts(self) -> dict[Account, int]:
        """How many entries every account had."""
        result: dict[Account, int] = {}
        for entry in self.entries:
            result[entry.account] = result.get(entry.account, 0) + 1
        return result

    @cached_property
    def episodes(self) -> list[Episode]:
        """The episodes of clearing accounts, open and cleared, in the order in which they opened."""
        running: dict[Account, Episode] = {}
        result = []
        for entry in self.entries:
            if not self.is_clearing(entry.account):
                continue
            if entry.account not in running:
                running[entry.account] = Episode(entry.account, [])
                result.append(running[entry.account])
            running[entry.account].entries.append(entry)
            if running[entry.account].balance == 0:
                del running[entry.account]
        return result

    def open_episodes(self) -> list[Episode]:
        """The episodes that have not cleared, in the order in which they opened."""
        return [item for item in self.episodes if item.balance]

    def cleared_episodes(self) -> list[Episode]:
        """The episodes that have cleared, in the order in which they opened."""
        return [item for item in self.episodes if not item.balance]

    def event_type(self, name: str) -> EventType:
        """The event type as the newest model up to the cut has it that has it at all."""
        return next(model.event_types[name] for model in reversed(self.models) if name in model.event_types)

    def team(self, flow: str) -> str:
        """The owner of a flow, as the newest model up to the cut has it that has the flow at all."""
        return next(item.owner for model in reversed(self.models) for item in model.flows if item.name == flow)

    def is_clearing(self, account: Account) -> bool:
        """Whether the account must return to zero."""
        return self.model.account_types[account[0]].kind == "clearing"

    def properties_of(self, account: Account) -> dict[str, str]:
        """The account's property values by name."""
        names = self.model.account_types[account[0]].properties
        return dict(zip(names, account_values(account[1], len(names)), strict=True))

    def due_at(self, episode: Episode) -> datetime | None:
        """When the episode's window runs out, by the model of the cut; None when it is to be learned and none was."""
        name, opened_at = episode.account[0], episode.first.effective_at
        window = self.model.account_types[name].clears_within
        if isinstance(window, Learned) and name in self.learned:
            learned = self.learned[name]
            value = self.properties_of(episode.account).get(learned.property_name, "")
            return opened_at + timedelta(seconds=learned.by_value.get(value, learned.seconds))
        return None if window is None else due_at(window, opened_at, self.time_zone)

    def is_due(self, episode: Episode) -> bool:
        """Whether the window has run out by the cut."""
        due = self.due_at(episode)
        return due is not None and due <= self.cut.effective_at

    def state(self, episode: Episode) -> str:
        """`overdue` or `in_flight`, of an open episode."""
        return "overdue" if self.is_due(episode) else "in_flight"

    def age_seconds(self, episode: Episode) -> int:
        """Whole seconds from the opening to the cut."""
        return (self.cut.effective_at - episode.first.effective_at) // timedelta(seconds=1)

    def status(self) -> list[Row]:
        """The rows of `status`: account types as declared, then currencies; None where there is no entry."""
        rows = []
        for declared in self.model.account_types.values():
            currencies = sorted({account[2] for account in self.balances if account[0] == declared.name})
            shown: list[str | None] = [*currencies] or [None]
            for currency in shown:
                row: Row = {
                    "flow": declared.flow,
                    "account_type": declared.name,
                    "owner": declared.owner,
                    "kind": declared.kind,
                    "currency": currency,
                }
                figures = self._reservoir if declared.kind == "reservoir" else self._clearing
                rows.append(row | figures(declared.name, currency))
        return rows

    def _reservoir(self, name: str, currency: str | None) -> Row:
        own = [money for account, money in self.balances.items() if (account[0], account[2]) == (name, currency)]
        return _figures(open_count=sum(money != 0 for money in own), open_money=sum(own))

    def _clearing(self, name: str, currency: str | None) -> Row:
        own = [item for item in self.episodes if (item.account[0], item.account[2]) == (name, currency)]
        still_open = [item for item in own if item.balance]
        overdue = [item for item in still_open if self.is_due(item)]
        due = overdue + [item for item in own if not item.balance and self.is_due(item)]
        in_flight = [item for item in still_open if not self.is_due(item)]
        return _figures(
            open_count=len(still_open),
            open_money=sum(abs(item.balance) for item in still_open),
            in_flight_money=sum(abs(item.balance) for item in in_flight),
            overdue_count=len(overdue),
            overdue_money=sum(abs(item.balance) for item in overdue),
            due_money=sum(item.due_money for item in due),
            due_count=len(due),
        )

    def open_accounts(self) -> list[Row]:
        """The rows of `open`, sorted by age: the oldest first, then in log order, then by name."""
        found = sorted(
            self.open_episodes(),
            key=lambda item: (item.first.effective_at, item.first.recorded.sequence, item.account),
        )
        return [
            {
                "account_type": item.account[0],
                "properties": self.properties_of(item.account),
                "currency": item.account[2],
                "balance": item.balance,
                "turnover": item.turnover,
                "opened_at": item.first.effective_at,
                "age_seconds": self.age_seconds(item),
                "state": self.state(item),
                "entry_count": len(item.entries),
            }
            for item in found
        ]

    def account_balances(self, account_type: str, properties: Mapping[str, str]) -> list[Row]:
        """The rows of `balance`, by account and currency: reservoirs with entries, clearing accounts that are open."""
        if self.model.account_types[account_type].kind == "clearing":
            counts = {item.account: len(item.entries) for item in self.open_episodes()}
        else:
            counts = self.entry_counts
        return [
            {
                "account_type": account_type,
                "properties": self.properties_of(account),
                "currency": account[2],
                "balance": self.balances[account],
                "entry_count": counts[account],
            }
            for account in sorted(counts)
            if account[0] == account_type and properties.items() <= self.properties_of(account).items()
        ]


_NOTHING = ("open_count", "open_money", "in_flight_money", "overdue_count", "overdue_money", "due_money", "due_count")


def _figures(**told: int) -> Row:
    """The figures of a row of `status`; what is not told is nothing."""
    row: Row = {**dict.fromkeys(_NOTHING, 0), **told}
    row["clearing"] = _share(row["overdue_money"], row["due_money"])
    row["clearing_by_count"] = _share(row["overdue_count"], row["due_count"])
    return row


def _share(overdue: int, due: int) -> float | None:
    return float(1 - Fraction(overdue, due)) if due else None
