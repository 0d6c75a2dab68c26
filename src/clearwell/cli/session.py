"""Opens the project for a command. The heavy libraries are imported here, so that --help answers at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from clearwell.application.workspace import Workspace


@contextmanager
def project(folder: Path) -> Iterator[Workspace]:
    """The open project; its notices go to standard error, and the audit names the user of the operating system."""
    from clearwell.application.auditing import on_this_machine
    from clearwell.bootstrap import open_workspace

    actor = on_this_machine("command line")
    with open_workspace(folder, say=lambda notice: typer.echo(notice, err=True), actor=actor) as workspace:
        yield workspace
