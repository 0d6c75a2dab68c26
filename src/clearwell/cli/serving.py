"""`clearwell serve`: runs the service."""

from __future__ import annotations

from typing import Annotated

import typer

from clearwell.cli.options import HERE, ProjectOption


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    epilog = "Example: clearwell serve --port 8080"
    app.command(epilog=epilog)(serve)


def serve(
    project: ProjectOption = HERE,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 for any that is free.")] = 8080,
) -> None:
    """Run the service: producers publish to it, programs and people ask it, until it is interrupted."""
    from clearwell.bootstrap import serve as run

    run(project, host, port, say=lambda notice: typer.echo(notice, err=True))
