"""Turns runs into the report: medians, what is reached, ratios to what stands beside, growth; as tables or JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from figures import MEMORY_GOAL_BYTES, MEMORY_MUST_BYTES, Figure, memory_reached

Result = dict[str, Any]
_COLOURS = {"goal": "green", "must": "yellow", "no": "red", "": ""}


def result(figure: Figure, events: int, revision: str, runs: Sequence[Mapping[str, Any]]) -> Result:
    """One figure at one size: the median of its runs, and the most memory that any of them took."""
    values = [run["values"][figure.name] for run in runs]
    median = statistics.median(values)
    cpu = [run["cpu_seconds"] for run in runs]
    memory = max((run["memory_bytes"] for run in runs if run["memory_bytes"]), default=0)
    per_event = runs[-1]["details"].get("bytes_per_event")
    return {
        "name": figure.name,
        "what": figure.what,
        "unit": figure.unit,
        "events": events,
        "revision": revision,
        "median": median,
        "runs": values,
        "cpu_seconds": cpu,
        "memory_bytes": memory or None,
        "bytes_per_event": median if figure.unit == "bytes/event" else per_event,
        "must": figure.must,
        "goal": figure.goal,
        "reached": figure.reached(median),
        "memory_reached": memory_reached(memory) if memory and figure.of_clearwell else "",
        "details": [run["details"] for run in runs],
    }


def memory_result(figures: Sequence[Figure], results: Sequence[Result]) -> list[Result]:
    """The most memory that any figure of Clearwell took, per size and revision: a line of its own."""
    own = {figure.name for figure in figures if figure.of_clearwell}
    most: dict[tuple[int, str], Result] = {}
    for item in results:
        key = (item["asked_events"], item["revision"])
        if item["name"] in own and (item["memory_bytes"] or 0) > (most[key]["memory_bytes"] if key in most else 0):
            most[key] = item
    return [
        {
            "name": "memory", "what": f"the most memory, taken by {item['name']}", "unit": "GiB",
            "events": events, "asked_events": events, "revision": revision, "median": item["memory_bytes"] / (1 << 30),
            "runs": [], "cpu_seconds": [], "memory_bytes": item["memory_bytes"], "bytes_per_event": None,
            "must": MEMORY_MUST_BYTES / (1 << 30), "goal": MEMORY_GOAL_BYTES / (1 << 30),
            "reached": memory_reached(item["memory_bytes"]), "memory_reached": "", "details": [],
        }
        for (events, revision), item in most.items()
    ]  # fmt: skip


def growth(figures: Sequence[Figure], results: Sequence[Result]) -> list[Result]:
    """Per figure and revision, the value at the largest size against that at the smallest."""
    found = []
    for revision in dict.fromkeys(item["revision"] for item in results):
        for figure in figures:
            own = [item for item in results if item["name"] == figure.name and item["revision"] == revision]
            sizes = {item["events"]: item["median"] for item in own}
            if len(sizes) < 2 or not sizes[min(sizes)]:
                continue
            ratio = sizes[max(sizes)] / sizes[min(sizes)]
            within = None if figure.growth_must is None else ratio <= figure.growth_must
            found.append(
                {
                    "name": figure.name, "revision": revision, "smallest": min(sizes), "largest": max(sizes),
                    "ratio": ratio, "must": figure.growth_must, "reached": within,
                }
            )  # fmt: skip
    return found


def beside(figures: Sequence[Figure], results: Sequence[Result]) -> list[Result]:
    """How many times as good Clearwell is as what users would pick instead, or as a limit; above 1 is better."""
    known = {(item["name"], item["asked_events"], item["revision"]): item for item in results}
    found = []
    for figure in (figure for figure in figures if figure.beside):
        for (name, events, revision), item in known.items():
            ours = known.get((figure.beside, events, revision))
            if name == figure.name and ours is not None:
                times = ours["median"] / item["median"]
                found.append(
                    {
                        "name": figure.beside, "beside": name, "events": events, "measured_at": item["events"],
                        "revision": revision, "times_as_good": times if figure.better == "more" else 1 / times,
                    }
                )  # fmt: skip
    return found


def against(figures: Sequence[Figure], results: Sequence[Result], revisions: tuple[str, str]) -> list[Result]:
    """Per figure and size: both medians, and the first's as a multiple of the second's, on the wall and in CPU."""
    known = {(item["name"], item["asked_events"], item["revision"]): item for item in results}
    found = []
    for figure in figures:
        for events in dict.fromkeys(item["asked_events"] for item in results):
            pair = [known.get((figure.name, events, revision)) for revision in revisions]
            if pair[0] is None or pair[1] is None:
                continue
            cpu = [_median(item["cpu_seconds"]) for item in pair if item]
            found.append(
                {
                    "name": figure.name, "unit": figure.unit, "events": events, "better": figure.better,
                    "medians": [pair[0]["median"], pair[1]["median"]],
                    "ratio": pair[0]["median"] / pair[1]["median"],
                    "cpu_ratio": cpu[0] / cpu[1] if cpu[0] and cpu[1] else None,
                }
            )  # fmt: skip
    return found


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the report as tables."""
    head = report["header"]
    machine = head["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / (1 << 30):.0f} GiB, "
        f"disk {machine['disk_sync_mb_per_second']:.0f} MB/s synced, load {machine['load_average']:.1f}"
    )
    console.print(", ".join(f"{name} {number}" for name, number in head["versions"].items() if number))
    dirty = ", with changes" if head["git"]["dirty"] else ""
    console.print(f"{head['git']['revision'][:12]}{dirty}; {head['date']}")
    console.print(_figures_table(report["figures"]))
    for title, rows in (("beside", report["beside"]), ("growth", report["growth"]), ("against", report["against"])):
        if rows:
            console.print(_TABLES[title](rows))


def _figures_table(rows: Sequence[Result]) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("figure", "events", "median", "must", "goal", "reached", "memory", "CPU s", "what"):
        table.add_column(name, justify="left" if name in {"figure", "what", "reached"} else "right", no_wrap=True)
    several = len({row["revision"] for row in rows}) > 1
    for row in rows:
        colour, cpu = _COLOURS[row["reached"]], _median(row["cpu_seconds"])
        memory = f"{row['memory_bytes'] / (1 << 20):,.0f} MiB" if row["memory_bytes"] else ""
        shade = _COLOURS[row["memory_reached"]]
        table.add_row(
            row["name"], f"{row['events']:,}", f"{shown(row['median'])} {row['unit']}",
            shown(row["must"]), shown(row["goal"]), f"[{colour}]{row['reached']}[/]" if colour else "",
            f"[{shade}]{memory}[/]" if shade else memory, "" if cpu is None else shown(cpu),
            f"{row['revision']}: {row['what']}" if several else row["what"],
        )  # fmt: skip
    return table


def _beside_table(rows: Sequence[Result]) -> Table:
    table = Table("figure", "events", "beside", "measured at", "times as good", box=None, title="Beside it")
    for row in rows:
        table.add_row(
            row["name"], f"{row['events']:,}", row["beside"], f"{row['measured_at']:,}", shown(row["times_as_good"])
        )
    return table


def _growth_table(rows: Sequence[Result]) -> Table:
    table = Table("figure", "from", "to", "ratio", "must", box=None, title="Growth with size")
    for row in rows:
        sizes = (f"{row['smallest']:,}", f"{row['largest']:,}")
        table.add_row(row["name"], *sizes, shown(row["ratio"]), shown(row["must"]))
    return table


def _against_table(rows: Sequence[Result]) -> Table:
    table = Table("figure", "events", "this", "the other", "ratio", "CPU ratio", "good is", box=None, title="Against")
    for row in rows:
        medians = [f"{shown(value)} {row['unit']}" for value in row["medians"]]
        table.add_row(
            row["name"], f"{row['events']:,}", *medians, shown(row["ratio"]), shown(row["cpu_ratio"]), row["better"]
        )
    return table


_TABLES = {"beside": _beside_table, "growth": _growth_table, "against": _against_table}


def shown(value: float | None) -> str:
    """A number with three digits that count, and k or M."""
    if value is None:
        return ""
    for limit, letter in ((1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (limit if letter == ' M' else 1e3):.3g}{letter}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
