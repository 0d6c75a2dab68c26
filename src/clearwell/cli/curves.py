"""Draws how episodes clear: the share still open over time, with the declared and the learned window. Imports much."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from clearwell.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clearwell.application.expecting import Expectation, ExpectationsReport

_UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))
_POINTS = 120
_BEYOND = 1.25
"""So much further than the last window the picture goes."""

_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "clearwell", "font.size": 9, "path.simplify": True}


def draw_curves(report: ExpectationsReport, path: Path) -> None:
    """Write an SVG with a panel per account type. Raises UsageError when there is nothing to draw, or nowhere to."""
    drawn = [item for item in report.expectations if len(item.fitted.curve.seconds)]
    if not drawn:
        raise UsageError("nothing_to_draw", "expected an account type with episodes to draw, found none")
    groups = [list(group) for _name, group in groupby(drawn, key=lambda item: item.account_type.name)]
    with mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=(7.5, 2.8 * len(groups)), layout="constrained")
        for axes, group in zip(figure.subplots(len(groups), squeeze=False)[:, 0], groups, strict=True):
            _panel(axes, group)
        try:
            figure.savefig(path, format="svg", metadata={"Date": None})
        except OSError as error:
            raise UsageError("file_not_writable", f"{path} cannot be written: {error}") from error


def _panel(axes: Axes, group: Sequence[Expectation]) -> None:
    whole = group[0]
    end = _BEYOND * _longest(group)
    unit, size = next((item for item in _UNITS if end >= 2 * item[1]), _UNITS[-1])
    for item in group:
        label = "all episodes" if item is whole else _label(item)
        seconds = np.linspace(0, end, _POINTS)
        shares = [100 * item.fitted.curve.after(at) for at in seconds]
        axes.step(
            seconds / size, shares, where="post", label=label, linewidth=2 if item is whole else 1,
            color="black" if item is whole else None,
        )  # fmt: skip
    windows = (("window in force", whole.held.window_seconds, "tab:red"), ("learned", whole.fitted.seconds, "tab:blue"))
    for name, window, colour in windows:
        if window is not None:
            axes.axvline(window / size, color=colour, linestyle="--", label=f"{name}: {window / size:.3g} {unit}")
    axes.set_title(whole.account_type.name, loc="left")
    axes.set_xlabel(f"{unit} since the episode opened")
    axes.set_ylabel("still open, %")
    axes.set_xlim(0, end / size)
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2 if len(group) > 4 else 1, loc="best")


def _longest(group: Sequence[Expectation]) -> float:
    """The longest window of the whole, or, without any, what most episodes took."""
    whole = group[0]
    windows = [seconds for seconds in (whole.held.window_seconds, whole.fitted.seconds) if seconds is not None]
    taken = [seconds for seconds in whole.fitted.quantiles.values() if seconds is not None]
    return max([*windows, *taken[-1:], 1.0])


def _label(item: Expectation) -> str:
    return "the rest" if item.fitted.is_rest else f"{item.subdivided_by}={item.fitted.value}"
