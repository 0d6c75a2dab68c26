"""The public door: what `import clearwell` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import clearwell


def test_every_public_name_can_be_had() -> None:
    """Each name in `__all__` is imported when it is asked for."""
    for name in clearwell.__all__:
        assert getattr(clearwell, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not public fails as on any module."""
    assert not hasattr(clearwell, "no_such_name")


def test_importing_loads_no_heavy_library() -> None:
    """`import clearwell` and the command's --help import neither data frames nor databases."""
    heavy = {"polars", "duckdb", "pyarrow", "sqlalchemy", "alembic", "holidays", "pydantic", "numpy"}
    code = "import sys, clearwell, clearwell.cli.main; print(*sorted(name.split('.')[0] for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not heavy & set(loaded)
