"""Commands around the simulated platform: simulate writes a world, demo runs the main job on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from clearwell.cli import events, models, questions
from clearwell.cli.output import meter
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell simulate world --events 100000 --seed 7 --format ndjson")(simulate)
    app.command(epilog="Example: clearwell demo build/demo")(demo)


def simulate(
    folder: Annotated[Path, typer.Argument(help="Where the event files and faults.ndjson go.")],
    count: Annotated[int, typer.Option("--events", min=1, help="About how many events.")] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal worlds.")] = 1,
    form: Annotated[Literal["parquet", "ndjson"], typer.Option("--format", help="The files' format.")] = "parquet",
) -> None:
    """Write a simulated payments platform with planted faults: events for the example card_platform, and the truth."""
    from clearwell.simulation.files import write_world
    from clearwell.simulation.options import WorldOptions

    with meter("events", count) as shown:
        for written in write_world(WorldOptions(events=count, seed=seed), folder, form):
            shown.advance(written - shown.count)
    typer.echo(f"Wrote {shown.count:,} events and the planted faults into {folder}.")


def demo(
    folder: Annotated[Path, typer.Argument(help="A folder for the demonstration; must be new.")],
    count: Annotated[int, typer.Option("--events", min=1000, help="About how many events.")] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal worlds.")] = 1,
) -> None:
    """Simulate a platform, ingest it, and show what is stuck, whose it is, and the story of one stuck charge."""
    if folder.exists():
        raise UsageError("folder_exists", f"{folder} exists already: name a new folder, or remove it")
    world = folder / "incoming"
    _step(f"clearwell init {folder} --example card_platform")
    models.init(folder, example="card_platform")
    _step(f"clearwell simulate {world} --events {count} --seed {seed}")
    simulate(world, count, seed)
    _step(f"clearwell ingest -p {folder} {world}/*.parquet")
    events.ingest([str(path) for path in sorted(world.glob("*.parquet"))], folder)
    _step(f"clearwell status -p {folder}   # how is every flow doing, and who owns it?")
    questions.status(folder)
    _step(f"clearwell open -p {folder} --state overdue --sort money --limit 10   # which money is stuck?")
    questions.open_accounts(folder, state="overdue", sort="money", limit=10)
    charge = _a_stuck_charge(folder)
    _step(f"clearwell trace -p {folder} charge={charge}   # the story of one stuck charge")
    questions.trace([f"charge={charge}"], folder)
    truth = [json.loads(line) for line in (world / "faults.ndjson").read_text(encoding="utf-8").splitlines()]
    stranded = {(item["account"], item["currency"]) for item in truth if item["amount_minor"] and not item["until"]}
    typer.echo(
        f"\nThe faults planted into this world strand money in {len(stranded):,} accounts: {world}/faults.ndjson."
    )


def _step(command: str) -> None:
    typer.secho(f"\n$ {command}", bold=True)


def _a_stuck_charge(folder: Path) -> str:
    from clearwell.application import cutting
    from clearwell.application import questions as asked

    wanted = asked.OpenFilter(account_type="charge_undisbursed", state="overdue", sort="money", limit=1)
    with opened(folder) as workspace:
        report = asked.open_accounts(workspace, cutting.CutRequest(), wanted)
    charge: str = report.accounts[0]["properties"]["charge"]
    return charge
