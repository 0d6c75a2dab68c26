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
