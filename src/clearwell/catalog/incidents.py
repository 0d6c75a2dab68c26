"""Causes that people have named, and the subjects of findings that they attributed to them.

Nothing is deleted: an attribution that no longer holds is withdrawn, and says since when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Connection, String, func, insert, literal_column, select, update

from clearwell.catalog.tables import attributions, incidents

Rule = Literal["uncleared", "late", "missing"]
RULES: tuple[Rule, ...] = get_args(Rule)

Found = tuple[str, int | None]
"""A subject, and of a late event the sequence."""

PAGE = 10_000
"""So many subjects are written, or looked for, at once."""

# No parameter: the database must see that the index of those in force will do.
_IN_FORCE = attributions.c.withdrawn_at == literal_column("''", String)


@dataclass(frozen=True)
class Incident:
    """A cause. Instants are as the catalog writes them; `closed_at` is empty while it is open."""

    number: int
    name: str
    known: str
    opened_at: str
    closed_at: str


def add(connection: Connection, name: str, known: str, opened_at: str) -> None:
    """Keep a new incident; its name must be new."""
    row = {"name": name, "known": known, "opened_at": opened_at, "closed_at": ""}
    connection.execute(insert(incidents), [row])


def named(connection: Connection, name: str) -> Incident | None:
    """The incident of this name."""
    row = connection.execute(select(incidents).where(incidents.c.name == name)).mappings().first()
    return None if row is None else Incident(**row)


def close(connection: Connection, number: int, known: str, closed_at: str) -> None:
    """Say that an incident is over, and what is known of it now."""
    connection.execute(update(incidents).where(incidents.c.number == number).values(known=known, closed_at=closed_at))


def listed(connection: Connection, *, closed: bool = False) -> list[Incident]:
    """The open incidents, or with `closed` all, in order of number."""
    statement = select(incidents).order_by(incidents.c.number)
    if not closed:
        statement = statement.where(incidents.c.closed_at == "")
    return [Incident(**row) for row in connection.execute(statement).mappings()]


def counts_in_force(connection: Connection) -> dict[tuple[int, str], int]:
    """How many subjects are attributed, by number of the incident and rule."""
    key = (attributions.c.incident, attributions.c.rule)
    rows = connection.execute(select(*key, func.count()).where(_IN_FORCE).group_by(*key))
    return {(incident, rule): count for incident, rule, count in rows}


def elsewhere(connection: Connection, number: int, rule: Rule, subjects: Sequence[str]) -> list[tuple[str, str]]:
    """Of at most `PAGE` subjects those that are attributed to another incident, with its name, in order."""
    found = (
        select(attributions.c.subject, incidents.c.name)
        .join(incidents, incidents.c.number == attributions.c.incident)
        .where(_IN_FORCE, attributions.c.rule == rule, attributions.c.subject.in_(subjects))
        .where(attributions.c.incident != number)
        .order_by(attributions.c.subject)
    )
    return [(subject, name) for subject, name in connection.execute(found)]


def attribute(connection: Connection, number: int, rule: Rule, found: Sequence[Found], at: str) -> int:
    """Attribute at most `PAGE` subjects to an incident, and no longer to another; returns how many were not before."""
    subjects = [subject for subject, _sequence in found]
    own = (attributions.c.rule == rule, attributions.c.subject.in_(subjects), _IN_FORCE)
    connection.execute(update(attributions).where(*own, attributions.c.incident != number).values(withdrawn_at=at))
    held = {subject for (subject,) in connection.execute(select(attributions.c.subject).where(*own))}
    kept = {"incident": number, "rule": rule, "attributed_at": at, "withdrawn_at": ""}
    rows = [{**kept, "subject": subject, "sequence": sequence} for subject, sequence in found if subject not in held]
    if rows:
        connection.execute(insert(attributions), rows)
    return len(rows)


def withdraw(connection: Connection, number: int, rule: Rule, subjects: Sequence[str], at: str) -> int:
    """Attribute at most `PAGE` subjects no longer to this incident; returns how many were."""
    own = (attributions.c.rule == rule, attributions.c.subject.in_(subjects), _IN_FORCE)
    withdrawn = update(attributions).where(*own, attributions.c.incident == number).values(withdrawn_at=at)
    return connection.execute(withdrawn).rowcount


def withdraw_some(connection: Connection, number: int, at: str) -> int:
    """Attribute `PAGE` of its subjects, or as many as there are, no longer to this incident; returns how many."""
    some = select(attributions.c.number).where(attributions.c.incident == number, _IN_FORCE).limit(PAGE)
    withdrawn = update(attributions).where(attributions.c.number.in_(some)).values(withdrawn_at=at)
    return connection.execute(withdrawn).rowcount


def rules_in_force(connection: Connection) -> set[Rule]:
    """The rules of which a subject is attributed: what `explained` must ask for."""
    in_force = {rule: select(attributions).where(_IN_FORCE, attributions.c.rule == rule).exists() for rule in RULES}
    found = connection.execute(select(*in_force.values())).one()
    return {rule for rule, is_there in zip(RULES, found, strict=True) if is_there}


def newest_change(connection: Connection) -> str:
    """When a subject was last attributed, or withdrawn; empty when none ever was."""
    newest = select(func.max(attributions.c.attributed_at), func.max(attributions.c.withdrawn_at))
    return max((at for at in connection.execute(newest).one() if at), default="")


def subjects_in_force(connection: Connection, rule: Rule, number: int | None = None) -> Iterator[Found]:
    """The subjects of a rule that are attributed, to this incident or any, in order."""
    chosen = select(attributions.c.subject, attributions.c.sequence).where(_IN_FORCE, attributions.c.rule == rule)
    if number is not None:
        chosen = chosen.where(attributions.c.incident == number)
    for row in connection.execute(chosen.order_by(attributions.c.subject)):
        yield row.subject, row.sequence
