"""The command for personal data: forget."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import print_json
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError

if TYPE_CHECKING:
    from clearwell.application.forgetting import Forgotten
    from clearwell.application.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(epilog="Example: clearwell forget cus_1 --yes")(forget)


def forget(
    subject: Annotated[str, typer.Argument(help="The value that names the subject, such as a customer's id.")],
    project: ProjectOption = HERE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Destroy the key of a subject: its personal values read as erased, in the past and in the future.

    Records in quarantine that name it are erased too. Balances, chain and proofs stay valid. Cannot be undone.
    """
    from clearwell.application import forgetting

    with opened(project) as workspace:
        if not yes:
            _confirm(workspace, subject)
        done = forgetting.forget(workspace, subject)
    if as_json:
        print_json(asdict(done))
    else:
        _print(done)


def _confirm(workspace: Workspace, subject: str) -> None:
    from clearwell.application import forgetting

    if not sys.stdin.isatty():
        raise UsageError("confirmation_needed", "expected --yes, for there is no terminal to ask at")
    known = {
        "kept": "it has a key, and what that encrypts could never be read again",
        "destroyed_before": "it was forgotten before",
        "never_seen": "nothing personal was ever kept of it; it would be remembered as forgotten",
    }[forgetting.key_state(workspace, subject)]
    typer.confirm(f"{subject}: {known}. Forget it? This cannot be undone.", abort=True, err=True)


def _print(done: Forgotten) -> None:
    typer.echo(
        {
            "destroyed": f"{done.subject}: its key is destroyed. Its personal values read as erased from now on.",
            "destroyed_before": f"{done.subject}: its key was destroyed before.",
            "never_seen": f"{done.subject}: nothing personal was ever kept of it, and nothing will be.",
        }[done.key]
    )
    if done.quarantined:
        typer.echo(f"{done.quarantined:,} record(s) in quarantine that named it are erased.")
    if done.in_clear:
        names = ", ".join(done.in_clear)
        typer.echo(f"Events from before they were personal keep {names} in clear.")
