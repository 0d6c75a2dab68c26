"""The `clearwell` command: puts the commands together, and turns errors into messages and exit codes.

0 done · 1 the data or the model has problems · 2 wrong use · 3 our failure.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback

import typer

from clearwell import __version__
from clearwell.cli import (
    access,
    backups,
    completeness,
    demo,
    events,
    evidence,
    expectations,
    incidents,
    models,
    personal,
    proof,
    quality,
    quarantine,
    questions,
    serving,
    simulation,
)
from clearwell.errors import ClearwellError, DataError, UsageError

_ALLOCATIONS = 100_000
"""After so many, Python looks for garbage. By default it looks 200 times while libraries are imported, for 0.07 s."""

DONE, PROBLEMS, WRONG_USE, FAILURE, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="clearwell",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Know that your money is right: an immutable double-entry record of money movement, and what is stuck in it.",
    epilog="Start with: clearwell init shop && cd shop && clearwell ingest events/first.ndjson && clearwell status",
)
models.add_to(app)
events.add_to(app)
questions.add_to(app)
quality.add_to(app)
expectations.add_to(app)
completeness.add_to(app)
app.add_typer(incidents.app, name="incident")
app.add_typer(quarantine.app, name="quarantine")
personal.add_to(app)
proof.add_to(app)
backups.add_to(app)
simulation.add_to(app)
evidence.add_to(app)
demo.add_to(app)
serving.add_to(app)
access.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clearwell {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    pass


def run() -> None:
    """Run the command line of this process, and leave with its exit code."""
    gc.set_threshold(_ALLOCATIONS)
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        _require_text(arguments)
        result = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        message = getattr(error, "format_message", error.__str__)()  # It names the option.
        if message:
            print(f"{message}\nTry `clearwell --help`, or `--help` after a command.", file=sys.stderr)
        return WRONG_USE
    except ClearwellError as error:
        _tell(error, as_json="--json" in arguments)
        return _exit_code(error)
    except KeyboardInterrupt:
        print("Interrupted; what was acknowledged is kept, and the command can be repeated.", file=sys.stderr)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # The latter is what Typer makes of the former.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        print(f"clearwell failed, and this is its mistake: {type(error).__name__}: {error}", file=sys.stderr)
        if os.environ.get("CLEARWELL_DEBUG"):
            traceback.print_exc()
        else:
            print("Set CLEARWELL_DEBUG=1 to see where.", file=sys.stderr)
        return FAILURE
    return result if isinstance(result, int) else DONE


def _require_text(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UsageError("argument_not_text", f"expected arguments in UTF-8, found {argument!a}") from error


def _exit_code(error: ClearwellError) -> int:
    if isinstance(error, UsageError):
        return WRONG_USE
    return PROBLEMS if isinstance(error, DataError) else FAILURE


def _tell(error: ClearwellError, *, as_json: bool) -> None:
    if as_json:
        content = {"code": error.code, "message": error.message, "details": error.details}
        print(json.dumps({"error": content}, ensure_ascii=False), file=sys.stderr)
        return
    print(f"{error.message} [{error.code}]", file=sys.stderr)
    for detail in error.details:
        print(f"  {detail}", file=sys.stderr)
