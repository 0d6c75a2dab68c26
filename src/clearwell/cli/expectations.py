"""What history teaches: learned windows beside the declared ones, and arrivals that are not as expected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clearwell.application.telling import arrivals_as_json, expectations_as_json
from clearwell.cli.options import HERE, AtOption, JsonOption, KnownAtOption, ProjectOption
from clearwell.cli.output import print_json, print_table, shown_duration, shown_instant, shown_share
from clearwell.cli.questions import cut_text
from clearwell.cli.session import project as opened

if TYPE_CHECKING:
    from clearwell.application.arriving import ArrivalsReport
    from clearwell.application.expecting import Expectation, ExpectationsReport
    from clearwell.quality.expectations.arrivals import ArrivalFinding, JudgedArrivals
    from clearwell.quality.expectations.windows import Curve

_STATES = {"too_few_episodes": "too few episodes", "not_enough_cleared": "not enough cleared"}
_WARNINGS = {
    "window_too_long": "the window is more than 5 times as long as the learned one",
    "window_too_short": "the window calls more than 5 % of the episodes overdue that clear all the same",
}
_METHODS = {
    "no_judgement": "none: too little history",
    "seasonal_median": "the usual of the week, wide",
    "forecast": "forecast",
}
_BARS = " ▁▂▃▄▅▆▇█"
_STEPS = 16


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell expectations --account-type charge_undisbursed --plot windows.svg")(
        expectations
    )
    app.command(epilog="Example: clearwell arrivals --bucket day --days 30 --fail")(arrivals)


def expectations(
    project: ProjectOption = HERE,
    account_type: Annotated[str, typer.Option("--account-type", "-t", help="Only this account type.")] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Put the windows of account types that declare `learned` in force.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw how episodes clear, as SVG, in this file.")] = None,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
) -> None:
    """Clearing windows learned from history, beside the declared ones, and how episodes fared against these."""
    from clearwell.application import expecting
    from clearwell.application.cutting import CutRequest

    learn = expecting.accept if accept else expecting.expectations
    with opened(project) as workspace:
        report = learn(workspace, CutRequest(at, known_at), account_type)
    if plot is not None:
        from clearwell.cli.curves import draw_curves

        draw_curves(report, plot)
    if as_json:
        print_json(expectations_as_json(report))
    else:
        _print_report(report)


def _print_report(report: ExpectationsReport) -> None:
    names = [f"{float(100 * share):g}" for share in _shares(report)]
    columns = [(name, "left") for name in ("Account type", "Of which", "Window")]
    columns += [(name, "right") for name in ("Episodes", "Open", *(f"{name} %" for name in names), "Learned")]
    columns += [("Beyond", "right"), ("Still open", "left")]
    print_table("Windows: declared, and learned from history", columns, [_cells(item) for item in report.expectations])
    for item in report.expectations:
        if item.warning:
            typer.echo(f"{_name(item)}: {_WARNINGS[item.warning]}.")
    for row in report.accepted:
        typer.echo(f"In force from {report.accepted_at} on: {row.account_type} clears within {row.seconds:,} seconds.")
    for part in report.accepted_subdivisions:
        name = f"{part.account_type}, {part.property_name}={part.value}"
        typer.echo(f"In force from {report.accepted_at} on: {name} clears within {part.seconds:,} seconds.")
    typer.echo(cut_text(report.cut))


def _shares(report: ExpectationsReport) -> list[Any]:
    return list(report.expectations[0].fitted.quantiles) if report.expectations else []


def _cells(item: Expectation) -> list[object]:
    fitted = item.fitted
    declared = str(item.account_type.clears_within)
    whole = not item.subdivided_by
    if item.accepted_seconds is not None:
        declared = f"{declared}: {shown_duration(item.accepted_seconds)}"
    elif not whole:
        declared = ""
    return [
        item.account_type.name if whole else "",
        "" if whole else f"{item.subdivided_by}={fitted.value}" if fitted.value is not None else "the rest",
        declared,
        f"{fitted.episode_count:,}",
        f"{fitted.open_count:,}",
        *(_duration(seconds) for seconds in fitted.quantiles.values()),
        _STATES.get(fitted.state) or _duration(fitted.seconds),
        shown_share(item.held.beyond),
        _bars(fitted.curve, fitted.quantiles),
    ]


def _duration(seconds: int | None) -> str:
    return "–" if seconds is None else shown_duration(seconds)


def _bars(curve: Curve, quantiles: Any) -> str:
    """The share still open, at even steps up to twice the time by which nine of ten had cleared."""
    reached = [seconds for share, seconds in quantiles.items() if seconds is not None and share <= 0.9]
    if not reached or not max(reached):
        return ""
    end = 2 * max(reached)
    return "".join(_BARS[round(curve.after(end * step / _STEPS) * (len(_BARS) - 1))] for step in range(_STEPS)).rstrip()


def _name(item: Expectation) -> str:
    if not item.subdivided_by:
        return item.account_type.name
    return f"{item.account_type.name}, {_cells(item)[1]}"


def arrivals(
    project: ProjectOption = HERE,
    bucket: Annotated[Literal["hour", "day"], typer.Option(help="Judge by the hour, or by the local day.")] = "hour",
    days: Annotated[int, typer.Option(min=1, max=366, help="Judge so many days before the cut.")] = 7,
    event_type: Annotated[str, typer.Option("--event-type", help="Only this event type.")] = "",
    account_type: Annotated[
        str, typer.Option("--account-type", "-t", help="Only the events that move money into this account type.")
    ] = "",
    fail: Annotated[bool, typer.Option("--fail", help="Exit 1 when something is found.")] = False,
    at: AtOption = "",
    known_at: KnownAtOption = "",
    as_json: JsonOption = False,
) -> None:
    """Hours or days with too few events, too many, late ones, or none, against what history lets one expect.

    Of every event type, and of what moves money into every account type.
    """
    from clearwell.application import arriving
    from clearwell.application.cutting import CutRequest

    with opened(project) as workspace:
        report = arriving.arrivals(
            workspace, CutRequest(at, known_at), bucket, days, event_type=event_type, account_type=account_type
        )
    if as_json:
        print_json(arrivals_as_json(report))
    else:
        _print_arrivals(report)
    if fail and report.findings:
        raise typer.Exit(1)


def _subject(item: ArrivalFinding | JudgedArrivals) -> tuple[str, str]:
    return item.subject_kind.replace("_", " "), item.subject


def _print_arrivals(report: ArrivalsReport) -> None:
    unit = report.rules.bucket
    found = [
        (
            item.kind.replace("_", " "),
            *_subject(item),
            shown_instant(item.start),
            shown_instant(item.end),
            f"{item.bucket_count:,}",
            f"{item.count:,}",
            f"{item.on_time_count:,}",
            f"{item.expected:,.1f}",
            f"{item.lowest:,} to {item.highest:,}",
        )
        for item in report.findings
    ]
    columns = [(name, "left") for name in ("Finding", "Of", "Name", "From", "Until")]
    columns += [
        (name, "right") for name in (f"{unit}s".capitalize(), "Events", "In time", "Expected", f"In one {unit}")
    ]
    print_table(f"{len(found):,} finding(s)", columns, found)
    judged = [
        (
            *_subject(item),
            _METHODS[item.method],
            f"{item.history_buckets:,}",
            f"{item.judged_buckets:,}",
            f"{item.count:,}" if item.judged_buckets else "",
            f"{item.expected:,.1f}" if item.judged_buckets else "",
            _duration(item.lag_limit_seconds),
            f"{len(item.findings):,}",
        )
        for item in report.subjects
    ]
    columns = [(name, "left") for name in ("Of", "Name", "Judged by")]
    headings = (f"{unit.capitalize()}s of history", "Judged", "Events", "Expected", "Late after", "Findings")
    columns += [(name, "right") for name in headings]
    print_table("What was judged", columns, judged)
    typer.echo(cut_text(report.cut))
