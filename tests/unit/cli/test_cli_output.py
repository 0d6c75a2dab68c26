"""How answers look where there is little room."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from clearwell.cli import output, screen

COLUMNS = [("Account type", "left"), ("", "left"), ("Open money", "right"), ("Due", "right")]
ROW = ["charge_undisbursed", "USD", "1,234,567.89", "9,876,543.21"]


@pytest.mark.parametrize(("width", "blocks"), [(40, True), (120, False)])
def test_a_number_is_never_broken(monkeypatch: pytest.MonkeyPatch, width: int, blocks: bool) -> None:
    """In a narrow terminal each row is a block of lines, in a wide one a line of the table; numbers stay whole."""
    out = io.StringIO()
    monkeypatch.setattr(screen, "console", lambda: Console(file=out, width=width, force_terminal=True, no_color=True))
    output.print_table("Title", COLUMNS, [ROW])
    text = out.getvalue()
    assert "1,234,567.89" in text
    assert "9,876,543.21" in text
    assert ("Currency  USD" in text) == blocks


@pytest.mark.parametrize(
    ("change", "text"), [(None, "–"), (0.0, "="), (1.5, "▲ 1.50"), (-0.00001, "▼ 0.000010"), (1e-12, "▲ <0.00000001")]
)
def test_a_change_has_an_arrow(change: float | None, text: str) -> None:
    """Up or down, with as many decimals as it takes; green for the better and red for the worse."""
    points = None if change is None else output.shown_points(abs(change))
    for more_is_better in (True, False):
        shown = output.shown_change(points, change, more_is_better=more_is_better)
        assert shown == text
        if isinstance(shown, output.Styled) and change:
            assert shown.style == ("green" if (change > 0) == more_is_better else "red")
    assert isinstance(output.shown_change("1", 1.0, more_is_better=True), output.Styled)


def test_a_style_is_drawn_where_there_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The style of a cell is the terminal's colour; the text stays what it is."""
    out = io.StringIO()
    colours = Console(file=out, width=120, force_terminal=True, color_system="standard")
    monkeypatch.setattr(screen, "console", lambda: colours)
    output.print_table("Title", [("Change", "right")], [[output.Styled.of("▲ 1.50", "green")]])
    assert "\x1b[32m▲ 1.50" in out.getvalue()
