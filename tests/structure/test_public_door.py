"""The public door: what `import clearwell` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import clearwell
from clearwell.application.starting import start_project


def test_every_public_name_can_be_had() -> None:
    """Each name in `__all__` is imported when it is asked for."""
    for name in clearwell.__all__:
        assert getattr(clearwell, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not public fails as on any module."""
    assert not hasattr(clearwell, "no_such_name")


HEAVY = {
    "alembic", "cryptography", "duckdb", "holidays", "ibis", "lifelines", "matplotlib", "numpy", "pandas", "polars",
    "pyarrow", "pydantic", "rich", "sqlalchemy", "statsforecast",
}  # fmt: skip


def test_importing_loads_no_heavy_library() -> None:
    """`import clearwell` imports neither data frames nor databases."""
    assert not HEAVY & _loaded_by("import clearwell")


def test_a_producer_loads_nothing_of_a_ledger() -> None:
    """A client and an event need no library of a ledger, and no module of it but `errors` and `values`."""
    loaded = _loaded_by("import clearwell; clearwell.Client, clearwell.AsyncClient, clearwell.Event")
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("clearwell.")}
    assert ours == {"clearwell.client", "clearwell.errors", "clearwell.values"}
    assert not (HEAVY - {"rich"}) & loaded  # httpx imports rich where it is installed, for a command of its own.


def test_help_loads_no_heavy_library() -> None:
    """`clearwell --help` answers without any library but that of the command line."""
    assert not HEAVY & _loaded_by(_running("--help"))


@pytest.mark.parametrize("command", ["ingest", "status", "open", "trace", "quality"])
def test_a_command_loads_only_what_it_needs(tmp_path: Path, command: str) -> None:
    """The first ingest migrates nothing, and no everyday command signs, keeps a calendar or copies a ledger."""
    start_project(tmp_path)
    words = {"ingest": [str(tmp_path / "events" / "first.ndjson")], "trace": ["charge=ch_1"]}
    if command != "ingest":
        _loaded_by(_running("ingest", *words["ingest"], "--project", str(tmp_path)))
    loaded = _loaded_by(_running(command, *words.get(command, []), "--project", str(tmp_path)))
    assert "clearwell.log.reader" in loaded
    others = {"clearwell.project", "clearwell.application.backing_up", "clearwell.simulation", "rich.progress"}
    readers = set() if command == "ingest" else {"clearwell.ingest.door", "pyarrow.csv", "pyarrow.parquet"}
    readers -= {"pyarrow.parquet"} if command == "trace" else set()  # It reads the footers of the log's files.
    others |= {"pandas", "pandas.core"} if command in ("status", "open", "quality") else set()
    assert (
        not {"alembic", "cryptography", "holidays", "ibis", "lifelines", "pyspark", "statsforecast", *others, *readers}
        & loaded
    )


def _running(*arguments: str) -> str:
    return f"from clearwell.cli.main import main; assert main({list(arguments)!r}) == 0"


def _loaded_by(code: str) -> set[str]:
    """The modules that a process of its own has imported after `code`."""
    program = f"import sys; {code}; print(chr(10), *sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(ran.stdout.splitlines()[-1].split())
