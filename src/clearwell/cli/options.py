"""The options that several commands share, and how they are read."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from clearwell.errors import UsageError
from clearwell.values.instants import parse_cut_instant

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


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping. Raises typer.BadParameter for a text that is none, and for a repeated name."""
    found: dict[str, str] = {}
    for text in texts or []:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise typer.BadParameter(f"expected NAME=VALUE such as charge=ch_1, found {text!r}", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"expected each NAME once, found {name} again in {text!r}", param_hint=option)
        found[name] = value
    return found


def instant_of(text: str, option: str) -> datetime | None:
    """The instant or day that `text` says; None when it is empty. Raises UsageError when it is neither."""
    try:
        return parse_cut_instant(text) if text else None
    except ValueError as error:
        raise UsageError("instant_unreadable", f"{option}: {error}") from error
