"""The benchmark: measures the figures that Clearwell is held to, at the sizes asked for, and reports them.

Every measurement is a process of its own, the median of several counts, and worlds and ledgers are kept in between.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

import report
from children import Child, Source
from figures import FIGURES, Figure, chosen
from machine import git, header
from stores import Store

REPOSITORY = Path(__file__).resolve().parents[1]
NEEDS = {
    "clearwell.ingest": ("records",),
    "clearwell.ingest_known": ("more", "ledger"),
    "clearwell.ingest_ndjson": ("ndjson",),
    "clearwell.ingest_csv": ("csv",),
    "clearwell.help_process": (),
}
"""What a measure needs of the store; a ledger where nothing is said."""


@dataclass(frozen=True)
class Plan:
    """What to run: figures at sizes, so many times, each time for every source in turn."""

    figures: list[Figure]
    sizes: list[int]
    repeat: int
    sources: list[Source]
    store: Store

    def results(self) -> list[report.Result]:
        """Run everything; what is done, and what comes out, is said on standard error."""
        found = []
        for asked in self.sizes:
            for _measure, group in groupby(self.figures, key=lambda figure: (figure.measure, figure.options)):
                for item in self._measured(list(group), asked):
                    say(f"  {item['name']} at {item['events']:,}: {report.shown(item['median'])} {item['unit']}")
                    found.append({**item, "asked_events": asked})
        return found

    def _measured(self, figures: list[Figure], asked: int) -> list[report.Result]:
        """The figures of one measure at one size. The sources take turns, so that what disturbs one disturbs all."""
        first = figures[0]
        events = min(asked, first.most_events or asked)
        sources = self.sources if first.of_clearwell else self.sources[:1]
        children = [self._child(first, events, source) for source in sources]
        runs: list[list[dict[str, Any]]] = [[] for _source in sources]
        for number in range(self.repeat):
            for child, own in zip(children, runs, strict=True):
                say(f"{first.measure} at {events:,} ({child.source.revision[:12]}), run {number + 1} of {self.repeat}")
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
            say(f"{name} of {events:,} events ({source.revision[:12]})")
            made = self.store.ledger(events, source) if name == "ledger" else self.store.material(name, events, source)
            paths[name] = str(made)
        until = self.store.until(events).isoformat()
        return Child(source, self.store.work, events, until, paths, dict(figure.options))


def say(text: str) -> None:
    """Tell the user what is going on."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    asked = _parser().parse_args(arguments)
    if asked.list:
        for figure in FIGURES:
            print(f"{figure.name:20} {figure.unit:12} {figure.what}")
        return 0
    try:
        figures = chosen(asked.only)
    except ValueError as error:
        say(str(error))
        return 2
    content = _report(figures, asked)
    if asked.json:
        print(json.dumps(content, indent=1))
    else:
        report.show(content, Console(width=None if sys.stdout.isatty() else 160))
    return 0


def _report(figures: list[Figure], asked: argparse.Namespace) -> dict[str, Any]:
    store = Store(asked.folder.resolve())
    this = Source(_name_of(REPOSITORY), REPOSITORY / "src")
    head = header(store.folder, REPOSITORY)
    results = Plan(figures, sorted(set(asked.events or [1_000_000])), asked.repeat, [this], store).results()
    return {
        "header": head,
        "figures": results + report.memory_result(figures, results),
        "beside": report.beside(figures, results),
        "growth": report.growth(figures, results),
        "against": [],
    }


def _name_of(repository: Path) -> str:
    return (git(repository, "rev-parse", "HEAD") or "unknown")[:12]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure Clearwell, and what users would pick instead, side by side.",
        epilog="Example: .venv/bin/python benchmarks/run.py --events 1000000 --only ingest-1m --only status --json",
    )
    parser.add_argument("--events", type=int, action="append", help="size of the world; may be repeated (1000000)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this figure; may be repeated")
    parser.add_argument("--repeat", type=int, default=3, help="runs per figure; the median counts (3)")
    parser.add_argument("--list", action="store_true", help="name the figures, and leave")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "build" / "benchmarks", help="where worlds and ledgers are kept"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
