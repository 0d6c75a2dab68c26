"""The auditor's verdict is its own: its modules import `values`, `flows`, each other and the standard library alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

AUDITOR = Path(__file__).parents[2] / "src" / "clearwell" / "simulation" / "auditor"
ALLOWED = ("clearwell.values.", "clearwell.flows.", "clearwell.simulation.auditor.")
NOT_PLAIN = {"clearwell.values.times"}
"""Modules of `values` that work on columns, with the engine that the product uses."""


def foreign_imports(text: str) -> Iterator[str]:
    """The modules that a text imports and an auditor may not."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}"]
        for name in names:
            allowed = f"{name}.".startswith(ALLOWED) and name not in NOT_PLAIN
            if not allowed and name.partition(".")[0] not in sys.stdlib_module_names:
                yield name


@pytest.mark.parametrize("path", sorted(AUDITOR.glob("*.py")), ids=lambda path: path.name)
def test_the_auditor_imports_nothing_that_it_judges(path: Path) -> None:
    """No module of the auditor imports anything of the product but `values` and `flows`, or any library."""
    assert list(foreign_imports(path.read_text(encoding="utf-8"))) == []


def test_a_foreign_import_is_caught() -> None:
    """The check can fail: the product's fold, a library, and a relative import are all reported."""
    text = "import json, polars\nfrom clearwell.ledger.fold import fold\nfrom clearwell.values.cuts import Cut\n"
    assert list(foreign_imports(text + "def f():\n    from ..world import simulate\n")) == [
        "polars",
        "clearwell.ledger.fold",
        "..world",
    ]
