"""Commands that keep a copy of a ledger and bring it back: backup, restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clearwell.cli import proof
from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import meter, print_json
from clearwell.cli.session import project as opened


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell backup /mnt/backup/shop")(backup)
    app.command(epilog="Example: clearwell restore /mnt/backup/shop shop-again")(restore)


def backup(
    destination: Annotated[Path, typer.Argument(help="The backup's folder; made when it is missing.")],
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Hash what is in the backup already, and copy anew what is damaged.")
    ] = False,
) -> None:
    """Back the project up: its ledger as it is at one instant, and its texts. Nobody need stop meanwhile.

    Only what the backup lacks is copied. Interrupted, the backup that was there before still is.
    """
    from clearwell.application import backing_up

    with opened(project) as workspace, meter("bytes", 1.0) as shown:
        result = backing_up.back_up(workspace, destination, check=check, report=shown.advance)
    if as_json:
        print_json(asdict(result))
        return
    typer.echo(f"Backed up {result.segments:,} segment(s), {result.events:,} event(s), head {result.head[:16]}.")
    typer.echo(
        f"{result.copied:,} file(s) of the log copied, {result.kept:,} were there already, {result.removed:,} are gone."
    )


def restore(
    backup_folder: Annotated[Path, typer.Argument(help="The folder that `clearwell backup` wrote.")],
    folder: Annotated[Path, typer.Argument(help="The project's folder; made when it is missing.")],
    as_json: JsonOption = False,
) -> None:
    """Make a project of a backup, and prove it as `clearwell verify` does. Exit 1 when something is wrong.

    Where FOLDER has a clearwell.yaml, its own texts stay, and only the data folder that it names is restored.
    """
    from clearwell import bootstrap
    from clearwell.application import auditing

    with meter("bytes", 1.0) as shown:
        restored = bootstrap.restore(backup_folder, folder, shown.advance)
    with opened(folder) as workspace:
        auditing.note_after(workspace, "ledger.restore", restored.made_at, head=restored.head)
    if not as_json:
        typer.echo(f"Restored the backup of {restored.made_at} into {restored.data_folder}.")
    proof.verify(folder, as_json)
