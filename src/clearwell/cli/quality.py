"""Quality: the tree of scores, the metrics behind it in cross-sections, and the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clearwell.application.telling import cut_as_json, history_as_json, measured_as_json, scores_as_json
from clearwell.cli.options import HERE, AtOption, FormatOption, JsonOption, KnownAtOption, ProjectOption, chosen_format
from clearwell.cli.output import (
    meter,
    print_csv,
    print_json,
    print_table,
    shown_change,
    shown_duration,
    shown_points,
    shown_share,
)
from clearwell.cli.questions import cut_text, shown_money
from clearwell.cli.session import project as opened
from clearwell.errors import UsageError
from clearwell.values.instants import format_instant

if TYPE_CHECKING:
    from pathlib import Path

    from clearwell.application.cutting import CutRequest
    from clearwell.application.evaluating import Point
    from clearwell.application.scoring import ScoreReport
    from clearwell.application.workspace import Workspace
    from clearwell.quality.metrics import Metric
    from clearwell.values.periods import Span

EngineOption = Annotated[
    str,
    typer.Option(
        help="duckdb, or Spark's address (spark://…, sc://…, local[2]), to compute it from the log. Default: from "
        "what is kept."
    ),
]
SqlOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIALECT",
        help="Print the statement behind the figures instead: duckdb, spark, trino, clickhouse, snowflake, "
        "bigquery or postgres.",
    ),
]

_INDENT = {"company": 0, "team": 1, "flow": 2, "account_type": 3}
_NODE_FIELDS = (
    "node", "name", "parent", "currency", "total_money", "uncleared_money", "late_money", "missing_money",
    "missing_estimated", "score", "score_before", "score_change", "lost_money_change",
    "attributed_money", "explained",
)  # fmt: skip
_SHARES = ("timeliness", "clearing", "cleared_on_time")
_SHOWN: dict[str, tuple[str, ...]] = {
    "timeliness": ("event_count", "money", "late_count", "late_money", "timeliness"),
    "lags": ("event_count", "lag_p50_seconds", "lag_p90_seconds", "lag_p99_seconds", "lag_max_seconds"),
    "clearing": ("open_money", "overdue_count", "overdue_money", "due_money", "clearing", "cleared_on_time"),
    "aging": ("open_count", "open_money"),
}
"""The figures that people see; programs get all."""

_TITLES = {
    "timeliness": "Timeliness",
    "lags": "From occurred to recorded",
    "clearing": "Clearing",
    "aging": "Aging of what is overdue",
}


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell quality --period 2026-03 --metric timeliness --by owner --by day")(quality)
    app.command(epilog="Example: clearwell evaluate --period day --since 2026-01-01")(evaluate)
    app.command(epilog="Example: clearwell history --period day --node card_payments --currency EUR")(history)


def quality(
    project: ProjectOption = HERE,
    period: Annotated[
        str,
        typer.Option(help="hour, day, week, month or all, as of the cut; or one, such as 2026-03 or 2026-W12."),
    ] = "month",
    metric: Annotated[
        Literal["score", "timeliness", "lags", "clearing", "aging"],
        typer.Option(help="The score, or what is behind it."),
    ] = "score",
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Tell a metric apart by flow, owner, event_type, account_type, producer, currency, a kind of period, "
            "or a property (`property:NAME` where its name is one of these); repeatable."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="So many values of a property; the rest is one.")] = 20,
    past_due: Annotated[
        list[str] | None,
        typer.Option(help='Where the buckets of aging end, such as "12 hours"; repeatable, the shortest first.'),
    ] = None,
    engine: EngineOption = "",
    sql: SqlOption = None,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
    form: FormatOption = "table",
) -> None:
    """How good the data is: the score of company, teams, flows and account types, and the money that lowers it."""
    from clearwell.application.cutting import CutRequest

    request, chosen = CutRequest(at, known_at), chosen_format(form, as_json=as_json)
    if sql is not None:
        metrics: tuple[Metric, ...] = ("timeliness", "clearing") if metric == "score" else (metric,)
        _print_statements(project, request, [(item, period, tuple(by or ()), top) for item in metrics], sql)
        return
    if metric == "score":
        if by:
            raise UsageError("section_unknown", "--by tells a metric apart: name one with --metric")
        from clearwell.application import scoring

        with opened(project) as workspace:
            _print_scores(workspace, scoring.scores(workspace, request, period, engine), chosen)
        return
    from clearwell.application import measuring

    wanted = measuring.MeasureRequest(metric, period, tuple(by or ()), engine or "duckdb", top, tuple(past_due or ()))
    with opened(project) as workspace:
        _print_rows(workspace, measuring.measure(workspace, request, wanted), metric, chosen)


def _print_statements(
    project: Path, request: CutRequest, wanted: Sequence[tuple[Metric, str, tuple[str, ...], int]], dialect: str
) -> None:
    """The statement of each metric; those of a score are the ones that it is summed from."""
    from clearwell.application import measuring
    from clearwell.quality.dialects import DIALECTS

    known = [item for item in DIALECTS if item == dialect]
    if not known:
        raise UsageError("dialect_unknown", f"--sql: expected one of {', '.join(DIALECTS)}, found {dialect!r}")
    with opened(project) as workspace:
        for metric, period, by, most in wanted:
            asked = measuring.MeasureRequest(metric, period, by, most=most)
            statement = measuring.statement_behind(workspace, request, asked, known[0])
            typer.echo(f"-- {_TITLES[metric]}\n{statement};\n")


def evaluate(
    project: ProjectOption = HERE,
    period: Annotated[Literal["hour", "day", "week", "month"], typer.Option(help="Of which length.")] = "day",
    since: Annotated[str, typer.Option(help="From this period on, such as 2026-01-01. Default: the first.")] = "",
    until: Annotated[str, typer.Option(help="Up to this period. Default: the one of the cut.")] = "",
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
) -> None:
    """Evaluate the scores of many periods at one cut, and keep them: `clearwell history` shows them."""
    from clearwell.application import evaluating, scoring
    from clearwell.application.cutting import CutRequest

    with opened(project) as workspace, scoring.scoring_at(workspace, CutRequest(at, known_at)) as scores:
        work = evaluating.evaluating_at(workspace, scores, period, since, until)
        with meter("periods", len(work.spans)) as progress:
            for count in work.steps():
                progress.advance(count)
        if as_json:
            print_json({"cut": cut_as_json(work.cut), "periods": len(work.spans), "added": work.added})
            return
        typer.echo(f"{len(work.spans):,} periods evaluated, {work.added:,} of them new at this cut.")
        typer.echo(cut_text(work.cut))


def history(
    project: ProjectOption = HERE,
    period: Annotated[Literal["hour", "day", "week", "month"], typer.Option(help="Of which length.")] = "day",
    node: Annotated[str, typer.Option(help="The name of a team, a flow or an account type.")] = "company",
    currency: Annotated[str | None, typer.Option(help="Only in this currency.")] = None,
    last: Annotated[int, typer.Option(min=1, help="At most so many periods, the newest.")] = 60,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compute these periods again from the log. Exit 1 when any differs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The scores that were evaluated, period by period, each with the cut that it is of."""
    from clearwell.application import evaluating

    with opened(project) as workspace:
        points = evaluating.history(workspace, period)[-last:]
        if verify:
            _require_same(workspace, points)
        rows = history_as_json(points, node, currency)
        if as_json:
            print_json(rows)
            return
        headings = [("Period", "left"), ("", "left"), ("Score", "right"), ("", "left")]
        headings += [(name, "right") for name in ("Total", "Uncleared", "Late", "Missing")]
        cells = [[row["period"], row["currency"], *_history_cells(workspace, row)] for row in rows]
        print_table(f"History of {node}, by {period}", headings, cells)


def _require_same(workspace: Workspace, points: Sequence[Point]) -> None:
    """Compute the points again; exit with 1, naming those that are not the same."""
    from clearwell.application import evaluating

    with meter("periods", len(points)) as progress:
        wrong = []
        for point in points:
            if evaluating.compute_again(workspace, point).nodes != point.nodes:
                wrong.append(point.evaluation.period)
            progress.advance(1)
    for name in wrong:
        typer.echo(f"{name}: computed again, the scores are not those that were kept.", err=True)
    if wrong:
        raise typer.Exit(1)


def _history_cells(workspace: Workspace, row: Mapping[str, Any]) -> list[object]:
    return [shown_share(row["score"]), "█" * round(10 * (row["score"] or 0)), *_money_cells(workspace, row)]


def _print_scores(workspace: Workspace, report: ScoreReport, form: str) -> None:
    if form == "json":
        print_json(scores_as_json(report))
        return
    nodes = report.changes
    if form == "csv":
        print_csv(_NODE_FIELDS, [[row[name] for name in _NODE_FIELDS] for row in nodes])
        return
    headings = [("", "left"), ("", "left")] + [
        (name, "right")
        for name in ("Score", "Before", "Change", "Explained", "Total", "Uncleared", "Late", "Missing", "Lost, change")
    ]
    cells = [_cells_with_changes(workspace, row) for row in nodes]
    print_table(f"Quality, {_period_text(report.period)}", headings, cells)
    typer.echo(cut_text(report.cut))
    if any(row["attributed_money"] for row in nodes) and report.explained_at is not None:
        typer.echo(f"Explained by what is attributed to incidents, as known at {format_instant(report.explained_at)}.")


def _cells_with_changes(workspace: Workspace, row: Mapping[str, Any]) -> list[object]:
    """The cells of a node, with what changed: of the score after the score before, of the lost money at the end."""
    cells, lost = _score_cells(workspace, row), row["lost_money_change"]
    money = None if lost is None else shown_money(workspace, abs(lost), row["currency"])
    points = None if row["score_change"] is None else shown_points(abs(row["score_change"]))
    cells.insert(4, shown_change(points, row["score_change"], more_is_better=True))
    return [*cells, shown_change(money, lost, more_is_better=False)]


def _score_cells(workspace: Workspace, row: Mapping[str, Any]) -> list[object]:
    shares = [shown_share(row[name]) for name in ("score", "score_before", "explained")]
    name = "  " * _INDENT[row["node"]] + row["name"]
    return [name, row["currency"], *shares, *_money_cells(workspace, row)]


def _money_cells(workspace: Workspace, row: Mapping[str, Any]) -> list[str]:
    money = [
        shown_money(workspace, row[f"{name}_money"], row["currency"]) if row[f"{name}_money"] else ""
        for name in ("total", "uncleared", "late", "missing")
    ]
    if row["missing_estimated"]:
        money[-1] = f"about {money[-1]}"
    return money


def _print_rows(workspace: Workspace, report: Any, metric: str, form: str) -> None:
    if form == "json":
        print_json(measured_as_json(report, metric))
        return
    names = list(report.rows[0]) if report.rows else []
    if form == "csv":
        print_csv(names, [list(row.values()) for row in report.rows])
        return
    shown = [name for name in names if _is_name(name) or name in _SHOWN[metric]]
    headings = [(_heading(name), "left" if _is_name(name) else "right") for name in shown]
    rows = [[_cell(workspace, name, row) for name in shown] for row in report.rows]
    print_table(f"{_TITLES[metric]}, {_period_text(report.period)}", headings, rows)
    typer.echo(cut_text(report.cut))


def _heading(name: str) -> str:
    return name.replace("_seconds", "").replace("_", " ").capitalize()


def _is_name(name: str) -> bool:
    return not name.endswith(("_count", "money", "_seconds")) and not name.startswith(_SHARES) and name != "is_rest"


def _cell(workspace: Workspace, name: str, row: Mapping[str, Any]) -> object:
    value = row[name]
    if name.startswith(_SHARES):
        return shown_share(value)
    if name.endswith("money"):
        return shown_money(workspace, value, row["currency"])
    if name.endswith("_seconds"):
        return ("-" if value < 0 else "") + shown_duration(abs(value))
    if name.endswith("_count"):
        return f"{value:,}"
    if name == "value" and row["is_rest"]:
        return "(the rest)"
    return value


def _period_text(span: Span) -> str:
    return "all time" if span.start_us is None else span.name
