"""Commands for models: init, check, draw."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearwell.application.telling import check_as_json
from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import print_json, print_table
from clearwell.cli.session import project as opened

if TYPE_CHECKING:
    from clearwell.application.modelling import CheckReport


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell init shop --example card_platform")(init)
    app.command(epilog="Example: clearwell check --json | jq .equations")(check)
    app.command(epilog="Example: clearwell draw card_payments > card_payments.mmd")(draw)


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to start in; made when it is missing.")] = HERE,
    example: Annotated[str | None, typer.Option("--example", help="Start from a copy of this example.")] = None,
    list_examples: Annotated[bool, typer.Option("--list", help="List the examples and leave.")] = False,
) -> None:
    """Start a project: settings, a first flow and a few events, or a copy of an example."""
    from clearwell.application.starting import example_names, start_project

    if list_examples:
        for name in example_names():
            typer.echo(name)
        return
    for path in start_project(folder, example):
        typer.echo(f"wrote {path}")
    there = "" if folder == HERE else f"cd {shlex.quote(str(folder))}, then "
    typer.echo(f"Next: {there}clearwell check, clearwell ingest, clearwell status.")


def check(
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Put the flows in force, whatever changes for open accounts.")
    ] = False,
) -> None:
    """Prove what can be proved about the flows without data, and say what a change would mean for the log."""
    from clearwell.application import modelling

    with opened(project) as workspace:
        report = modelling.check(workspace)
        if accept and report.ok:
            modelling.accept_model(workspace)
        if as_json:
            print_json(check_as_json(report))
        else:
            _print_report(report, accepted=accept and report.ok)
    if not report.ok:
        raise typer.Exit(1)


def draw(
    flow: Annotated[str | None, typer.Argument(help="The flow to draw; without it, all flows.")] = None,
    project: ProjectOption = HERE,
) -> None:
    """Print a flow as a Mermaid flowchart: accounts are nodes, moves are arrows."""
    from clearwell.application import modelling

    with opened(project) as workspace:
        for name in [flow] if flow else modelling.flow_names(workspace):
            typer.echo(modelling.draw(workspace, name).rstrip())


def _print_report(report: CheckReport, *, accepted: bool) -> None:
    for problem in report.problems:
        typer.echo(str(problem) if problem.severity == "warning" else f"error: {problem}")
    if report.equations:
        rows = [
            (
                item.account_type,
                item.owner,
                item.clears_within,
                ", ".join(dict.fromkeys(f"{term.event_type} ({term.producer})" for term in item.filled_by)),
                ", ".join(dict.fromkeys(f"{term.event_type} ({term.producer})" for term in item.drained_by)),
                item.text,
            )
            for item in report.equations
        ]
        headings = ("Clearing account type", "Owner", "Within", "Filled by", "Drained by", "Clears when")
        print_table("What must clear", [(heading, "left") for heading in headings], rows)
    if report.personal:
        uses = [(item.property, item.event_type, item.subject or "its own value") for item in report.personal]
        columns = [(heading, "left") for heading in ("Property", "Event type", "Whose it is")]
        print_table("What is personal, and kept encrypted", columns, uses)
    for change in report.changes:
        typer.echo(f"change: {change.text}")
    for consequence in report.consequences:
        lead = "refused" if consequence.severity == "refused" else "needs --accept"
        typer.echo(f"{lead}: {consequence.text}")
    if not report.version:
        typer.echo(f"{len(report.problems)} problem(s): the flows are no model.")
    elif report.ok:
        state = "in force" if accepted or report.version == report.in_force else "not in force yet"
        typer.echo(f"The flows are sound: model {report.version[:12]}, {state}.")
