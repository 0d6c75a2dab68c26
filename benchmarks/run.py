"""The benchmark: measures the figures that Clearwell is held to, at the sizes asked for, and reports them.

Every measurement is a process of its own, the median of several counts, and worlds and ledgers are kept in between.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

import report
from children import Child, Source
from drawing import write_plot
from figures import FIGURES, Figure, chosen
from machine import git, header, postgres_programs
from revisions import checked_out
from stores import Store

REPOSITORY = Path(__file__).resolve().parents[1]
PLOT = REPOSITORY / "docs" / "pictures" / "performance-growth.svg"
LEAST_EVENTS = 1_000
NEEDS = {
    "clearwell.ingest": ("records",),
    "clearwell.ingest_known": ("openings", "ledger"),
    "clearwell.ingest_ndjson": ("ndjson",),
    "clearwell.ingest_csv": ("csv",),
    "clearwell.trace_cold": ("compacted",),
    "clearwell.trace_warm": ("compacted",),
    "clearwell.help_process": (),
    "learning.windows": (),
    "service.ndjson": ("ndjson",),
    "service.arrow": ("records",),
    "service.single": ("ndjson",),
    "service.live": ("ndjson",),
    "instead.postgres": ("entries",),
    "instead.duckdb_clearing": ("records",),
    "instead.polars_clearing": ("records",),
    "limits.raw_parquet_write": ("records",),
    "limits.memory_bandwidth": (),
    "limits.fsync": (),
}
"""What a measure needs of the store; a ledger where nothing is said."""
OF_POSTGRESQL = {"instead.postgres", "completeness.postgresql"}
"""The measures that need a PostgreSQL server."""


@dataclass(frozen=True)
class Plan:
    """What to run: figures at sizes, so many times, each time for every source in turn."""

    figures: list[Figure]
    sizes: list[int]
    repeat: int
    sources: list[Source]
    store: Store
    failures: list[dict[str, Any]] = field(default_factory=list)

    def results(self) -> list[report.Result]:
        """Run everything; what is done, and what comes out, is said on standard error."""
        found = []
        groups = [list(group) for _key, group in groupby(self.figures, key=lambda item: (item.measure, item.options))]
        # What has a largest size is measured there once, however many larger sizes are asked for.
        done: dict[tuple[str, int], list[report.Result]] = {}
        for asked in self.sizes:
            for group in groups:
                events = min(asked, group[0].most_events or asked)
                if (group[0].name, events) not in done:
                    done[group[0].name, events] = self._measured_or_failed(group, events)
                for item in done[group[0].name, events]:
                    say(f"  {item['name']} at {item['events']:,}: {report.shown(item['median'])} {item['unit']}")
                    found.append({**item, "asked_events": asked})
        return found

    def _measured_or_failed(self, figures: list[Figure], events: int) -> list[report.Result]:
        """As `_measured`; a failure is kept and said, and costs no other figure."""
        try:
            return self._measured(figures, events)
        except RuntimeError as error:
            say(f"  {error}")
            self.failures.append({"names": [figure.name for figure in figures], "events": events, "error": str(error)})
            return []

    def _measured(self, figures: list[Figure], events: int) -> list[report.Result]:
        """The figures of one measure at one size. The sources take turns, so that what disturbs one disturbs all."""
        first = figures[0]
        sources = self.sources if first.of_clearwell else self.sources[:1]
        children = [self._child(first, events, source) for source in sources]
        runs: list[list[dict[str, Any]]] = [[] for _source in sources]
        for number in range(self.repeat):
            for child, own in zip(children, runs, strict=True):
                say(f"{first.measure} at {events:,} ({child.source.revision}), run {number + 1} of {self.repeat}")
                own.append(child.run(first.measure))
        return [
            report.result(figure, events, source.revision, own)
            for figure in figures
            for source, own in zip(sources, runs, strict=True)
        ]

    def _child(self, figure: Figure, events: int, source: Source) -> Child:
        """The child that measures, with what it needs made."""
        paths = {}
        for name in NEEDS.get(figure.measure, ("ledger",)):
            say(f"{name} of {events:,} events ({source.revision})")
            if name in {"ledger", "compacted"}:
                paths[name] = str(getattr(self.store, name)(events, source))
            else:
                paths[name] = str(self.store.material(name, events, source))
        until = self.store.until(events).isoformat()
        return Child(source, self.store.work, events, until, paths, dict(figure.options))


def say(text: str) -> None:
    """Tell the user what is going on."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command line. Returns 0, 1 when a figure could not be measured, or 2 for wrong use."""
    asked = _parser().parse_args(arguments)
    if asked.list:
        for figure in FIGURES:
            print(f"{figure.name:20} {figure.unit:12} {figure.what}")
        return 0
    try:
        if asked.plot_from:
            write_plot(json.loads(asked.plot_from.read_text(encoding="utf-8")), asked.plot or PLOT)
            return 0
        content = _report(_possible(chosen(asked.only)), asked)
    except (ValueError, OSError) as error:
        say(str(error))
        return 2
    if asked.plot:
        write_plot(content, asked.plot)
    if asked.json:
        print(json.dumps(content, indent=1))
    else:
        report.show(content, Console(width=None if sys.stdout.isatty() else 160))
    return 1 if content["failures"] else 0


def _report(figures: list[Figure], asked: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for. Raises ValueError for a revision that is not there."""
    store = Store(asked.folder.resolve())
    this = Source(_name_of(REPOSITORY), REPOSITORY / "src")
    sizes = sorted(set(asked.events or [1_000_000]))
    with ExitStack() as stack:
        sources = [this]
        if asked.against:
            sources.append(stack.enter_context(checked_out(REPOSITORY, asked.against)))
        head = header(store.folder, REPOSITORY)
        plan = Plan(figures, sizes, asked.repeat, sources, store)
        results = plan.results()
    names = [source.revision for source in sources]
    return {
        "header": head,
        "figures": results + report.memory_result(figures, results),
        "beside": report.beside(figures, results),
        "growth": report.growth(figures, results),
        "against": report.against(figures, results, (names[0], names[1])) if asked.against else [],
        "failures": plan.failures,
    }


def _possible(figures: list[Figure]) -> list[Figure]:
    """The figures that can be measured here: those that need PostgreSQL where it is installed."""
    others = [figure for figure in figures if figure.measure not in OF_POSTGRESQL]
    if postgres_programs() is None and others != figures:
        say("PostgreSQL is not installed: what it would take is left out")
        return others
    return figures


def _name_of(repository: Path) -> str:
    """The revision of the working tree, marked when something in it is changed."""
    revision = git(repository, "rev-parse", "HEAD")[:12] or "unknown"
    return f"{revision} changed" if git(repository, "status", "--short") else revision


def _size(text: str) -> int:
    if int(text) < LEAST_EVENTS:
        raise argparse.ArgumentTypeError(f"expected {LEAST_EVENTS:,} or more, found {text}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure Clearwell, and what users would pick instead, side by side.",
        epilog="Example: .venv/bin/python benchmarks/run.py --events 1000000 --only ingest-1m --only status --json",
    )
    parser.add_argument("--events", type=_size, action="append", help="size of the world; may be repeated (1000000)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this figure; may be repeated")
    parser.add_argument(
        "--repeat",
        type=int,
        choices=range(1, 100),
        default=3,
        metavar="TIMES",
        help="runs per figure; the median counts (3)",
    )
    parser.add_argument("--list", action="store_true", help="name the figures, and leave")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--against", metavar="REV", help="measure this git revision too, in turn, and give the ratios")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the growth with size as an SVG file")
    parser.add_argument(
        "--plot-from", type=Path, metavar="FILE", help=f"draw it from the JSON of a run, to {PLOT.name}, and leave"
    )
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "build" / "benchmarks", help="where worlds and ledgers are kept"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
