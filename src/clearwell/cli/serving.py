"""`clearwell serve`: runs the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clearwell.cli.options import HERE, ProjectOption


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    epilog = "Example: clearwell serve --port 8080"
    app.command(epilog=epilog)(serve)


def serve(
    project: ProjectOption = HERE,
    host: Annotated[str, typer.Option(help="The address; beyond this machine only with TLS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 for any that is free.")] = 8080,
    log_format: Annotated[Literal["json", "text"], typer.Option(help="The form of the log.")] = "text",
    tls_certificate: Annotated[Path | None, typer.Option(help="The certificate, in PEM, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, in PEM.")] = None,
    insecure_behind_proxy: Annotated[
        bool, typer.Option("--insecure-behind-proxy", help="A proxy in front has TLS: serve without, at any address.")
    ] = False,
) -> None:
    """Run the service: producers publish to it, programs and people ask it, until it is interrupted.

    SIGTERM or Ctrl+C stops it when what is under way is answered; a second one at once.
    """
    from clearwell.bootstrap import serve as run
    from clearwell.service.serving import ServeOptions

    options = ServeOptions(host, port, log_format, tls_certificate, tls_key, insecure_behind_proxy)
    run(project, options, say=lambda notice: typer.echo(notice, err=True))
