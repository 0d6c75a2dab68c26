"""The rules of personal properties: whose they are must be said in clear, and no account may be named by one.

Accounts outlive erasure. A name that is personal in one event type is so in all, for the log keeps it in one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clearwell.flows.declarations import EventDeclaration
from clearwell.flows.model import EventType, Flow, Model, Move
from clearwell.flows.problems import Problem, Reporter, quoted


@dataclass(frozen=True)
class PersonalUse:
    """An event type that carries a personal property, and the property that says whose it is (None: the value)."""

    event_type: str
    property: str
    subject: str | None


def personal_uses(model: Model) -> tuple[PersonalUse, ...]:
    """Return what the model says is personal, in the order of flows and declarations."""
    return tuple(
        PersonalUse(event.name, item.name, item.subject)
        for event in model.event_types.values()
        for item in event.personal
    )


def report_personal(event: EventDeclaration, moves: Iterable[Move], reporter: Reporter) -> None:
    """Report the personal properties of one event type whose subject is none, or that an account takes."""
    personal = {item.name for item in event.personal}
    in_clear = [name for name in event.properties or () if name not in personal]
    accounts = {
        value.value: side.account_type
        for move in moves
        for side in (move.source, move.destination)
        for value in side.values
        if value.source == "property"
    }
    for item in event.personal:
        subject = f"event {event.name}"
        if item.subject is not None and item.subject not in in_clear:
            expected = f"another property of this event, kept in clear, that says whose '{item.name}' it is"
            reporter.error(item.line, "personal_subject_invalid", subject, expected, quoted(item.subject, in_clear))
        if item.name in accounts:
            expected = "a personal property that names no account: use a pseudonymous id there"
            found = f"{quoted(item.name)} in account {accounts[item.name]}"
            reporter.error(item.line, "personal_property_in_account", subject, expected, found)


def report_clear_elsewhere(flows: Sequence[Flow], problems: list[Problem]) -> None:
    """Report the event types that carry in clear what another one says is personal."""
    events = [event for flow in flows for event in flow.events]
    first: dict[str, EventType] = {}
    for event in events:
        for item in event.personal:
            if item.name not in event.required_properties:  # That is reported already.
                first.setdefault(item.name, event)
    for event in events:
        personal = {item.name for item in event.personal}
        for name in event.properties:
            if name in first and name not in personal:
                other = first[name]
                expected = f"'{name}' to be personal here as in event {other.name} ({other.file}:{other.line})"
                Reporter(event.file, problems).error(
                    event.line, "personal_property_in_clear", f"event {event.name}", expected, "it in clear"
                )
