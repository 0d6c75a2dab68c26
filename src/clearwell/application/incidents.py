"""Incidents: the causes that people name, what is known of them, and when they were opened and closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clearwell.application.auditing import note
from clearwell.application.workspace import Workspace, require_ledger
from clearwell.catalog import incidents
from clearwell.catalog.incidents import RULES, Incident
from clearwell.errors import UsageError
from clearwell.values.times import stored_text

MOST_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class IncidentReport:
    """An incident, and how many subjects of each rule are attributed to it now."""

    incident: Incident
    counts: dict[str, int]

    @property
    def row(self) -> dict[str, Any]:
        """The fields of docs/guides/incidents.md."""
        item = self.incident
        own = {"number": item.number, "name": item.name, "known": item.known, "opened_at": item.opened_at}
        return {**own, "closed_at": item.closed_at or None, **{f"{rule}_count": self.counts[rule] for rule in RULES}}


def open_incident(workspace: Workspace, name: str, known: str = "") -> Incident:
    """Name a cause; `known` is what is known of it. Raises UsageError for a name that is taken, or is none."""
    require_ledger(workspace.periods())
    if not name.strip() or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
        expected = f"a name of 1 to {MOST_NAME_CHARACTERS} characters that can be printed"
        raise UsageError("incident_name_invalid", f"expected {expected}, found {name!r}")
    with workspace.catalog.write() as connection:
        if incidents.named(connection, name) is not None:
            raise UsageError("incident_name_taken", f"expected a new name, found that of an incident: {name!r}")
        incidents.add(connection, name, known, stored_text(workspace.clock()))
        note(connection, workspace, "incident.open", name)
    return incident_named(workspace, name)


def close_incident(workspace: Workspace, name: str, known: str | None = None) -> Incident:
    """Say that a cause is over, and, if given, what is known of it by now. What is attributed to it stays so.

    Raises UsageError for one that is not there or is closed.
    """
    found = incident_named(workspace, name)
    if found.closed_at:
        raise UsageError("incident_closed", f"expected an open incident, found {name!r}, closed at {found.closed_at}")
    with workspace.catalog.write() as connection:
        now = stored_text(workspace.clock())
        incidents.close(connection, found.number, found.known if known is None else known, now)
        note(connection, workspace, "incident.close", name)
    return incident_named(workspace, name)


def incident_named(workspace: Workspace, name: str) -> Incident:
    """The incident of this name. Raises UsageError when there is none."""
    found = None
    if workspace.has_ledger:
        with workspace.catalog.read() as connection:
            found = incidents.named(connection, name)
    if found is None:
        names = ", ".join(item.incident.name for item in listed(workspace)) or "none"
        raise UsageError("incident_unknown", f"expected an incident (open are: {names}), found {name!r}")
    return found


def listed(workspace: Workspace, *, closed: bool = False) -> list[IncidentReport]:
    """The open incidents, or with `closed` all, the oldest first."""
    if not workspace.has_ledger:
        return []
    with workspace.catalog.read() as connection:
        found = incidents.listed(connection, closed=closed)
        counts = incidents.counts_in_force(connection)
    return [IncidentReport(item, {rule: counts.get((item.number, rule), 0) for rule in RULES}) for item in found]
