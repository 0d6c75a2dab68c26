"""Commands that prove and repair the log and what follows from it: verify, rebuild, compact."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearwell.cli.evidence import KeyOption, read_note
from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import meter, print_json
from clearwell.cli.session import project as opened

if TYPE_CHECKING:
    from clearwell.application.verifying_seals import KeptCheckpoint
    from clearwell.application.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell verify --json")(verify)
    app.command(epilog="Example: clearwell rebuild && clearwell verify")(rebuild)
    app.command(epilog="Example: clearwell compact --json")(compact)


def verify(
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="A checkpoint that the log must agree with. Repeatable.")
    ] = None,
    key: KeyOption = "",
) -> None:
    """Prove the ledger: hash every file, walk the chain, post and fold everything again, and compare.

    The Merkle tree over the events is computed again too, and compared with its seals, and with checkpoints that were
    kept elsewhere: these tell a log that was truncated or written anew. They must be signed with --key, or else with
    the key of this folder. Exit 1 when something is wrong; each fault says what, where, what was expected and found.
    """
    from clearwell.application import verifying

    with opened(project) as workspace:
        kept = _kept(workspace, checkpoint or [], key)
        total = workspace.log().last_sequence
        with meter("events", total or None) as shown:
            result = verifying.verify(workspace, shown.advance, kept)
    if as_json:
        print_json({"ok": not result.faults, **asdict(result)})
    else:
        for fault in result.faults:
            typer.echo(f"{fault.code}: {fault.where}: expected {fault.expected}, found {fault.found}")
        verdict = f"{len(result.faults)} fault(s)" if result.faults else "all is right"
        typer.echo(f"{result.segments:,} segment(s), {result.events:,} event(s), head {result.head[:16]}: {verdict}.")
        if result.sealed < result.events:
            typer.echo(f"{result.events - result.sealed:,} event(s) are under no seal yet: run `clearwell seal`.")
    if result.faults:
        raise typer.Exit(1)


def _kept(workspace: Workspace, files: list[Path], key: str) -> list[KeptCheckpoint]:
    from clearwell.application.checkpointing import known_verifier
    from clearwell.application.verifying_seals import KeptCheckpoint
    from clearwell.log.checkpoints import read_verifier

    if not files:
        return []
    verifier = read_verifier(key) if key else known_verifier(workspace)
    return [KeptCheckpoint(str(path), read_note(path), verifier) for path in files]


def rebuild(project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Throw the projections away and fold the whole log again; the tables come out the same."""
    from clearwell.application import projecting

    with opened(project) as workspace:
        total = workspace.log().last_sequence
        with meter("events", total or None) as shown:
            count = projecting.catch_up(workspace, shown.advance, anew=True)
    if as_json:
        print_json({"events": count})
    else:
        typer.echo(f"{count:,} event(s) folded again.")


def compact(project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Make the small files of the log large ones. Nothing that the log says changes; readers need not stop."""
    from clearwell.application import compacting

    with opened(project) as workspace, meter("events", workspace.log().last_sequence or None) as shown:
        result = compacting.compact(workspace, shown.advance)
    if as_json:
        print_json(asdict(result))
        return
    typer.echo(
        f"{result.files_before:,} file(s) became {result.files_after:,}, {result.removed:,} replaced ones are gone."
    )
    if result.waiting:
        typer.echo(
            f"{result.waiting:,} replaced file(s) are still being read: the next `clearwell compact` removes them."
        )
