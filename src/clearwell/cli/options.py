"""The options that several commands share, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Format = Literal["table", "json", "csv"]

ProjectOption = Annotated[
    Path,
    typer.Option("--project", "-p", envvar="CLEARWELL_PROJECT", help="The project's folder.", show_default="here"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
FormatOption = Annotated[Format, typer.Option("--format", help="table, json or csv.")]
AtOption = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="INSTANT",
        help="The books up to this effective time (ISO 8601 with an offset, or a day). Default: now.",
    ),
]
KnownAtOption = Annotated[
    str,
    typer.Option(
        "--known-at",
        metavar="INSTANT|SEQUENCE",
        help="As known at this recorded time, or with this many events. Default: all that is known.",
    ),
]
HERE = Path()


def chosen_format(chosen: Format, *, as_json: bool) -> Format:
    """`--json` is short for `--format json`."""
    return "json" if as_json else chosen
