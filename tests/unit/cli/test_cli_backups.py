"""The commands backup and restore: what they print, and with which exit code they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.cli.main import main

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """Two events in one segment."""
    ledger.ingest(creation(), release())
    return ledger


def test_for_people(filled: Ledger, tmp_path: Path, capsys: Capture) -> None:
    """Both commands say in a line or two what they did, and restore what its proof found."""
    kept, again = str(tmp_path / "kept"), str(tmp_path / "again")
    head = filled.verify().head[:16]
    assert main(["backup", kept, "-p", str(filled.folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"Backed up 1 segment(s), 2 event(s), head {head}.",
        "1 file(s) of the log copied, 0 were there already, 0 are gone.",
    ]
    assert main(["restore", kept, again]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(f" into {again}/data.")
    assert said[1] == f"1 segment(s), 2 event(s), head {head}: all is right."


def test_for_programs(filled: Ledger, tmp_path: Path, capsys: Capture) -> None:
    """With --json each prints one document; `restore` prints that of `verify`."""
    kept, again = str(tmp_path / "kept"), str(tmp_path / "again")
    for copied in (1, 0):
        assert main(["backup", kept, "-p", str(filled.folder), "--check", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["segments"], said["events"], said["copied"], said["kept"]) == (1, 2, copied, 1 - copied)
    assert main(["restore", kept, again, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["events"], said["faults"]) == (True, 2, [])


def test_faults_of_what_was_restored(filled: Ledger, tmp_path: Path, capsys: Capture) -> None:
    """A fault that was in the ledger already ends `restore` with exit code 1."""
    with filled.catalog() as connection:
        connection.exec_driver_sql("UPDATE flow_texts SET text = text || '# '")
    assert main(["backup", str(tmp_path / "kept"), "-p", str(filled.folder)]) == 0
    assert main(["restore", str(tmp_path / "kept"), str(tmp_path / "again")]) == 1
    assert "model_changed" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["backup", "{project}/data/kept", "-p", "{project}"], 2, "backup_not_apart"),
        (["backup", "{project}/events.ndjson", "-p", "{project}"], 3, "backup_not_writable"),
        (["restore", "{project}", "{project}/again"], 2, "backup_not_found"),
        (["restore", "{project}"], 2, "Missing argument"),
    ],
)
def test_exit_codes(filled: Ledger, capsys: Capture, arguments: list[str], code: int, named: str) -> None:
    """Wrong use ends with 2, a disk that refuses with 3, and the error is named."""
    assert main([item.format(project=filled.folder) for item in arguments]) == code
    assert named in capsys.readouterr().err
