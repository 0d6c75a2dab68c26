"""What changed between two models, as values with a sentence each.

Purely structural: comments and descriptions are no change. What a change means for events that are posted
already is asked of the log elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from clearwell.flows.model import AccountReference, AccountType, EventType, Flow, Model, Move

SubjectKind = Literal["flow", "account_type", "event_type"]
Declared = TypeVar("Declared", Flow, AccountType, EventType)

CHANGE_CODES = (
    "added",
    "removed",
    "flow_changed",
    "owner_changed",
    "kind_changed",
    "properties_changed",
    "personal_changed",
    "window_changed",
    "producer_changed",
    "deadline_changed",
    "moves_changed",
    "required_properties_added",
    "required_properties_removed",
    "amounts_added",
    "amounts_removed",
    "amounts_changed",
)
"""Every value of `Change.what`; `amounts_changed` means that an amount became signed or unsigned."""


@dataclass(frozen=True)
class Change:
    """One difference: what it is about, a code of `CHANGE_CODES`, and the sentence for people."""

    subject_kind: SubjectKind
    subject: str
    what: str
    text: str

    def __post_init__(self) -> None:
        if self.what not in CHANGE_CODES:
            raise AssertionError(f"change code {self.what!r} is not in CHANGE_CODES")


def compare_models(old: Model, new: Model) -> tuple[Change, ...]:
    """Return the changes: those of flows, then account types, then event types, each sorted by name."""
    old_flows = {flow.name: flow for flow in old.flows}
    new_flows = {flow.name: flow for flow in new.flows}
    return (
        *_compare("flow", old_flows, new_flows, _flow_changes),
        *_compare("account_type", old.account_types, new.account_types, _account_changes),
        *_compare("event_type", old.event_types, new.event_types, _event_changes),
    )


def _compare(
    kind: SubjectKind,
    old: Mapping[str, Declared],
    new: Mapping[str, Declared],
    changes: Callable[[Declared, Declared], Iterator[tuple[str, str]]],
) -> Iterator[Change]:
    words = kind.replace("_", " ").capitalize()
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Change(kind, name, "removed", f"{words} {name} was removed.")
        elif name not in old:
            yield Change(kind, name, "added", f"{words} {name} was added.")
        else:
            for what, text in changes(old[name], new[name]):
                yield Change(kind, name, what, f"{words} {name}: {text}.")


def _flow_changes(old: Flow, new: Flow) -> Iterator[tuple[str, str]]:
    yield from _changed("owner_changed", "the owner", old.owner, new.owner)


def _account_changes(old: AccountType, new: AccountType) -> Iterator[tuple[str, str]]:
    yield from _changed("flow_changed", "the owning flow", old.flow, new.flow)
    yield from _changed("owner_changed", "the owner", old.owner, new.owner)
    yield from _changed("kind_changed", "the kind", old.kind, new.kind)
    yield from _changed(
        "properties_changed", "the list of properties", _listed(old.properties), _listed(new.properties)
    )
    yield from _changed(
        "window_changed", "the clearing window", _written(old.clears_within), _written(new.clears_within)
    )


def _event_changes(old: EventType, new: EventType) -> Iterator[tuple[str, str]]:
    yield from _changed("flow_changed", "the flow", old.flow, new.flow)
    yield from _changed("producer_changed", "the producer", old.producer, new.producer)
    yield from _changed("deadline_changed", "the deadline", _written(old.arrives_within), _written(new.arrives_within))
    yield from _moves_changes(old.moves, new.moves)
    yield from _list_changes("required_properties", "needs", old.required_properties, new.required_properties)
    extra_old, extra_new = sorted(_extra_properties(old)), sorted(_extra_properties(new))
    yield from _changed("properties_changed", "the further properties", _listed(extra_old), _listed(extra_new))
    yield from _changed("personal_changed", "what is personal", _personal_text(old), _personal_text(new))
    old_signed = {amount.name: amount.signed for amount in old.amounts}
    new_signed = {amount.name: amount.signed for amount in new.amounts}
    yield from _list_changes("amounts", "carries", tuple(old_signed), tuple(new_signed))
    for name, signed in new_signed.items():
        if name in old_signed and old_signed[name] != signed:
            yield "amounts_changed", f"the amount {name} {'may' if signed else 'may not'} be negative now"


def _moves_changes(old: Sequence[Move], new: Sequence[Move]) -> Iterator[tuple[str, str]]:
    """Yield one change when the moves differ; their order does not count: an event posts all of them."""
    old_texts, new_texts = sorted(map(_move_text, old)), sorted(map(_move_text, new))
    yield from _changed("moves_changed", "the moves", "; ".join(old_texts), "; ".join(new_texts))


def _list_changes(what: str, verb: str, old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str]]:
    noun = what.replace("_", " ")
    added = [name for name in new if name not in old]
    removed = [name for name in old if name not in new]
    if added:
        yield f"{what}_added", f"it {verb} the {noun} {_listed(added)} now"
    if removed:
        yield f"{what}_removed", f"it {verb} the {noun} {_listed(removed)} no longer"


def _changed(what: str, subject: str, old: str, new: str) -> Iterator[tuple[str, str]]:
    if old != new:
        yield what, f"{subject} changed from {old} to {new}"


def _extra_properties(event: EventType) -> set[str]:
    return set(event.properties) - set(event.required_properties)


def _personal_text(event: EventType) -> str:
    return _listed(sorted(f"{item.name} (of {item.subject or 'itself'})" for item in event.personal))


def _move_text(move: Move) -> str:
    return f"{move.amount} from {_reference_text(move.source)} to {_reference_text(move.destination)}"


def _reference_text(reference: AccountReference) -> str:
    values = (value.value if value.source == "property" else repr(value.value) for value in reference.values)
    return f"{reference.account_type}({', '.join(values)})"


def _written(duration: object) -> str:
    return "none" if duration is None else str(duration)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
