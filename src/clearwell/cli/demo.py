"""The command that runs the main job on a simulated platform, and holds what it finds against what was planted."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearwell.cli import events, models, questions
from clearwell.cli.output import print_table
from clearwell.cli.questions import shown_money
from clearwell.cli.session import project as opened
from clearwell.cli.simulation import simulate
from clearwell.errors import UsageError
from clearwell.values.accounts import account_name

if TYPE_CHECKING:
    from clearwell.application.workspace import Workspace
    from clearwell.simulation.truth import AccountKey, PlantedFault, Verdict

CUT = "2026-01-12"
"""The end of the simulated week: the books up to then, with what had arrived by then."""

INCIDENTS = (
    "dropped_hour:card_gateway:2026-01-07T18:00Z/2026-01-07T19:00Z",
    "stuck_bank_file:bank_statements.hudson_bank:2026-01-08/2026-01-09/5 days",
)
_SHOWN_WRONG = 5


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(epilog="Example: clearwell demo build/demo")(demo)


def demo(
    folder: Annotated[Path, typer.Argument(help="A folder for the demonstration; must be new.")],
    count: Annotated[int, typer.Option("--events", min=1000, help="About how many events.")] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal worlds.")] = 1,
) -> None:
    """Simulate a platform, ingest it, show what is stuck and whose it is, and hold that against what was planted.

    Exit 1 when planted money is not found, or something is found that was not planted.
    """
    if folder.exists():
        raise UsageError("folder_exists", f"{folder} exists already: name a new folder, or remove it")
    world = folder / "incoming"
    _step("init", str(folder), "--example", "card_platform")
    models.init(folder, example="card_platform")
    incidents = [word for text in INCIDENTS for word in ("--incident", text)]
    _step("simulate", str(world), "--events", str(count), "--seed", str(seed), "--until", CUT, *incidents)
    simulate(str(world), count, seed, until=CUT, incident=list(INCIDENTS))
    _step("ingest", "-p", str(folder), said=f" {world}/*.parquet")
    events.ingest([str(path) for path in sorted(world.glob("*.parquet"))], folder)
    _step("status", "-p", str(folder), "--at", CUT, said="   # how is every flow doing, and who owns it?")
    questions.status(folder, at=CUT)
    words = ("--state", "overdue", "--sort", "money", "--limit", "10")
    _step("open", "-p", str(folder), "--at", CUT, *words, said="   # which money is stuck?")
    questions.open_accounts(folder, state="overdue", sort="money", limit=10, at=CUT)
    _tell_a_story(folder)
    _hold_against(folder, world / "faults.ndjson")


def _step(*words: str, said: str = "") -> None:
    typer.secho(f"\n$ {shlex.join(['clearwell', *words])}{said}", bold=True)


def _tell_a_story(folder: Path) -> None:
    from clearwell.application import cutting
    from clearwell.application import questions as asked

    wanted = asked.OpenFilter(account_type="charge_undisbursed", state="overdue", sort="money", limit=1)
    with opened(folder) as workspace:
        report = asked.open_accounts(workspace, cutting.CutRequest(at=CUT), wanted)
    for account in report.accounts:
        charge = f"charge={account['properties']['charge']}"
        _step("trace", "-p", str(folder), charge, "--at", CUT, said="   # the story of one stuck charge")
        questions.trace([charge], folder, at=CUT)


def _hold_against(folder: Path, truth: Path) -> None:
    """Compare the overdue accounts with the planted faults. Raises typer.Exit(1) unless they are the same."""
    from clearwell.application import cutting
    from clearwell.application import questions as asked
    from clearwell.simulation.truth import Books, judge, read_faults

    request = cutting.CutRequest(at=CUT)
    with opened(folder) as workspace:
        with cutting.books_at(workspace, request) as books:
            # All that had arrived by the cut has been ingested, and nothing else.
            at = Books(books.cut.effective_at, books.cut.effective_at, books.model, books.time_zone)
        report = asked.open_accounts(workspace, request, asked.OpenFilter(state="overdue"))
        found = {
            (account_name(row["account_type"], row["properties"]), row["currency"]): int(row["balance"])
            for row in report.accounts
        }
        verdict = judge(read_faults(truth), at, found)
        typer.secho(f"\nWhat was planted ({truth}), and what `open` finds", bold=True)
        _print_counts(workspace, verdict, found)
        _print_examples(workspace, verdict, found)
    _print_verdict(verdict)
    every = folder / "planted_and_found.csv"
    _write_every(every, verdict, found)
    typer.echo(f"Each planted fault beside its finding: {every}")
    if not verdict.holds:
        raise typer.Exit(1)


def _print_counts(workspace: Workspace, verdict: Verdict, found: Mapping[AccountKey, int]) -> None:
    """A row per kind of fault and incident, with the planted money that must be found, by currency."""
    every = [*verdict.over, *verdict.not_due, *verdict.overdue]
    currencies = sorted({fault.currency for fault in verdict.overdue} | {currency for _, currency in found})
    counted = ("Planted", "Healed", "Not due", "Overdue", "Found")
    headings = [("Planted fault: accounts", "left"), *((name, "right") for name in (*counted, *currencies))]

    def row(name: str, chosen: set[str]) -> list[object]:
        parts = [
            [fault for fault in part if _cause(fault) in chosen] for part in (every, verdict.over, verdict.not_due)
        ]
        overdue = [fault for fault in verdict.overdue if _cause(fault) in chosen]
        hits = sum(fault.key in verdict.found for fault in overdue)
        money = _money(workspace, currencies, ((fault.currency, fault.amount_minor) for fault in overdue))
        return [name, *(f"{len(part):,}" for part in parts), f"{len(overdue):,}", f"{hits:,}", *money]

    causes = sorted({_cause(fault) for fault in every}, key=lambda cause: (":" in cause, cause))
    rows = [row(cause, {cause}) for cause in causes]
    rows.append(row("all that was planted", set(causes)))
    money = _money(workspace, currencies, ((currency, amount) for (_, currency), amount in found.items()))
    rows.append(["all that `open` finds overdue", "", "", "", "", f"{len(found):,}", *money])
    print_table("", headings, rows)


def _print_examples(workspace: Workspace, verdict: Verdict, found: Mapping[AccountKey, int]) -> None:
    """For each kind of fault and incident the account with the most money, beside its row of `open`."""
    largest: dict[str, PlantedFault] = {}
    for fault in sorted(verdict.overdue, key=lambda fault: (-abs(fault.amount_minor), fault.account)):
        largest.setdefault(_cause(fault).partition(":")[0], fault)
    headings = [("Planted fault: one of them", "left"), ("Account", "left"), ("", "left")]
    headings += [("Planted", "right"), ("Found", "right")]
    rows = []
    for kind, fault in sorted(largest.items()):
        money = found.get(fault.key)
        shown = "nothing" if money is None else shown_money(workspace, money, fault.currency)
        planted = shown_money(workspace, fault.amount_minor, fault.currency)
        rows.append([kind, fault.account, fault.currency, planted, shown])
    print_table("", headings, rows)


def _print_verdict(verdict: Verdict) -> None:
    missed, unexplained = verdict.missed, verdict.unexplained
    typer.echo(
        f"{len(verdict.overdue) - len(missed):,} of {len(verdict.overdue):,} planted are found, to the last cent."
    )
    for fault in missed[:_SHOWN_WRONG]:
        typer.echo(
            f"  not found: {fault.kind}, {fault.account}: {fault.amount_minor:,} {fault.currency} in minor units"
        )
    typer.echo(f"{len(unexplained):,} findings that no planted fault explains.")
    for (account, currency), amount in list(unexplained.items())[:_SHOWN_WRONG]:
        typer.echo(f"  not planted: {account}: {amount:,} {currency} in minor units")


def _write_every(path: Path, verdict: Verdict, found: Mapping[AccountKey, int]) -> None:
    """A line per planted fault: what it left where, in minor units, and what is found there overdue."""
    parts = {"overdue": verdict.overdue, "not due": verdict.not_due, "healed": verdict.over}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "incident", "account", "currency", "state", "planted_minor", "found_minor"])
        for state, faults in parts.items():
            for fault in faults:
                row = [fault.kind, fault.incident, fault.account, fault.currency, state, fault.amount_minor]
                writer.writerow([*row, found.get(fault.key)])


def _cause(fault: PlantedFault) -> str:
    return fault.incident or fault.kind


def _money(workspace: Workspace, currencies: list[str], amounts: Iterable[tuple[str, int]]) -> list[object]:
    """The sums of the amounts, whatever their signs, in the order of `currencies`."""
    sums = Counter[str]()
    for currency, amount in amounts:
        sums[currency] += abs(amount)
    return [shown_money(workspace, sums[currency], currency) if sums[currency] else "" for currency in currencies]
