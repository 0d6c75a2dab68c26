"""The command that brings events in: ingest."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clearwell.application.asked_texts import pairs
from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import meter, print_json
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError

if TYPE_CHECKING:
    from clearwell.application.workspace import Workspace
    from clearwell.ingest.door import Receipt
    from clearwell.ingest.inputs import Input

_GET_VARIABLE = re.compile(r"getvariable\(\s*'([^']+)'\s*\)", re.IGNORECASE)


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(epilog="Example: clearwell ingest events/*.ndjson.gz   or: producer | clearwell ingest -")(ingest)


def ingest(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files (.ndjson .csv .parquet .arrow, also .gz .zst) or -; none: the project's sources."),
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    input_format: Annotated[
        Literal["ndjson", "csv", "parquet", "arrow"] | None,
        typer.Option("--input-format", help="The format, where the file's name does not say it."),
    ] = None,
    history: Annotated[
        bool, typer.Option("--import", help="Move history in: events keep the recorded_at that they bring.")
    ] = False,
    variable: Annotated[
        list[str] | None,
        typer.Option("--variable", metavar="NAME=VALUE", help="What a source reads by getvariable."),
    ] = None,
) -> None:
    """Bring events in, durably. What cannot become an event goes to quarantine, whole; exit 1 when something did.

    Safe to repeat: events that are there already are counted as duplicates.
    """
    from clearwell.application import ingesting
    from clearwell.ingest.inputs import STANDARD_INPUT, file_input

    variables = pairs(variable, "--variable")
    if (files or []).count(STANDARD_INPUT) > 1:
        raise UsageError("input_repeated", f"expected {STANDARD_INPUT} once: standard input can be read only once")
    inputs = [file_input(name, input_format) for name in files or []]
    total = sum(item.size or 0 for item in inputs) or None
    done = dict.fromkeys(range(len(inputs)), 0.0)
    with opened(project) as workspace:
        _require_known(workspace, variables)
        with meter("records", total) as shown:

            def report(item: Input, share: float, records: int) -> None:
                if item in inputs:
                    done[inputs.index(item)] = share * (item.size or 0)
                shown.advance(records, sum(done.values()))

            receipt = ingesting.ingest(workspace, inputs, variables=variables, imports=history, report=report)
        if as_json:
            print_json(asdict(receipt))
        else:
            print_receipt(receipt)
        seal_after(workspace)
    if receipt.quarantined:
        raise typer.Exit(1)


def seal_after(workspace: Workspace) -> None:
    """Seal what is durable by now. It was acknowledged before, and what fails here is made up for by the next seal."""
    from clearwell.application import sealing

    sys.stdout.flush()
    with meter("events sealed") as shown:
        sealing.seal(workspace, shown.advance)


def _require_known(workspace: Workspace, names: Iterable[str]) -> None:
    """Raise UsageError for a variable that neither the settings nor any source of the project knows."""
    from clearwell.ingest.inputs import source_inputs

    sources = source_inputs(workspace.folder)
    read = {name for item in sources for name in _GET_VARIABLE.findall(item.sql)}
    known = {name.lower(): name for name in sorted({*read, *workspace.settings.variables})}
    for name in names:
        if name.lower() not in known:
            expected = f"one of {', '.join(known.values())}" if known else "none, for no source reads any"
            raise UsageError("variable_unknown", f"--variable: expected {expected}, found {name!r}")


def print_receipt(receipt: Receipt) -> None:
    """What became of the records, for people."""
    place = ""
    if receipt.first_sequence is not None:
        place = f" as sequence {receipt.first_sequence:,} to {receipt.last_sequence:,}"
    typer.echo(f"{receipt.accepted:,} accepted{place}, {receipt.duplicates:,} duplicates.")
    if receipt.quarantined:
        typer.echo(f"{receipt.quarantined:,} in quarantine: see `clearwell quarantine list`.")
