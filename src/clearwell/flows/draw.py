"""Draws one flow as a Mermaid flowchart: accounts as nodes, moves as labelled edges.

Clearing accounts are rounded (pipes), reservoirs are cylinders, and accounts of other flows are dashed.
"""

from __future__ import annotations

from clearwell.errors import UsageError
from clearwell.flows.model import AccountType, Flow, Model


def draw_flow(model: Model, flow_name: str) -> str:
    """Return the Mermaid text of a flow: its own accounts, its events' moves, and what these touch elsewhere.

    Edges between the same two accounts are joined into one. Raises UsageError (`flow_unknown`).
    """
    flow = next((flow for flow in model.flows if flow.name == flow_name), None)
    if flow is None:
        known = ", ".join(flow.name for flow in model.flows)
        raise UsageError("flow_unknown", f"expected one of the flows {known}, found {flow_name!r}")
    edges = _edges(flow)
    touched = {name: None for edge in edges for name in edge}
    own = {account.name: account for account in flow.accounts}
    others = {name: model.account_types[name] for name in touched if name not in own}
    lines = ["flowchart LR"]
    lines += [f"    {_node(account, flow)}" for account in (*own.values(), *others.values())]
    for (source, destination), labels in edges.items():
        lines.append(f'    {_identifier(source)} -->|"{"<br/>".join(labels)}"| {_identifier(destination)}')
    if others:
        lines.append("    classDef otherFlow stroke-dasharray: 5 5")
        lines.append(f"    class {','.join(_identifier(name) for name in others)} otherFlow")
    return "\n".join(lines) + "\n"


def _edges(flow: Flow) -> dict[tuple[str, str], list[str]]:
    """Return the labels of the edges by (source, destination) account type, in order of first use."""
    edges: dict[tuple[str, str], list[str]] = {}
    for event in flow.events:
        for move in event.moves:
            labels = edges.setdefault((move.source.account_type, move.destination.account_type), [])
            label = _escaped(f"{event.name}: {move.amount}")
            if label not in labels:
                labels.append(label)
    return edges


def _node(account: AccountType, flow: Flow) -> str:
    parts = [account.name]
    if account.properties:
        parts.append(", ".join(account.properties))
    if account.flow != flow.name:
        parts.append(f"of {account.flow}")
    label = "<br/>".join(_escaped(part) for part in parts)
    shape = f'(["{label}"])' if account.kind == "clearing" else f'[("{label}")]'
    return f"{_identifier(account.name)}{shape}"


def _identifier(account_type: str) -> str:
    # Mermaid has reserved words such as `end` and `class`, which are good names of accounts.
    return f"account_{account_type}"


def _escaped(text: str) -> str:
    """Return the text with the characters that Mermaid or HTML would read as its own in their entity form."""
    for character, entity in (("#", "#35;"), ("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(character, entity)
    return text
