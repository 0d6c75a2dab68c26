"""Draws how the figures grow with size: one SVG picture, a small plot per figure, from the JSON of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from figures import FIGURES, Figure
from report import shown

WIDTH, HEIGHT, ACROSS = 290, 190, 3
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 42, 30
OURS, BESIDE, GOAL, MUST = "#1d4ed8", "#9ca3af", "#15803d", "#b45309"
_STYLE = """\
text { font: 11px system-ui, sans-serif; fill: #374151; paint-order: stroke; stroke: white; stroke-width: 3px; }
.title { font-weight: 600; font-size: 13px; fill: #111827; }
.axis { stroke: #d1d5db; } .line { fill: none; stroke-width: 2; }
.asked { stroke-dasharray: 4 3; stroke-width: 1.2; }"""

Points = Sequence[tuple[float, float]]


def write_plot(content: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a report to `path`: every figure that was measured at two sizes or more."""
    revision = content["figures"][0]["revision"]
    points: dict[str, dict[int, float]] = {}
    for item in content["figures"]:
        if item["revision"] == revision:
            points.setdefault(item["name"], {})[item["events"]] = item["median"]
    several = {name: sorted(values.items()) for name, values in points.items() if len(values) > 1}
    drawn = [figure for figure in FIGURES if figure.name in several and not figure.beside]
    panels = []
    for place, figure in enumerate(drawn):
        beside = {other.name: several[other.name] for other in FIGURES
                  if other.beside == figure.name and other.name in several}  # fmt: skip
        column, row = place % ACROSS, place // ACROSS
        shift = f'transform="translate({column * WIDTH},{row * HEIGHT + 24})"'
        panels.append(f"<g {shift}>{_panel(figure, several[figure.name], beside)}</g>")
    size = (ACROSS * WIDTH, math.ceil(len(drawn) / ACROSS) * HEIGHT + 24)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}">\n'
        f'<style>{_STYLE}</style>\n<rect width="100%" height="100%" fill="white"/>\n{_legend()}\n'
        + "\n".join(panels) + "\n</svg>\n",
        encoding="utf-8",
    )  # fmt: skip


def _panel(figure: Figure, ours: Points, beside: Mapping[str, Points]) -> str:
    """One plot. With other lines beside its own the values are on a log scale, for they are far apart."""
    asked = [(value, colour) for value, colour in ((figure.must, MUST), (figure.goal, GOAL)) if value is not None]
    values = [value for _events, value in [*ours, *(point for line in beside.values() for point in line)]]
    values += [value for value, _colour in asked]
    low, high = (10 ** math.floor(math.log10(min(values))), max(values) * 1.6) if beside else (0.0, max(values) * 1.12)
    sizes = [events for events, _value in ours]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(events: float) -> float:
        share = math.log(events / sizes[0]) / math.log(sizes[-1] / sizes[0])
        return LEFT + 10 + share * (right - LEFT - 40)

    def up(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if beside else value / high
        return bottom - share * (bottom - TOP)

    def line(points: Points, colour: str) -> str:
        places = [(across(events), up(value)) for events, value in points]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        return f'<polyline class="line" stroke="{colour}" points="{path}"/>{dots}'

    parts = [_text(LEFT, 16, f"{figure.name}, {figure.unit}", "title"), _text(LEFT, 30, _short(figure.what))]
    parts += [f'<path class="axis" fill="none" d="M{LEFT},{TOP}V{bottom}H{right}"/>']
    parts += [_text(across(events), bottom + 15, shown(events), anchor="middle") for events in sizes]
    parts += [_text(LEFT - 5, up(tick) + 4, shown(tick), anchor="end") for tick in _ticks(low, high, log=bool(beside))]
    for value, colour in asked:
        y = up(value)
        parts.append(f'<line class="asked" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>')
    parts += [line(points, BESIDE) for points in beside.values()]
    ends = {name: (across(points[-1][0]), up(points[-1][1])) for name, points in beside.items()}
    parts += _labels(ends, edge=across(sizes[-1]))
    events, value = ours[-1]
    return "".join([*parts, line(ours, OURS), _text(across(events) + 6, up(value) - 6, shown(value))])


def _labels(ends: Mapping[str, tuple[float, float]], edge: float) -> list[str]:
    """The names of lines at their ends, a line of text apart at least: behind the end, or above it at the edge."""
    parts, before = [], -math.inf
    for name, (x, y) in sorted(ends.items(), key=lambda item: item[1][1]):
        inside = x < edge - 60
        before = max(before + 12, y + 4 if inside else y - 6)
        parts.append(_text(x + 8, before, name) if inside else _text(x - 6, before, name, anchor="end"))
    return parts


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round values from `low` to `high`: powers of ten, or about four steps."""
    if log:
        decades = range(round(math.log10(low)), math.floor(math.log10(high)) + 1)
        return [10.0**power for power in decades][:: max(1, len(decades) // 4)]
    step = 10 ** math.floor(math.log10(high / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) < 5)
    return [step * number for number in range(int(high / step) + 1)]


def _legend() -> str:
    parts, x = [], LEFT
    for name, colour, extra in (
        ("Clearwell", OURS, ""), ("instead, or the limit", BESIDE, ""), ("must", MUST, "asked"), ("goal", GOAL, "asked")
    ):  # fmt: skip
        parts.append(f'<line class="line {extra}" x1="{x}" x2="{x + 22}" y1="14" y2="14" stroke="{colour}"/>')
        parts.append(_text(x + 28, 18, name))
        x += 56 + 6 * len(name)
    return "".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= 48 else text[:46].rstrip() + " …"


def _text(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> str:
    style = f' class="{name}"' if name else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
