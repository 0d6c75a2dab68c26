"""What is drawn for people: tables and progress bars. Imported when it is needed, for the library is large."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from clearwell.cli.output import Styled

if TYPE_CHECKING:
    from rich.progress import Progress

_PIPE_WIDTH = 200
_WIDEST = 10_000


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let whoever runs the command decide: a reader that has seen enough is no failure."""
        raise BrokenPipeError


def console(*, error: bool = False) -> Console:
    """Standard output (or error) for people; wide where it is no terminal, so that nothing is cut."""
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return _Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False)


def draw_table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    """A table of texts; `columns` are headings (none means a currency) with `left` or `right`.

    Where the terminal is too narrow for it, each row is a block of lines: a number is never broken in two.
    """
    screen = console()
    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=cell.style if isinstance(cell, Styled) else "") for cell in row))
    needed = Measurement.get(screen, screen.options.update(max_width=_WIDEST), table).maximum
    if needed <= screen.width or not screen.is_terminal:
        screen.print(table)
        return
    screen.print(Text(title, style="bold"))
    labels = [heading or "Currency" for heading, _ in columns]
    for row in rows:
        lines = [f"{label:>{max(map(len, labels))}}  {cell}" for label, cell in zip(labels, row, strict=True) if cell]
        screen.print(Text("\n".join(["", *lines])), soft_wrap=True)
    screen.print()


def progress_bar() -> Progress:
    """A bar on standard error, for tasks that say their count and rate in their description."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console(error=True),
    )
