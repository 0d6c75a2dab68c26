"""Commands for causes that people name: incident open, close, list, attribute, withdraw."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clearwell.application.asked_texts import instant_of, pairs
from clearwell.application.telling import cut_as_json
from clearwell.cli.options import (
    HERE,
    AtOption,
    FormatOption,
    JsonOption,
    KnownAtOption,
    ProjectOption,
    chosen_format,
)
from clearwell.cli.output import meter, print_csv, print_json, print_json_rows, print_table
from clearwell.cli.questions import cut_text
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError

if TYPE_CHECKING:
    from clearwell.application.attributing import AttributionReport, Selection
    from clearwell.catalog.incidents import Incident, Rule

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Named causes, and the findings that they explain.")

_FIELDS = ("number", "name", "known", "opened_at", "closed_at", "uncleared_count", "late_count", "missing_count")

NameArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's name.")]
SubjectsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SUBJECT]...", help="Accounts as they are printed, or PRODUCER/ID; see --rule."),
]
RuleOption = Annotated[
    Literal["uncleared", "late", "missing"],
    typer.Option("--rule", help="What the subjects are: uncleared, late or missing."),
]
FileOption = Annotated[
    Path | None, typer.Option("--file", help="A file of subjects, one to a line; - is standard input.")
]
AccountTypeOption = Annotated[str, typer.Option("--account-type", "-t", help="All overdue accounts of this type.")]
PropertyOption = Annotated[
    list[str] | None, typer.Option("--property", metavar="NAME=VALUE", help="Of these accounts, those with this value.")
]
OpenedFromOption = Annotated[
    str, typer.Option("--opened-from", metavar="INSTANT", help="Of these accounts, those opened at or after it.")
]
OpenedUntilOption = Annotated[
    str, typer.Option("--opened-until", metavar="INSTANT", help="Of these accounts, those opened before it.")
]
EventTypeOption = Annotated[str, typer.Option("--event-type", help="All late events of this type.")]
PeriodOption = Annotated[
    str, typer.Option("--period", help="Of these events, those recorded in it, such as 2026-03-04.")
]
ComparisonOption = Annotated[
    int | None, typer.Option("--comparison", help="All missing records of the comparison with this number.")
]


@app.command(
    "open", epilog='Example: clearwell incident open gateway-outage --known "Card gateway down 18:00 to 19:00"'
)
def open_incident(
    name: NameArgument,
    project: ProjectOption = HERE,
    known: Annotated[str, typer.Option("--known", help="What is known of it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Name a cause, so that what it did to the money can be attributed to it."""
    from clearwell.application import incidents

    with opened(project) as workspace:
        _print_incident(incidents.open_incident(workspace, name, known), as_json=as_json)


@app.command(epilog='Example: clearwell incident close gateway-outage --known "Repaired; all charges were sent again"')
def close(
    name: NameArgument,
    project: ProjectOption = HERE,
    known: Annotated[str | None, typer.Option("--known", help="What is known of it by now.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a cause is over. What is attributed to it stays so, and more can be."""
    from clearwell.application import incidents

    with opened(project) as workspace:
        _print_incident(incidents.close_incident(workspace, name, known), as_json=as_json)


@app.command("list", epilog="Example: clearwell incident list --all --json")
def list_incidents(
    project: ProjectOption = HERE,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """List the open incidents, and how many accounts, events and records are attributed to each."""
    from clearwell.application import incidents

    with opened(project) as workspace:
        rows = [item.row for item in incidents.listed(workspace, closed=everything)]
    match chosen_format(form, as_json=as_json):
        case "json":
            print_json_rows(rows)
        case "csv":
            print_csv(_FIELDS, [[row[name] for name in _FIELDS] for row in rows])
        case _:
            headings = [(name, "left") for name in ("Incident", "Opened at", "Closed at")]
            headings += [(name, "right") for name in ("Uncleared", "Late", "Missing")] + [("Known", "left")]
            names = ("name", "opened_at", "closed_at", "uncleared_count", "late_count", "missing_count", "known")
            print_table(f"{len(rows):,} incident(s)", headings, [[row[name] for name in names] for row in rows])


@app.command(
    epilog="Example: clearwell incident attribute gateway-outage -t charge_undisbursed --property business=acct_A "
    "--opened-from 2026-03-04T18:00:00Z --opened-until 2026-03-04T19:00:00Z"
)
def attribute(
    name: NameArgument,
    subjects: SubjectsArgument = None,
    project: ProjectOption = HERE,
    rule: RuleOption = "uncleared",
    file: FileOption = None,
    account_type: AccountTypeOption = "",
    properties: PropertyOption = None,
    opened_from: OpenedFromOption = "",
    opened_until: OpenedUntilOption = "",
    event_type: EventTypeOption = "",
    period: PeriodOption = "all",
    comparison: ComparisonOption = None,
    move: Annotated[bool, typer.Option("--move", help="Also what is attributed to another incident.")] = False,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
) -> None:
    """Attribute findings to an incident: subjects, or all overdue accounts, late events or missing records selected.

    A selection is of a cut, and written down as the subjects that it finds. Safe to repeat.
    """
    from clearwell.application import attributing
    from clearwell.application.cutting import CutRequest

    own = (account_type, properties, opened_from, opened_until, event_type, period, comparison)
    selection = _selection(subjects, rule, file, own)
    with opened(project) as workspace, meter("subjects") as shown:
        done = attributing.attribute(
            workspace, CutRequest(at, known_at), name, selection, move=move, report=shown.advance
        )
    _print_done(done, "newly attributed to it", as_json=as_json)


@app.command(epilog="Example: clearwell incident withdraw gateway-outage --rule late card_gateway/evt_1")
def withdraw(
    name: NameArgument,
    subjects: SubjectsArgument = None,
    project: ProjectOption = HERE,
    rule: RuleOption = "uncleared",
    file: FileOption = None,
    account_type: AccountTypeOption = "",
    properties: PropertyOption = None,
    opened_from: OpenedFromOption = "",
    opened_until: OpenedUntilOption = "",
    event_type: EventTypeOption = "",
    period: PeriodOption = "all",
    comparison: ComparisonOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is attributed to it.")] = False,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
) -> None:
    """Attribute findings to an incident no longer; they are chosen as for attribute. Safe to repeat."""
    from clearwell.application import attributing
    from clearwell.application.cutting import CutRequest

    own = (account_type, properties, opened_from, opened_until, event_type, period, comparison)
    chosen = bool(subjects or file or account_type or event_type or comparison is not None)
    if everything == chosen:
        raise UsageError("selection_unclear", "expected either a selection or --all")
    selection = _selection(subjects, rule, file, own) if chosen else None
    with opened(project) as workspace, meter("subjects") as shown:
        done = attributing.withdraw(workspace, CutRequest(at, known_at), name, selection, report=shown.advance)
    _print_done(done, "attributed to it no longer", as_json=as_json)


_Options = tuple[str, list[str] | None, str, str, str, str, int | None]


def _selection(subjects: list[str] | None, rule: Rule, file: Path | None, own: _Options) -> Selection:
    from clearwell.application.attributing import Selection

    account_type, properties, opened_from, opened_until, event_type, period, comparison = own
    return Selection(
        rule=rule,
        subjects=(*(subjects or ()), *(_lines(file) if file is not None else ())),
        account_type=account_type,
        properties=pairs(properties, "--property"),
        opened_from=instant_of(opened_from, "--opened-from"),
        opened_until=instant_of(opened_until, "--opened-until"),
        event_type=event_type,
        period=period,
        comparison=comparison,
    )


def _lines(path: Path) -> list[str]:
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return [line for line in content.decode().split("\n") if line]
    except OSError as error:
        raise UsageError("file_not_found", f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError("file_not_text", f"{path}: expected subjects in UTF-8, found {error}") from error


def _print_incident(item: Incident, *, as_json: bool) -> None:
    if as_json:
        print_json({**item.__dict__, "closed_at": item.closed_at or None})
        return
    typer.echo(f"Incident {item.number}, {item.name}, is {'closed' if item.closed_at else 'open'}.")


def _print_done(done: AttributionReport, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**done.__dict__, "cut": None if done.cut is None else cut_as_json(done.cut)})
        return
    typer.echo(f"{done.incident}: {done.found:,} subject(s), of which {done.changed:,} are {what}.")
    if done.moved:
        typer.echo(f"{done.moved:,} of these were attributed to another incident.")
    if done.cut is not None:
        typer.echo(cut_text(done.cut))
