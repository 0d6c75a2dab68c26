"""The commands `expectations` and `arrivals`, as a person and as a program use them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

import clearwell
from clearwell.cli.main import main

FLOW = """\
flow: shop
owner: sales
accounts:
  bank: {kind: reservoir, properties: []}
  charge_open: {kind: clearing, properties: [charge, shop], clears_within: learned}
events:
  charge.created:
    producer: till
    properties: [charge, shop]
    moves: [{amount: paid, from: bank, to: charge_open}]
  charge.settled:
    producer: bank
    properties: [charge, shop]
    moves: [{amount: paid, from: charge_open, to: bank}]
"""
BEGAN, WEEKS = datetime(2026, 1, 5, tzinfo=UTC), 7
SILENT = range(6 * 168 + 60, 6 * 168 + 66)
"""Six hours of the seventh week in which the till says nothing."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven weeks of a shop, imported: about twenty charges an hour, each settled within a minute."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "flows").mkdir()
    (folder / "flows" / "shop.yaml").write_text(FLOW, encoding="utf-8")
    (folder / "clearwell.yaml").write_text("expectations: {subdivide: {charge_open: shop}}\n", encoding="utf-8")
    random = np.random.default_rng(7)
    counts = random.poisson(20, WEEKS * 168)
    counts[list(SILENT)] = 0
    hours = np.repeat(np.arange(WEEKS * 168), counts)
    opened = BEGAN.timestamp() + hours * 3600 + np.sort(random.uniform(0, 3600, len(hours)))
    took = random.uniform(10, 60, len(hours))
    frames = []
    for name, at in (("charge.created", opened), ("charge.settled", opened + took)):
        instant = pl.from_epoch(pl.Series((at * 1_000_000).astype(np.int64)), "us").dt.replace_time_zone("UTC")
        frames.append(
            pl.DataFrame({"effective_at": instant, "occurred_at": instant}).with_columns(
                recorded_at=instant + timedelta(seconds=2),
                type=pl.lit(name),
                id=pl.int_range(pl.len()).cast(pl.String),
                property_charge=pl.int_range(pl.len()).cast(pl.String),
                property_shop=pl.Series(np.where(np.arange(len(at)) % 3, "north", "south")),
                currency=pl.lit("EUR"),
                amount_paid=pl.lit(100),
            )
        )
    path = folder / "history.parquet"
    pl.concat(frames).sort("recorded_at").write_parquet(path)
    with clearwell.open_project(folder) as project:
        assert project.ingest(path, imports=True).accepted == 2 * len(hours)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def at(hour: int) -> str:
    return (BEGAN + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


def test_silence_is_found(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The six hours are one finding per event type, and per account type that was not filled; `--fail` exits with 1."""
    cut = ("--at", at(WEEKS * 168), "--project", str(shop))
    code, out, _ = run(capsys, "arrivals", "--json", *cut)
    content = json.loads(out)
    silent = [item for item in content["findings"] if item["kind"] == "silent"]
    assert code == 0
    subjects = [
        *(("event_type", name) for name in ("charge.created", "charge.settled")),
        *(("account_type", name) for name in ("bank", "charge_open")),
    ]
    names = ("subject_kind", "subject", "start", "end", "bucket_count")
    assert [tuple(item[name] for name in names) for item in silent] == [
        (*subject, at(SILENT.start), at(SILENT.stop), 6) for subject in subjects
    ]
    assert [(item["subject_kind"], item["subject"]) for item in content["subjects"]] == subjects
    assert {item["method"] for item in content["subjects"]} == {"forecast"}
    assert len({item["count"] for item in content["subjects"]}) == 2, "an account is filled as its only event happens"
    assert run(capsys, "arrivals", "--fail", "--event-type", "charge.created", *cut)[0] == 1
    code, out, _ = run(capsys, "arrivals", "--fail", "-t", "charge_open", *cut)
    assert (code, "charge_open" in out, "charge.created" in out) == (1, True, False)


def test_before_the_silence_nothing_is_found(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At a cut before it, the week is as all weeks, and `--fail` leaves with 0; a table says what was judged."""
    cut = ("--at", at(6 * 168 + 48), "--project", str(shop))
    code, out, _ = run(capsys, "arrivals", "--fail", "--days", "2", *cut)
    assert (code, out.splitlines()[0].strip()) == (0, "0 finding(s)")
    assert "charge.settled" in out
    assert "forecast" in out


def test_too_short_a_history_is_said(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the second week nothing is judged, and that is what is printed."""
    code, out, _ = run(capsys, "arrivals", "--at", at(10 * 24), "--days", "2", "--project", str(shop))
    assert code == 0
    assert out.count("none: too little history") == 4


@pytest.mark.parametrize(("kind", "known"), [("event-type", "charge.settled"), ("account-type", "charge_open")])
def test_an_unknown_subject_is_wrong_use(shop: Path, capsys: pytest.CaptureFixture[str], kind: str, known: str) -> None:
    """A name that the model does not have is refused, with the names that it has."""
    code, _, error = run(capsys, "arrivals", f"--{kind}", "charge", "--project", str(shop))
    assert (code, f"{kind.replace('-', '_')}_unknown" in error, known in error) == (2, True, True)


def test_windows_are_shown_drawn_and_accepted(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has each shop apart, the picture its curves, and after `--accept` the window is in force."""
    cut = ("--at", at(WEEKS * 168), "--project", str(shop))
    picture = tmp_path / "windows.svg"
    code, out, _ = run(capsys, "expectations", "--plot", str(picture), *cut)
    assert (code, "shop=north" in out, "shop=south" in out) == (0, True, True)
    texts = "".join(element.text or "" for element in ElementTree.parse(picture).iter())
    assert all(word in texts for word in ("charge_open", "still open, %", "shop=north", "learned: "))
    whole = json.loads(run(capsys, "expectations", "--json", *cut)[1])["account_types"][0]
    assert (whole["state"], whole["accepted_seconds"], whole["beyond"]) == ("learned", None, None)
    assert 70 <= whole["learned_seconds"] <= 72, "1.2 times what 99 of 100 take, evenly between 10 and 60 s"
    code, out, _ = run(capsys, "expectations", "--accept", *cut)
    assert (code, f"charge_open clears within {whole['learned_seconds']} seconds" in out) == (0, True)
    after: dict[str, Any] = json.loads(run(capsys, "expectations", "--json", *cut)[1])["account_types"][0]
    assert (after["accepted_seconds"], after["window_seconds"]) == (whole["learned_seconds"],) * 2
    assert after["beyond"] == 0.0


def test_what_cannot_be_drawn_is_said(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be written, and a cut without episodes, are wrong use with a message."""
    missing = run(capsys, "expectations", "--plot", str(shop / "no" / "w.svg"), "--project", str(shop))
    assert (missing[0], "file_not_writable" in missing[2]) == (2, True)
    nothing = run(capsys, "expectations", "--plot", "w.svg", "--at", "2026-01-01", "--project", str(shop))
    assert (nothing[0], "nothing_to_draw" in nothing[2]) == (2, True)


@pytest.mark.parametrize("arguments", [("--account-type", "bank"), ("--account-type", "colour")])
def test_only_clearing_account_types_have_windows(
    shop: Path, arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A reservoir and an unknown name are refused."""
    code, _, error = run(capsys, "expectations", *arguments, "--project", str(shop))
    assert (code, "account_type_unknown" in error) == (2, True)
