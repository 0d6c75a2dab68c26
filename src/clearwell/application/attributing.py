"""Attributes the subjects of findings to an incident, one by one or all that a selection finds at a cut.

A selection is written down as the subjects that it finds: what comes later is not attributed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from clearwell.application.auditing import note_after
from clearwell.application.cutting import CutRequest, Known, books_at, known_at
from clearwell.application.incidents import incident_named
from clearwell.application.questions import OpenFilter, conditions_of
from clearwell.application.scoring import period_named
from clearwell.application.workspace import Workspace
from clearwell.catalog import comparisons, incidents
from clearwell.catalog.incidents import PAGE, Incident, Rule
from clearwell.errors import UsageError
from clearwell.quality import clearing
from clearwell.quality.finding_subjects import EVENT, account_names, accounts_named
from clearwell.values.cuts import Cut
from clearwell.values.times import INSTANT, stored_text

Progress = Callable[[int], None]

_SCHEMA = pl.Schema({"subject": pl.String(), "sequence": pl.Int64()})
_MOST_TOLD = 5


@dataclass(frozen=True)
class Selection:
    """Which subjects are meant: `subjects` of a `rule`, or all that one of the others finds.

    These are the overdue accounts of an account type at a cut, with `properties` and opened from and until an effective
    time; the late events of an event type at a cut, recorded in a `period`; and the missing records of a comparison, by
    its number.
    """

    rule: Rule = "uncleared"
    subjects: tuple[str, ...] = ()
    account_type: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    opened_from: datetime | None = None
    opened_until: datetime | None = None
    event_type: str = ""
    period: str = "all"
    comparison: int | None = None


@dataclass(frozen=True)
class AttributionReport:
    """What was done with the subjects of a selection: `found` so many, `changed` those that were not so before.

    `moved` of these were attributed to another incident. `cut` is where a selection looked for them. Without a `rule`
    it is everything that was attributed.
    """

    incident: str
    rule: Rule | None
    cut: Cut | None
    found: int
    changed: int
    moved: int = 0


def attribute(
    workspace: Workspace,
    request: CutRequest,
    name: str,
    wanted: Selection,
    *,
    move: bool = False,
    report: Progress = lambda _count: None,
) -> AttributionReport:
    """Attribute what is selected to an incident; safe to repeat. `report` is told how many were written.

    Raises UsageError for an incident that is not there, a selection or subject that cannot be meant, and, unless they
    are to `move`, when one is attributed to another incident: then nothing is done.
    """
    incident = incident_named(workspace, name)
    rule, found, cut = _found(workspace, request, wanted)
    moved = 0
    for page in _pages(found):
        with workspace.catalog.read() as connection:
            elsewhere = incidents.elsewhere(connection, incident.number, rule, _names(page))
        moved += len(elsewhere)
        if elsewhere and not move:
            raise _taken(elsewhere)
    changed = 0
    for page in _pages(found):
        with workspace.catalog.write() as connection:
            elsewhere = [] if move else incidents.elsewhere(connection, incident.number, rule, _names(page))
            if elsewhere:  # Somebody attributed it just now.
                raise _taken(elsewhere)
            now = stored_text(workspace.clock())
            changed += incidents.attribute(connection, incident.number, rule, list(page.iter_rows()), now)
        report(page.height)
    note_after(workspace, "incident.attribute", name, rule=rule, found=found.height, changed=changed)
    return AttributionReport(name, rule, cut, found.height, changed, moved)


def withdraw(
    workspace: Workspace,
    request: CutRequest,
    name: str,
    wanted: Selection | None = None,
    *,
    report: Progress = lambda _count: None,
) -> AttributionReport:
    """Attribute what is selected, or without a selection everything, to this incident no longer; safe to repeat.

    Raises as `attribute` does.
    """
    incident = incident_named(workspace, name)
    if wanted is None:
        changed = sum(_withdrawn_in_turn(workspace, incident, report))
        note_after(workspace, "incident.withdraw", name, changed=changed)
        return AttributionReport(name, None, None, changed, changed)
    if wanted.subjects:
        _kind(wanted)
        rule, cut, found = wanted.rule, None, _told(wanted.subjects)
    else:
        rule, found, cut = _found(workspace, request, wanted)
    changed = 0
    for page in _pages(found):
        with workspace.catalog.write() as connection:
            now = stored_text(workspace.clock())
            changed += incidents.withdraw(connection, incident.number, rule, _names(page), now)
        report(page.height)
    note_after(workspace, "incident.withdraw", name, rule=rule, found=found.height, changed=changed)
    return AttributionReport(name, rule, cut, found.height, changed)


def _withdrawn_in_turn(workspace: Workspace, incident: Incident, report: Progress) -> Iterator[int]:
    count = PAGE
    while count == PAGE:
        with workspace.catalog.write() as connection:
            count = incidents.withdraw_some(connection, incident.number, stored_text(workspace.clock()))
        report(count)
        yield count


def _pages(found: pl.DataFrame) -> Iterator[pl.DataFrame]:
    return found.iter_slices(PAGE) if found.height else iter(())


def _names(page: pl.DataFrame) -> list[str]:
    return page["subject"].to_list()


def _taken(elsewhere: list[tuple[str, str]]) -> UsageError:
    details = [f"{subject}: {name}" for subject, name in elsewhere[:_MOST_TOLD]]
    message = "expected subjects that no other incident has, found some that are attributed; --move takes them over"
    return UsageError("subject_attributed_elsewhere", message, details)


def _kind(wanted: Selection) -> str:
    """What is selected by. Raises UsageError unless it is one thing."""
    kinds = {
        "subjects": bool(wanted.subjects),
        "account_type": bool(wanted.account_type),
        "event_type": bool(wanted.event_type),
        "comparison": wanted.comparison is not None,
    }
    chosen = [name for name, is_chosen in kinds.items() if is_chosen]
    if len(chosen) != 1:
        expected = "one of: subjects, an account type, an event type, or a comparison"
        raise UsageError("selection_unclear", f"expected {expected}; found {', '.join(chosen) or 'none'}")
    opened = wanted.opened_from is not None or wanted.opened_until is not None
    if (wanted.properties or opened) and not wanted.account_type:
        raise UsageError("selection_unclear", "properties and times of opening are of accounts: name an account type")
    if wanted.period != "all" and not wanted.event_type:
        raise UsageError("selection_unclear", "the period is that of late events: name an event type")
    return chosen[0]


def _found(workspace: Workspace, request: CutRequest, wanted: Selection) -> tuple[Rule, pl.DataFrame, Cut | None]:
    """The rule, the subjects that are selected (`subject` and `sequence`, each once), and the cut of a selection."""
    match _kind(wanted):
        case "account_type":
            return "uncleared", *_overdue(workspace, request, wanted)
        case "event_type":
            known = known_at(workspace, request)
            return "late", _late(known, wanted), known.cut
        case "comparison":
            return "missing", _missing(workspace, wanted.comparison or 0), None
    known = known_at(workspace, CutRequest())
    found = _told(wanted.subjects)
    if wanted.rule == "uncleared":
        types = {name: item for model in known.models.values() for name, item in model.account_types.items()}
        clearing_types = [item for item in types.values() if item.kind == "clearing"]
        read = accounts_named(found["subject"], clearing_types)["subject"]
        _require_sound(found, read, "clearing accounts, such as charge_undisbursed{charge=ch_1, business=acct_A}")
    elif wanted.rule == "late":
        found = _placed(known, found)
    else:
        producers = {item.producer for model in known.models.values() for item in model.event_types.values()}
        named = found.filter(pl.col("subject").str.split_exact("/", 1).struct.field("field_0").is_in(list(producers)))
        named = named.filter(pl.col("subject").str.contains("/.", literal=False))
        _require_sound(found, named["subject"], f"PRODUCER/ID, with a producer of {', '.join(sorted(producers))}")
    return wanted.rule, found, None


def _told(subjects: tuple[str, ...]) -> pl.DataFrame:
    names = pl.Series("subject", subjects, dtype=pl.String).unique(maintain_order=True)
    return names.to_frame().with_columns(sequence=pl.lit(None, pl.Int64))


def _require_sound(found: pl.DataFrame, sound: pl.Series, expected: str) -> None:
    others = found.filter(~pl.col("subject").is_in(sound.implode()))["subject"]
    if len(others):
        details = others.head(_MOST_TOLD).to_list()
        raise UsageError("subject_unknown", f"expected {expected}; found {len(others)} other(s)", details)


def _overdue(workspace: Workspace, request: CutRequest, wanted: Selection) -> tuple[pl.DataFrame, Cut]:
    filtered = OpenFilter(
        account_type=wanted.account_type,
        properties=wanted.properties,
        state="overdue",
        opened_from=wanted.opened_from,
        opened_until=wanted.opened_until,
    )
    with books_at(workspace, request) as books:
        conditions, parameters = conditions_of(books.model, workspace.currencies, filtered)
        name = account_names([books.model.account_types[wanted.account_type]])
        accounts = clearing.open_with_state(books.kinds)
        query = f"SELECT DISTINCT {name} AS subject FROM ({accounts}) WHERE {' AND '.join(conditions)} ORDER BY 1"
        found = pl.from_arrow(books.ask(query, parameters).to_arrow_table())
    assert isinstance(found, pl.DataFrame)
    return found.select("subject", sequence=pl.lit(None, pl.Int64)), books.cut


def _late(known: Known, wanted: Selection) -> pl.DataFrame:
    """The events of the cut, recorded in the period, that came past the deadline of the model of their time."""
    names = {name for model in known.models.values() for name in model.event_types}
    if wanted.event_type not in names:
        expected = ", ".join(sorted(names))
        raise UsageError("event_type_unknown", f"expected an event type of ({expected}), found {wanted.event_type!r}")
    span = period_named(wanted.period, known)
    lag = pl.col("recorded_at").to_physical() - pl.col("occurred_at").to_physical()
    late = [pl.lit(value=False)]
    for version, model in known.models.items():
        event = model.event_types.get(wanted.event_type)
        if event is not None and event.arrives_within is not None:
            beyond = lag > event.arrives_within.seconds * 1_000_000
            late.append((pl.col("model_version") == version) & beyond)
    within = [pl.col("effective_at") <= known.cut.effective_at, pl.col("sequence") <= known.cut.sequence]
    if span.start_us is not None and span.end_us is not None:
        recorded = pl.col("recorded_at")
        within += [recorded >= pl.lit(span.start_us).cast(INSTANT), recorded < pl.lit(span.end_us).cast(INSTANT)]
    found = [pl.DataFrame(schema=_SCHEMA)]
    for file in known.log.covering(1, known.cut.sequence):
        scan = known.log.scan(file).filter(pl.col("type") == wanted.event_type, *within, pl.any_horizontal(late))
        found.append(known.log.collected(file, scan.select(EVENT.alias("subject"), "sequence")))
    return pl.concat(found).sort("sequence")


def _placed(known: Known, wanted: pl.DataFrame) -> pl.DataFrame:
    """The events of these names, with their sequences. Raises UsageError for one that the log has not."""
    found = [pl.DataFrame(schema=_SCHEMA)]
    names = wanted["subject"].implode()
    for file in known.log.files:
        scan = known.log.scan(file).filter(pl.col("sequence") <= file.last_sequence)
        own = scan.select(EVENT.alias("subject"), "sequence").filter(pl.col("subject").is_in(names))
        found.append(known.log.collected(file, own))
    placed = pl.concat(found).sort("sequence")
    _require_sound(wanted, placed["subject"], "events of the log, as PRODUCER/ID")
    return placed


def _missing(workspace: Workspace, number: int) -> pl.DataFrame:
    known = known_at(workspace, CutRequest())
    with workspace.catalog.read() as connection:
        event_type = comparisons.event_type_of(connection, number)
        if event_type is None:
            raise UsageError("comparison_unknown", f"expected the number of a whole comparison, found {number}")
        ids = pl.Series("id", comparisons.missing_ids(connection, number), dtype=pl.String).unique(maintain_order=True)
    producer = known.producers[event_type]
    subjects = (pl.lit(f"{producer}/") + pl.col("id")).alias("subject")
    return ids.to_frame().select(subjects, sequence=pl.lit(None, pl.Int64))
