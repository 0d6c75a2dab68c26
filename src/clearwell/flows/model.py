"""The model: all flows of a project, resolved, as immutable values that everything else computes from.

Holds no rules beyond its own version; a model exists only when its flow files had no errors (see `load`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from clearwell.values.durations import ClearingWindow, FixedDuration

AccountKind = Literal["clearing", "reservoir"]


@dataclass(frozen=True)
class AccountType:
    """A state of a flow; `clears_within` is None for a reservoir and never for a clearing account type."""

    name: str
    flow: str
    owner: str
    kind: AccountKind
    properties: tuple[str, ...]
    clears_within: ClearingWindow | None
    file: str
    line: int


@dataclass(frozen=True)
class AmountRule:
    """An amount of an event type; a negative value is refused unless it is signed."""

    name: str
    signed: bool


@dataclass(frozen=True)
class PropertyValue:
    """Where an account property takes its value from: an event property's name, or the constant itself."""

    source: Literal["property", "constant"]
    value: str


@dataclass(frozen=True)
class AccountReference:
    """The account one side of a move touches: one value per property of the account type, in its order."""

    account_type: str
    values: tuple[PropertyValue, ...]


@dataclass(frozen=True)
class Move:
    """`amount` goes from `source` (entry -amount) to `destination` (entry +amount)."""

    amount: str
    source: AccountReference
    destination: AccountReference


@dataclass(frozen=True)
class PersonalProperty:
    """An event property that is kept encrypted; `subject` is the property that says whose it is, None itself."""

    name: str
    subject: str | None


@dataclass(frozen=True)
class EventType:
    """A transition of a flow.

    `required_properties` are those its moves need, in order of first use; `properties` adds those it carries
    beside them, of which `personal` are kept encrypted. `amounts` are in order of first use.
    """

    name: str
    flow: str
    producer: str
    arrives_within: FixedDuration | None
    properties: tuple[str, ...]
    required_properties: tuple[str, ...]
    amounts: tuple[AmountRule, ...]
    moves: tuple[Move, ...]
    personal: tuple[PersonalProperty, ...]
    description: str
    file: str
    line: int


@dataclass(frozen=True)
class Flow:
    """One flow file: its text, the hex SHA-256 of that text in UTF-8, and what it declares, in its order."""

    name: str
    owner: str
    description: str
    file: str
    text: str
    text_hash: str
    accounts: tuple[AccountType, ...]
    events: tuple[EventType, ...]


@dataclass(frozen=True)
class Model:
    """All flows of a project, sorted by name, under one version (see `model_version`)."""

    flows: tuple[Flow, ...]
    version: str

    @cached_property
    def account_types(self) -> Mapping[str, AccountType]:
        """Every account type by name, in the order of flows and declarations."""
        return MappingProxyType({account.name: account for flow in self.flows for account in flow.accounts})

    @cached_property
    def event_types(self) -> Mapping[str, EventType]:
        """Every event type by name, in the order of flows and declarations."""
        return MappingProxyType({event.name: event for flow in self.flows for event in flow.events})

    @cached_property
    def property_names(self) -> tuple[str, ...]:
        """The names of all event properties, sorted; each is a column `property_NAME` of the log."""
        return tuple(sorted({name for event in self.event_types.values() for name in event.properties}))

    @cached_property
    def personal_names(self) -> tuple[str, ...]:
        """The names of the personal properties, sorted; a name is personal in every event type that carries it."""
        return tuple(sorted({item.name for item in self.personal_properties}))

    @property
    def personal_properties(self) -> tuple[PersonalProperty, ...]:
        """Those of every event type, in the order of flows and declarations."""
        return tuple(item for event in self.event_types.values() for item in event.personal)

    @cached_property
    def amount_names(self) -> tuple[str, ...]:
        """The names of all amounts, sorted; each is `amount_NAME` and `currency_NAME` in the log."""
        return tuple(sorted({amount.name for event in self.event_types.values() for amount in event.amounts}))

    def flow(self, name: str) -> Flow:
        """Return the flow of this name. Raises KeyError."""
        for flow in self.flows:
            if flow.name == name:
                return flow
        raise KeyError(name)


def text_hash(text: str) -> str:
    """Return the hex SHA-256 of a flow file's text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def model_version(hashes: Iterable[tuple[str, str]]) -> str:
    """Return the version of the model with these (flow name, text hash) pairs.

    The canonical form is one line `NAME HASH` per flow, sorted by name, each ended by a line feed, in UTF-8;
    the version is its hex SHA-256. File names and the order of files do not count.
    """
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()
