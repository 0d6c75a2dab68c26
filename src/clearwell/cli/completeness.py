"""The command that holds producers' own records against the log: completeness."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearwell.application.telling import comparison_as_json
from clearwell.cli.options import HERE, AtOption, JsonOption, KnownAtOption, ProjectOption
from clearwell.cli.output import meter, print_json_rows, print_table, shown_share
from clearwell.cli.questions import cut_text, shown_money
from clearwell.cli.session import project as opened

if TYPE_CHECKING:
    from clearwell.application.comparing import Comparison
    from clearwell.application.workspace import Workspace

_SHOWN_ROWS = 50


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(epilog="Example: clearwell completeness charges --period 2026-01-31")(completeness)


def completeness(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Producer sources. Default: all.")
    ] = None,
    project: ProjectOption = HERE,
    period: Annotated[
        str, typer.Option(help="A month (2026-01), week (2026-W05), day or hour (2026-01-31T09). Default: everything.")
    ] = "",
    at: AtOption = "",
    known_at: KnownAtOption = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many differences. Default: 50 in a table, else all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare producers' own records with the log: missing, unexpected and different ones. Exit 1 when there are any.

    Every run is kept in the catalog, with all that it found.
    """
    from clearwell.application import comparing, cutting
    from clearwell.bootstrap import open_producer

    with opened(project) as workspace:
        request = cutting.CutRequest(at, known_at)
        with meter("records") as shown:
            found = list(
                comparing.compare(workspace, open_producer, request, names or [], period=period, report=shown.advance)
            )
        if as_json:
            _print_json(workspace, found, limit)
        else:
            _print_tables(workspace, found, limit or _SHOWN_ROWS)
    if not all(item.is_whole for item in found):
        raise typer.Exit(1)


def _print_json(workspace: Workspace, found: list[Comparison], limit: int | None) -> None:
    from clearwell.application import comparing

    def differences(item: Comparison) -> list[dict[str, Any]]:
        return list(comparing.differences(workspace, item.number, limit))

    print_json_rows({**comparison_as_json(item), "differences": differences(item)} for item in found)


def _print_tables(workspace: Workspace, found: list[Comparison], limit: int) -> None:
    from clearwell.application import comparing

    headings = [(name, "left") for name in ("Source", "Event type")]
    names = ("Records", "Events", "Matched", "Missing", "Unexpected", "Different", "Duplicate", "Complete")
    headings += [(name, "right") for name in names]
    print_table("Producers' records against the log", headings, [_summary(item) for item in found])
    for item in found:
        _tell(workspace, item)
        rows = list(comparing.differences(workspace, item.number, limit))
        if rows:
            columns = [("", "left"), ("Id", "left"), ("Record", "right"), ("Event", "right")]
            columns += [("Occurred at", "left"), ("Sequence", "right")]
            print_table(item.source, columns, [_difference(workspace, row) for row in rows])
            traced = next((row["id"] for row in rows if row["sequence"] is not None), None)
            if traced is not None:
                named = shlex.quote(f"{item.producer}/{traced}")
                typer.echo(f"To trace the event of a row: clearwell trace --event {named}")
        total = item.missing_count + item.unexpected_count + item.different_count + item.duplicate_count
        if total > len(rows):
            typer.echo(f"… and {total - len(rows):,} more: use --limit, or --json.")
    for text in dict.fromkeys(cut_text(item.cut) for item in found):
        typer.echo(text)


def _summary(item: Comparison) -> list[object]:
    counts = (
        item.record_count, item.event_count, item.matched_count, item.missing_count, item.unexpected_count,
        item.different_count, item.duplicate_count,
    )  # fmt: skip
    return [item.source, item.event_type, *(f"{count:,}" for count in counts), shown_share(item.completeness)]


def _tell(workspace: Workspace, item: Comparison) -> None:
    """In words, what the counts do not say."""
    for currency, part in sorted(item.missing_money.items()):
        if currency:
            about = "Estimated missing" if item.estimated else "Missing"
            money = shown_money(workspace, part["money"], currency)
            typer.echo(f"{about} in {item.source}: {money} {currency} in {part['count']:,} record(s).")
    for count, what in (
        (item.without_id_count, "record(s) without an id, which match nothing"),
        (item.without_time_count, "record(s) without a time, which are in no period"),
        (item.outside_event_count, "record(s) with their event beyond the period or the cut's effective time"),
        (item.outside_record_count, "event(s) with their record beyond the period"),
    ):
        if count:
            typer.echo(f"{item.source}: {count:,} {what}.")


def _difference(workspace: Workspace, row: dict[str, Any]) -> list[object]:
    sides = [
        "" if row[value] is None else f"{shown_money(workspace, row[value], row[currency])} {row[currency]}"
        for value, currency in (("amount", "currency"), ("event_amount", "event_currency"))
    ]
    return [row["kind"], row["id"], *sides, row["occurred_at"] or "", row["sequence"]]
