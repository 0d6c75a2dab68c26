"""The commands around the simulated platform: what simulate writes, and how the demo can fail."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

from clearwell.cli import demo
from clearwell.cli.main import main
from clearwell.simulation import truth

Capture = pytest.CaptureFixture[str]

WRONG_USE = {
    "a speed for files": (["w", "--speed", "2"], "--speed"),
    "a truth beside files": (["w", "--truth", "t"], "--truth"),
    "a speed of zero": (["-", "--speed", "0"], "--speed"),
    "a speed that is none": (["-", "--speed", "fast"], "--speed"),
    "a stream of tables": (["-", "--format", "parquet"], "--format"),
    "an unknown kind of fault": (["w", "--fault", "flood=1"], "missing_event"),
    "a rate that is none": (["w", "--fault", "missing_event=often"], "--fault"),
    "a rate above one": (["w", "--fault", "missing_event=2"], "[world_options_invalid]"),
    "an unknown lifecycle": (["w", "--fault", "loan.missing_event=0.1"], "network_settlement"),
    "an unreadable incident": (["w", "--incident", "flood"], "KIND:PRODUCER:START/END"),
    "an unknown producer": (["w", "--incident", "dropped_hour:x:2026-01-01/2026-01-02"], "card_gateway"),
    "an unreadable start": (["w", "--start", "soon"], "--start"),
    "an unreadable end": (["w", "--until", "now"], "--until"),
    "no day": (["w", "--days", "0"], "--days"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_options_exit_2_and_make_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, case: str
) -> None:
    """A world that cannot be is refused before a file is made, and the message names the option or the choices."""
    arguments, told = WRONG_USE[case]
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, list(tmp_path.iterdir())) == ("", [])
    assert told in error


def faults_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_faults_and_incidents_are_those_that_were_asked_for(tmp_path: Path) -> None:
    """Without faults but those named, the truth has these alone; days and start place the world in time."""
    incident = "dropped_hour:disbursements:2026-03-02T10:00Z/2026-03-02T12:00Z"
    options = ["--events", "4000", "--days", "2", "--start", "2026-03-01", "--no-faults", "--fault", "wrong_fee=0.01"]
    assert main(["simulate", str(tmp_path / "w"), *options, "--incident", incident, "--format", "ndjson"]) == 0
    faults = faults_in(tmp_path / "w" / "faults.ndjson")
    assert {(fault["kind"], fault["incident"]) for fault in faults} == {("wrong_fee", None), ("dropped_hour", incident)}
    lines = (tmp_path / "w" / "events-00001.ndjson").read_text().splitlines()
    days = {line["effective_at"][:10] for line in map(json.loads, lines) if line["type"] == "charge.creation"}
    assert days == {"2026-03-01", "2026-03-02"}


def test_a_stream_is_the_same_world(tmp_path: Path, capsys: Capture) -> None:
    """Standard output has the lines that a file would have, and the truth goes where it is wanted."""
    options = ["--events", "3000", "--seed", "3", "--with-recorded-at"]
    assert main(["simulate", str(tmp_path / "w"), *options, "--format", "ndjson"]) == 0
    capsys.readouterr()
    assert main(["simulate", "-", *options, "--truth", str(tmp_path / "truth.ndjson")]) == 0
    streamed = capsys.readouterr().out
    assert streamed == (tmp_path / "w" / "events-00001.ndjson").read_text()
    assert '"recorded_at":"2026-01-05T' in streamed.splitlines()[0]
    assert faults_in(tmp_path / "truth.ndjson") == faults_in(tmp_path / "w" / "faults.ndjson")
    assert main(["simulate", "-", *options, "--truth", str(tmp_path / "truth.ndjson")]) == 2


def test_a_played_world_can_be_ingested_as_it_comes(tmp_path: Path) -> None:
    """`simulate - --speed` feeds `ingest -`, and what has arrived is there."""
    project = tmp_path / "platform"
    assert main(["init", str(project), "--example", "card_platform"]) == 0
    command = f"{sys.executable} -m clearwell"
    pipe = f"{command} simulate - --events 500 --speed 1e8 --days 1 | {command} ingest -p {project} - --json"
    environment = {**os.environ, "PYTHONPATH": str(Path(truth.__file__).parents[2])}
    shell = ["bash", "-o", "pipefail", "-c", pipe]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accepted"] >= 500


def test_recorded_at_is_a_column_when_it_is_wanted(tmp_path: Path) -> None:
    """A Parquet world says when each event arrived only with the option."""
    assert main(["simulate", str(tmp_path / "w"), "--events", "1000", "--with-recorded-at"]) == 0
    assert main(["simulate", str(tmp_path / "v"), "--events", "1000"]) == 0
    with_it, without = (pl.read_parquet(tmp_path / name / "events-00001.parquet") for name in ("w", "v"))
    assert with_it.drop("recorded_at").equals(without)


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, main(["demo", str(folder), "--events", "20000", "--seed", "2"])


def test_the_demo_finds_what_was_planted(demonstration: tuple[Path, int]) -> None:
    """The demo ends with exit code 0."""
    assert demonstration[1] == 0


def judged_again(folder: Path, capsys: Capture) -> tuple[int, str]:
    """The demo's last step alone, on its project."""
    code = 0
    try:
        demo._hold_against(folder, folder / "incoming" / "faults.ndjson")
    except typer.Exit as exit_:
        code = exit_.exit_code
    return code, capsys.readouterr().out


def test_the_demo_lists_each_fault_beside_its_finding(demonstration: tuple[Path, int], capsys: Capture) -> None:
    """A row per kind and incident, the totals of both sides, an example of each, and nothing unexplained."""
    code, out = judged_again(demonstration[0], capsys)
    assert code == 0
    faults = truth.read_faults(demonstration[0] / "incoming" / "faults.ndjson")
    rows = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert {(fault.incident or fault.kind).split()[0] for fault in faults} <= rows
    planted, found = (line for line in out.splitlines() if line.strip().startswith("all that"))
    assert planted.split()[9:] == found.split()[6:]
    assert "0 findings that no planted fault explains." in out
    with (demonstration[0] / "planted_and_found.csv").open(encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert sorted(row["account"] for row in listed) == sorted(fault.account for fault in faults)
    for row in listed:
        assert row["found_minor"] == (row["planted_minor"] if row["state"] == "overdue" else "")


@pytest.mark.parametrize("tampering", ["forgotten", "another amount", "invented"])
def test_the_demo_fails_when_findings_and_truth_differ(
    demonstration: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, capsys: Capture, tampering: str
) -> None:
    """A finding that no fault explains, money that differs, a planted fault that is not found: each gives exit 1."""
    faults = truth.read_faults(demonstration[0] / "incoming" / "faults.ndjson")
    place = next(i for i, fault in enumerate(faults) if fault.kind in {"dropped_hour", "missing_event"})
    changed = {
        "forgotten": [],
        "another amount": [replace(faults[place], amount_minor=faults[place].amount_minor + 1)],
        "invented": [faults[place], replace(faults[place], account="charge_undisbursed{charge=ch_0, business=acct_0}")],
    }[tampering]
    monkeypatch.setattr(truth, "read_faults", lambda _: [*faults[:place], *changed, *faults[place + 1 :]])
    code, out = judged_again(demonstration[0], capsys)
    assert code == 1
    assert ("  not found: " in out) == (tampering != "forgotten")
    assert ("  not planted: " in out) == (tampering != "invented")
