"""Resolves the accounts and properties that moves name, across all flow files, into finished flows.

Reports what does not resolve and what two flows declare both; the first declaration, by file name, is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clearwell.flows.declarations import Endpoint, EventDeclaration, FlowDeclaration, MoveDeclaration
from clearwell.flows.model import (
    AccountReference,
    AccountType,
    AmountRule,
    EventType,
    Flow,
    Move,
    PersonalProperty,
    PropertyValue,
    text_hash,
)
from clearwell.flows.personal import report_clear_elsewhere, report_personal
from clearwell.flows.problems import Problem, Reporter, quoted


def resolve_flows(declared: Sequence[FlowDeclaration], problems: list[Problem]) -> tuple[Flow, ...]:
    """Return the flows sorted by name; what does not resolve is left out and reported in `problems`."""
    _report_repeated(declared, problems)
    account_types: dict[str, AccountType] = {}
    for flow in declared:
        for account in flow.accounts:
            account_types.setdefault(account.name, account)
    flows = [
        Flow(
            name=flow.name,
            owner=flow.owner,
            description=flow.description,
            file=flow.file,
            text=flow.text,
            text_hash=text_hash(flow.text),
            accounts=flow.accounts,
            events=tuple(
                _resolve_event(event, flow.name, account_types, Reporter(flow.file, problems)) for event in flow.events
            ),
        )
        for flow in declared
    ]
    report_clear_elsewhere(flows, problems)
    return tuple(sorted(flows, key=lambda flow: flow.name))


def _report_repeated(declared: Sequence[FlowDeclaration], problems: list[Problem]) -> None:
    """Report flows, account types and event types that were declared before, in file order."""
    first: dict[str, tuple[str, int]] = {}

    def report(file: str, line: int, code: str, subject: str) -> None:
        if subject in first:
            file_before, line_before = first[subject]
            found = f"another one at {file_before}:{line_before}"
            Reporter(file, problems).error(line, code, subject, "one declaration among all flows", found)
        else:
            first[subject] = (file, line)

    for flow in declared:
        if flow.name:
            report(flow.file, flow.line, "flow_declared_twice", f"flow {flow.name}")
        for account in flow.accounts:
            report(flow.file, account.line, "account_owned_twice", f"account {account.name}")
        for event in flow.events:
            report(flow.file, event.line, "event_declared_twice", f"event {event.name}")


def _resolve_event(
    event: EventDeclaration, flow: str, account_types: Mapping[str, AccountType], reporter: Reporter
) -> EventType:
    moves = []
    for declared in event.moves:
        move = _resolve_move(declared, event, account_types, reporter)
        if move is not None:
            moves.append(move)
    required = _in_order(_event_properties(moves))
    amounts = _in_order(declared.amount for declared in event.moves)
    for name, (line, _) in event.signed.items():
        if name not in amounts:
            expected = "an amount that one of its moves moves"
            reporter.error(line, "amount_moved_nowhere", f"event {event.name}", expected, quoted(name, amounts))
    report_personal(event, moves, reporter)
    return EventType(
        name=event.name,
        flow=flow,
        producer=event.producer,
        arrives_within=event.arrives_within,
        properties=required if event.properties is None else event.properties,
        required_properties=required,
        amounts=tuple(AmountRule(name, event.signed.get(name, (0, False))[1]) for name in amounts),
        moves=tuple(moves),
        personal=tuple(PersonalProperty(item.name, item.subject) for item in event.personal),
        description=event.description,
        file=reporter.file,
        line=event.line,
    )


def _resolve_move(
    move: MoveDeclaration,
    event: EventDeclaration,
    account_types: Mapping[str, AccountType],
    reporter: Reporter,
) -> Move | None:
    subject = f"event {event.name}"
    source = _resolve_endpoint(move.source, subject, account_types, reporter)
    destination = _resolve_endpoint(move.destination, subject, account_types, reporter)
    if source is None or destination is None:
        return None
    resolved = Move(move.amount, source, destination)
    if source == destination:
        expected = "a move between two different accounts"
        reporter.error(move.line, "move_to_itself", subject, expected, f"{quoted(source.account_type)} on both sides")
    for name in _in_order(_event_properties([resolved])):
        if event.properties is not None and name not in event.properties:
            expected = f"the property '{name}', which the accounts of this move need, in its list of properties"
            reporter.error(move.line, "property_unsupplied", subject, expected, f"only {_listed(event.properties)}")
    return resolved


def _resolve_endpoint(
    endpoint: Endpoint, subject: str, account_types: Mapping[str, AccountType], reporter: Reporter
) -> AccountReference | None:
    account = account_types.get(endpoint.account_type)
    if account is None:
        found = quoted(endpoint.account_type, account_types)
        reporter.error(endpoint.line, "account_unknown", subject, "an account declared in some flow", found)
        return None
    for name, (line, _) in endpoint.mapped.items():
        if name not in account.properties:
            expected = f"a property of account {account.name} ({_listed(account.properties)})"
            reporter.error(line, "property_unknown", subject, expected, quoted(name, account.properties))
    values = [
        endpoint.mapped[name][1] if name in endpoint.mapped else PropertyValue("property", name)
        for name in account.properties
    ]
    return AccountReference(account.name, tuple(values))


def _event_properties(moves: Iterable[Move]) -> Iterable[str]:
    for move in moves:
        for value in move.source.values + move.destination.values:
            if value.source == "property":
                yield value.value


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
