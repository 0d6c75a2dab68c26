"""Commands for records that could not become events: quarantine list, show, retry, export."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clearwell.application.telling import quarantined_as_json
from clearwell.cli.events import print_receipt, seal_after
from clearwell.cli.options import HERE, FormatOption, JsonOption, ProjectOption, chosen_format
from clearwell.cli.output import print_csv, print_json, print_json_rows, print_table
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Records that could not become events, and why.")

NumberArgument = Annotated[int, typer.Argument(help="The record's number.")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Only records with this rejection code.")]


@app.command("list", epilog="Example: clearwell quarantine list --code property_missing")
def list_records(
    project: ProjectOption = HERE,
    code: CodeOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Records that were replayed or erased, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """List the records that wait, with the reason for each."""
    from clearwell.application import quarantining

    with opened(project) as workspace:
        records = quarantining.quarantined(workspace, code=code, everything=everything, limit=limit)
        rows = [quarantined_as_json(item) for item in records]
        match chosen_format(form, as_json=as_json):
            case "json":
                print_json_rows(rows)
            case "csv":
                print_csv(list(rows[0]) if rows else [], [list(row.values()) for row in rows])
            case _:
                counts = quarantining.waiting_by_code(workspace)
                headings = [(name, "left") for name in ("Number", "Code", "Field", "Expected", "Found", "From")]
                shown = [
                    [
                        item["number"],
                        item["code"],
                        item["field"],
                        item["expected"],
                        item["found"],
                        _origin(item),
                    ]
                    for item in rows
                ]
                print_table(f"{sum(counts.values()):,} record(s) wait", headings, shown)
                for name, count in counts.items():
                    typer.echo(f"{count:>8,}  {name}")


@app.command(epilog="Example: clearwell quarantine show 12")
def show(number: NumberArgument, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Show one record, whole, and the reason why it is here."""
    from clearwell.application import quarantining

    with opened(project) as workspace:
        item = quarantining.one_quarantined(workspace, number)
        row = quarantined_as_json(item)
        if as_json:
            print_json(row)
            return
        for name in ("number", "state", "code", "field", "expected", "found"):
            typer.echo(f"{name:>10}: {row[name]}")
        typer.echo(f"{'from':>10}: {_origin(row)}, seen {item.seen_count} time(s), last at {item.last_seen_at}")
        typer.echo(f"{'record':>10}: {row['record']}")


@app.command(epilog="Example: clearwell quarantine retry 12 --corrected fixed.json")
def retry(
    numbers: Annotated[list[int] | None, typer.Argument(help="Which records; without any, all that wait.")] = None,
    project: ProjectOption = HERE,
    corrected: Annotated[
        Path | None,
        typer.Option("--corrected", help="A file with the record as it should have been (one number only)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send records through the door again, after a model was mended or with a corrected record."""
    from clearwell.application import quarantining

    content = _content(corrected) if corrected else None
    with opened(project) as workspace:
        result = quarantining.retry(workspace, numbers or [], content)
        if as_json:
            print_json({**asdict(result.receipt), "released": result.released})
        else:
            print_receipt(result.receipt)
            typer.echo(f"{len(result.released):,} record(s) left quarantine.")
        seal_after(workspace)
    if result.receipt.quarantined:
        raise typer.Exit(1)


@app.command(epilog="Example: clearwell quarantine export --code property_missing > broken.ndjson")
def export(project: ProjectOption = HERE, code: CodeOption = None) -> None:
    """Write the waiting records to standard output, each as it arrived, one to a line."""
    from clearwell.application import quarantining

    with opened(project) as workspace:
        for item in quarantining.all_waiting(workspace, code):
            sys.stdout.buffer.write(item.record + b"\n")
        sys.stdout.buffer.flush()


def _origin(row: dict[str, Any]) -> str:
    return f"{row['source']}:{row['line']}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError("file_not_found", f"{path}: {error.strerror}") from error
