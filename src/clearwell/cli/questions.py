"""The questions: status, open, trace, balance, query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clearwell.application.asked_texts import instant_of, pairs, seconds_of
from clearwell.application.telling import cut_as_json, trace_as_json
from clearwell.cli.options import (
    HERE,
    AtOption,
    FormatOption,
    JsonOption,
    KnownAtOption,
    ProjectOption,
    chosen_format,
)
from clearwell.cli.output import (
    print_csv,
    print_json,
    print_json_rows,
    print_table,
    shown_duration,
    shown_instant,
    shown_share,
)
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError
from clearwell.values.accounts import account_name
from clearwell.values.instants import format_instant

if TYPE_CHECKING:
    from clearwell.application.tracing import Trace
    from clearwell.application.workspace import Workspace
    from clearwell.values.cuts import Cut

_SHOWN_ROWS = 50
_MONEY: dict[str, Any] = {"min": 0, "max": 10**30}
_TRACE_FIELDS = (
    "step", "sequence", "flow", "type", "producer", "id", "effective_at", "occurred_at", "recorded_at",
    "properties", "amounts", "entries",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell status --at 2026-01-31T23:59:59Z")(status)
    app.command("open", epilog="Example: clearwell open --state overdue --owner treasury --sort money --limit 20")(
        open_accounts
    )
    app.command(epilog="Example: clearwell trace charge=ch_1 --steps 2, or: clearwell trace --event charges/evt_1")(
        trace
    )
    app.command(epilog="Example: clearwell balance business_balance business=acct_A --at 2026-02-01")(balance)
    app.command(epilog='Example: clearwell query "SELECT type, count(*) FROM events GROUP BY type"')(query)


def status(
    project: ProjectOption = HERE,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """Per flow and account type: what is open, in flight and overdue, and the share of due money that is cleared."""
    from clearwell.application import cutting, questions

    with opened(project) as workspace:
        report = questions.status(workspace, cutting.CutRequest(at, known_at))
        rows = report.account_types
        match chosen_format(form, as_json=as_json):
            case "json":
                print_json({"cut": cut_as_json(report.cut), "account_types": rows})
            case "csv":
                print_csv(questions.STATUS_FIELDS, _in_order(questions.STATUS_FIELDS, rows))
            case _:
                _print_status(workspace, report.cut, rows)


def _print_status(workspace: Workspace, cut: Cut, rows: Sequence[dict[str, Any]]) -> None:
    headings = [(name, "left") for name in ("Flow", "Account type", "Owner", "")] + [
        (name, "right") for name in ("Open", "Open money", "In flight", "Overdue", "Overdue money", "Due", "Cleared")
    ]

    def cells(row: dict[str, Any]) -> list[object]:
        currency = row["currency"]
        first = [row["flow"], row["account_type"], row["owner"], currency or ""]
        if currency is None:
            return [*first, *["–"] * 7]
        money = {name: shown_money(workspace, row[name], currency) for name in row if name.endswith("_money")}
        if row["kind"] == "reservoir":
            return [*first, f"{row['open_count']:,}", money["open_money"], *[""] * 5]
        return [
            *first,
            f"{row['open_count']:,}",
            money["open_money"],
            money["in_flight_money"],
            f"{row['overdue_count']:,}",
            money["overdue_money"],
            money["due_money"],
            shown_share(row["clearing"]),
        ]

    for kind, title in (
        ("clearing", "Clearing accounts: must return to zero"),
        ("reservoir", "Reservoirs: hold balances"),
    ):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            columns = headings if kind == "clearing" else headings[:6]
            print_table(title, columns, [cells(row)[: len(columns)] for row in chosen])
    typer.echo(cut_text(cut))


_OPEN_HEADINGS = [
    ("Account", "left"), ("Owner", "left"), ("", "left"), ("Balance", "right"), ("Came in", "right"),
    ("Open since", "left"), ("Age", "right"), ("State", "left"), ("Entries", "right"),
]  # fmt: skip


def open_accounts(
    project: ProjectOption = HERE,
    flow: Annotated[str | None, typer.Option(help="Only accounts that this flow owns.")] = None,
    account_type: Annotated[str | None, typer.Option("--account-type", "-t", help="Only this account type.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only accounts of this team.")] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=VALUE", help="Only with this property; repeatable."),
    ] = None,
    state: Annotated[Literal["in_flight", "overdue"] | None, typer.Option(help="Only in this state.")] = None,
    currency: Annotated[str | None, typer.Option(help="Only in this currency.")] = None,
    older_than: Annotated[str | None, typer.Option(help='Only open for longer, e.g. "3 days".')] = None,
    opened_from: Annotated[str, typer.Option(metavar="INSTANT", help="Only opened at or after it.")] = "",
    opened_until: Annotated[str, typer.Option(metavar="INSTANT", help="Only opened before it.")] = "",
    min_money: Annotated[int | None, typer.Option(**_MONEY, help="Only at least so much, in minor units.")] = None,
    max_money: Annotated[int | None, typer.Option(**_MONEY, help="Only at most so much, in minor units.")] = None,
    sort: Annotated[Literal["age", "money", "turnover", "account"], typer.Option(help="The order.")] = "age",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many. Default: 50 in a table, else all.")] = None,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """The clearing question: which clearing accounts have a non-zero balance?"""
    from clearwell.application import cutting, questions

    chosen = chosen_format(form, as_json=as_json)
    wanted = questions.OpenFilter(
        flow=flow,
        account_type=account_type,
        owner=owner,
        properties=pairs(properties, "--property"),
        state=state,
        currency=currency,
        older_than_seconds=seconds_of(older_than or "", "--older-than"),
        opened_from=instant_of(opened_from, "--opened-from"),
        opened_until=instant_of(opened_until, "--opened-until"),
        least_money=min_money,
        most_money=max_money,
        sort=sort,
        limit=limit or (_SHOWN_ROWS if chosen == "table" else None),
    )
    with opened(project) as workspace:
        report = questions.open_accounts(workspace, cutting.CutRequest(at, known_at), wanted)
        if chosen == "json":
            print_json_rows(report.accounts)
        elif chosen == "csv":
            print_csv(questions.OPEN_FIELDS, _in_order(questions.OPEN_FIELDS, report.accounts))
        else:
            rows = [_open_row(workspace, report.owners, row) for row in report.accounts]
            print_table(f"{report.total:,} open account(s)", _OPEN_HEADINGS, rows)
            if report.total > len(report.accounts):
                typer.echo(f"… and {report.total - len(report.accounts):,} more: use --limit, or filter.")
            typer.echo(cut_text(report.cut))


def _open_row(workspace: Workspace, owners: Mapping[str, str], row: dict[str, Any]) -> list[object]:
    return [
        account_name(row["account_type"], row["properties"]),
        owners[row["account_type"]],
        row["currency"],
        shown_money(workspace, row["balance"], row["currency"]),
        shown_money(workspace, row["turnover"], row["currency"]),
        shown_instant(row["opened_at"]),
        shown_duration(row["age_seconds"]),
        row["state"].replace("_", " "),
        row["entry_count"],
    ]


def trace(
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Property values to follow.")
    ] = None,
    project: ProjectOption = HERE,
    event: Annotated[
        str, typer.Option(metavar="PRODUCER/ID", help="Instead: this event; or #SEQUENCE, its place in the log.")
    ] = "",
    steps: Annotated[int, typer.Option(min=1, max=10, help="1: what carries the values; more: what these touch.")] = 1,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """Every event and account that a property value, or an event, touches, as a time line."""
    from clearwell.application import cutting, tracing

    with opened(project) as workspace:
        found = tracing.trace(workspace, cutting.CutRequest(at, known_at), pairs(values, "NAME=VALUE"), steps, event)
        match chosen_format(form, as_json=as_json):
            case "json":
                print_json(trace_as_json(found))
            case "csv":
                print_csv(_TRACE_FIELDS, _in_order(_TRACE_FIELDS, found.events))
            case _:
                _print_trace(workspace, found)


def _print_trace(workspace: Workspace, found: Trace) -> None:
    typer.echo(f"{len(found.events):,} event(s), by effective time:\n")
    before: datetime | None = None
    for event in sorted(found.events, key=lambda item: (item["effective_at"], item["sequence"])):
        instant = event["effective_at"]
        gap = f"  (+{shown_duration(int((instant - before).total_seconds()))})" if before else ""
        before = instant
        origin = f"[{event['producer']}, #{event['sequence']}]"
        typer.echo(f"{shown_instant(instant)}  {event['type']}  {event['id']}  {origin}{gap}")
        for entry in event["entries"]:
            amount = shown_money(workspace, entry["amount"], entry["currency"])
            name = account_name(entry["account_type"], entry["properties"])
            typer.echo(f"    {amount:>18} {entry['currency']}  {name}")
    if found.accounts:
        headings = [
            ("Account", "left"),
            ("Owner", "left"),
            ("", "left"),
            ("Moved", "right"),
            ("Left standing", "right"),
        ]
        headings.append(("Since", "left"))
        print_table("\nAccounts touched", headings, [_trace_row(workspace, row) for row in found.accounts])
    if found.truncated:
        typer.echo(f"Not everything: {found.truncated}.")
    typer.echo(cut_text(found.cut))


def _trace_row(workspace: Workspace, row: dict[str, Any]) -> list[object]:
    currency, balance = row["currency"], row["balance"]
    return [
        account_name(row["account_type"], row["properties"]),
        row["owner"],
        currency,
        shown_money(workspace, row["moved"], currency),
        "" if balance is None else "cleared" if balance == 0 else shown_money(workspace, balance, currency),
        shown_instant(row["opened_at"]) if row["opened_at"] else "",
    ]


def balance(
    account_type: Annotated[str, typer.Argument(help="The account type.")],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Its properties, or some.")
    ] = None,
    project: ProjectOption = HERE,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """The balances of the accounts of a type, per currency."""
    from clearwell.application import cutting, questions

    with opened(project) as workspace:
        request = cutting.CutRequest(at, known_at)
        cut, rows = questions.balances(workspace, request, account_type, pairs(values, "NAME=VALUE"))
        match chosen_format(form, as_json=as_json):
            case "json":
                print_json({"cut": cut_as_json(cut), "balances": rows})
            case "csv":
                print_csv(questions.BALANCE_FIELDS, _in_order(questions.BALANCE_FIELDS, rows))
            case _:
                headings = [("Account", "left"), ("", "left"), ("Balance", "right"), ("Entries", "right")]
                shown = [
                    (
                        account_name(row["account_type"], row["properties"]),
                        row["currency"],
                        shown_money(workspace, row["balance"], row["currency"]),
                        row["entry_count"],
                    )
                    for row in rows[:_SHOWN_ROWS]
                ]
                print_table(f"{len(rows):,} balance(s)", headings, shown)
                if len(rows) > _SHOWN_ROWS:
                    typer.echo(f"… and {len(rows) - _SHOWN_ROWS:,} more: name properties, or use --format csv.")
                typer.echo(cut_text(cut))


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT (DuckDB's SQL) over the views.")],
    project: ProjectOption = HERE,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """Read-only SQL over the views events, entries, open_accounts, episodes, balances and segments, as of a cut."""
    from clearwell.application import cutting, querying

    request = cutting.CutRequest(at, known_at)
    with opened(project) as workspace, querying.query(workspace, request, sql) as answer:
        match chosen_format(form, as_json=as_json):
            case "json":
                _require_distinct(answer.columns)
                print_json_rows(dict(zip(answer.columns, row, strict=True)) for row in answer.rows)
            case "csv":
                print_csv(answer.columns, answer.rows)
            case _:
                rows = list(answer.rows)
                headings = [
                    (name, "right" if rows and isinstance(rows[0][place], (int, float)) else "left")
                    for place, name in enumerate(answer.columns)
                ]
                print_table("", headings, rows)


def cut_text(cut: Cut) -> str:
    """The cut in words."""
    return (
        f"Books up to {format_instant(cut.effective_at)}, as known at {format_instant(cut.recorded_at)} "
        f"(sequence {cut.sequence:,})."
    )


def shown_money(workspace: Workspace, amount_minor: int, currency: str) -> str:
    """An amount in the currency's major unit; in minor units when the project declares the currency no longer."""
    if currency not in workspace.currencies:
        return f"{int(amount_minor):,} minor units"
    return workspace.currencies.format_minor(int(amount_minor), currency)


def _in_order(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return [[row[name] for name in names] for row in rows]


def _require_distinct(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        found = f"found {', '.join(repeated)} more than once: rename with AS"
        raise UsageError("query_columns_repeated", f"expected columns of different names for JSON, {found}")
