"""How answers are printed: tables for people, JSON and CSV for programs, progress on standard error.

What draws on a terminal is in `screen`, which is imported when something is drawn.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from clearwell.application.telling import plain
from clearwell.values.instants import format_instant

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_SECONDS = 5.0


def print_json(content: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(content, default=plain, ensure_ascii=False) + "\n")


def print_json_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """A JSON array, written row by row."""
    lead = "["
    for row in rows:
        sys.stdout.write(lead + json.dumps(row, default=plain, ensure_ascii=False))
        lead = ",\n "
    sys.stdout.write("[]\n" if lead == "[" else "]\n")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV with a header on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def print_table(title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; `columns` are headings (none means a currency) with `left` or `right`."""
    from clearwell.cli.screen import draw_table

    draw_table(title, columns, [[_shown(cell) for cell in row] for row in rows])


def _shown(cell: object) -> str:
    if isinstance(cell, Styled):
        return cell
    return "" if cell is None else str(plain(cell))


def shown_instant(instant: datetime) -> str:
    """An instant in a table: to the second, in UTC."""
    return format_instant(instant.replace(microsecond=0)).replace("T", " ")


def shown_duration(seconds: int) -> str:
    """A length of time in a table, in its two largest units: `3 d 4 h`."""
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= size or (unit == "s" and not parts):
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(parts[:2])


def shown_share(share: float | None) -> str:
    """A share as a percentage with as many decimals as it takes to tell it from 100 %."""
    if share is None:
        return "–"
    for decimals in (2, 4, 6, 8):
        text = f"{100 * share:.{decimals}f}"
        if float(text) < 100 or share == 1:
            return f"{text} %"
    return "<100 %"


class Styled(str):
    """A text of a table with a style of its own, where the terminal has colours."""

    __slots__ = ("style",)
    style: str

    @classmethod
    def of(cls, text: str, style: str) -> Styled:
        """The text with the style."""
        styled = cls(text)
        styled.style = style
        return styled


def shown_points(points: float) -> str:
    """Points of a hundred in a table, with as many decimals as it takes to tell them from none."""
    for decimals in (2, 4, 6, 8):
        text = f"{points:.{decimals}f}"
        if float(text) or not points:
            return text
    return "<0.00000001"


def shown_change(text: str | None, change: float | None, *, more_is_better: bool) -> str:
    """A change's size with an arrow up or down, green where it is for the better; nothing of what is not known."""
    if text is None or change is None:
        return "–"
    if not change:
        return "="
    return Styled.of(f"{'▲' if change > 0 else '▼'} {text}", "green" if (change > 0) == more_is_better else "red")


def _cell(value: Any) -> object:
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=plain, ensure_ascii=False)
    return plain(value) if isinstance(value, date) else value


@dataclass
class Meter:
    """Counts work done, and shows how far it is, its rate, and the time left."""

    unit: str
    total: float | None = None
    count: int = 0
    _started: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)
    _bar: Progress | None = None
    _done: float = 0.0

    def advance(self, count: int, done: float | None = None) -> None:
        """`count` more units of work; `done` is how much of `total` is behind us, when that is another measure."""
        self.count += count
        self._done = self.count if done is None else done
        rate = self.count / max(time.monotonic() - self._started, 1e-9)
        if self._bar is not None:
            text = f"{self.count:,} {self.unit}, {rate:,.0f}/s"
            self._bar.update(self._bar.task_ids[0], completed=self._done, description=text)
        elif time.monotonic() - self._said > _PLAIN_SECONDS:
            self._said = time.monotonic()
            share = f", {100 * self._done / self.total:.0f} %" if self.total else ""
            print(f"{self.count:,} {self.unit}, {rate:,.0f}/s{share}", file=sys.stderr, flush=True)


@contextmanager
def meter(unit: str, total: float | None = None) -> Iterator[Meter]:
    """A progress bar on standard error; where that is no terminal, a line every few seconds."""
    if not sys.stderr.isatty():
        yield Meter(unit, total)
        return
    from clearwell.cli.screen import progress_bar

    with progress_bar() as bar:
        bar.add_task(f"0 {unit}", total=total)
        yield Meter(unit, total, _bar=bar)
