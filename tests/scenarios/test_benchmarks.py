"""The benchmark tells what it promises, and its world is what is written of it. No figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

pytestmark = pytest.mark.xdist_group("benchmarks")
"""One process makes the report, and the records of a world, for all."""

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
RECORDS = 600_000
EVENTS = 20_000
FAST = (
    "ingest-1m", "seal", "ingest-known", "ingest-ndjson", "ingest-csv", "status", "open", "trace-cold", "trace-warm",
    "past", "rebuild", "verify", "log-size", "duckdb-clearing", "polars-clearing", "raw-parquet-write", "fsync",
)  # fmt: skip


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def module_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def imported(name: str) -> ModuleType:
        return import_module(name)

    return imported


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of the figures that are fast, at a small size."""
    folder = tmp_path_factory.mktemp("benchmarks")
    names = [argument for name in FAST for argument in ("--only", name)]
    done = _run("--events", str(EVENTS), "--repeat", "1", "--json", "--folder", str(folder), *names)
    assert done.returncode == 0, done.stderr
    assert not list((folder / "work").iterdir()), "what a run writes is removed after it"
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_every_figure_has_its_runs_and_memory(report: dict[str, Any]) -> None:
    """Each figure asked for is there once, with its median, its runs, and the memory that it took."""
    figures = {item["name"]: item for item in report["figures"]}
    assert [item["name"] for item in report["figures"]] == [*FAST, "memory"]
    for name in FAST:
        item = figures[name]
        assert item["runs"] == [item["median"]]
        assert item["median"] > 0
        assert item["memory_bytes"] > 10_000_000
    assert figures["memory"]["memory_bytes"] == max(
        item["memory_bytes"] for name, item in figures.items() if name in FAST[:13]
    )


def test_every_way_in_takes_the_same_records(report: dict[str, Any]) -> None:
    """Parquet, NDJSON and a CSV through a source's SQL accept and refuse the same, and give a log of the same size."""
    details = [item["details"][0] for item in report["figures"] if item["name"].startswith("ingest-")]
    same = [item for item in details if "accepted" in item]
    assert len(same) == 3
    assert same[0] == same[1] == same[2]
    assert same[0]["accepted"] + same[0]["quarantined"] == EVENTS
    assert same[0]["quarantined"] > 0


def test_the_header_says_where_it_was_measured(report: dict[str, Any]) -> None:
    """Machine, versions, revision and date are in the header."""
    header = report["header"]
    assert header["machine"]["cores"] >= 1
    assert header["machine"]["disk_sync_mb_per_second"] > 0
    assert {"python", "polars", "duckdb", "pyarrow", "numpy", "postgresql"} == set(header["versions"])
    assert set(header["git"]) == {"revision", "dirty"}
    assert datetime.fromisoformat(header["date"]).tzinfo is not None


def test_what_stands_beside_is_compared(report: dict[str, Any]) -> None:
    """The ratio to an alternative says how many times as good Clearwell is, whichever direction is good."""
    median = {item["name"]: item["median"] for item in report["figures"]}
    times = {item["beside"]: item["times_as_good"] for item in report["beside"]}
    assert times["duckdb-clearing"] == pytest.approx(median["duckdb-clearing"] / median["status"])
    assert times["raw-parquet-write"] == pytest.approx(median["ingest-1m"] / median["raw-parquet-write"])


def test_a_figure_that_misses_is_told(module_of: Any) -> None:
    """A value beyond must is `no`, one within it `must`, one within the goal `goal`, in both directions."""
    figures = {figure.name: figure for figure in module_of("figures").FIGURES}
    assert [figures["status"].reached(value) for value in (51, 50, 20)] == ["no", "must", "goal"]
    assert [figures["ingest-1m"].reached(value) for value in (499_999, 500_000, 1_000_000)] == ["no", "must", "goal"]
    assert figures["seal"].reached(1) == ""


def test_growth_is_the_largest_against_the_smallest(module_of: Any, tmp_path: Path) -> None:
    """Growth beyond the bound is told, and drawn: one plot for each figure that has two sizes."""
    figures = module_of("figures").FIGURES
    results = [
        {"name": name, "revision": "r", "events": events, "median": value}
        for name, events, value in (("status", 10, 20.0), ("status", 1000, 25.0), ("open", 10, 5.0))
    ]
    (grown,) = module_of("report").growth(figures, results)
    assert (grown["name"], grown["ratio"], grown["must"], grown["reached"]) == ("status", 1.25, 1.2, False)
    source, picture = tmp_path / "report.json", tmp_path / "images" / "growth.svg"
    source.write_text(json.dumps({"figures": results}), encoding="utf-8")
    assert _run("--plot-from", str(source), "--plot", str(picture)).returncode == 0
    titles = [element.text for element in ElementTree.parse(picture).iter() if element.get("class") == "title"]
    assert titles == ["status, ms"]


@pytest.mark.parametrize("arguments", [("--only", "speed"), ("--only", "fsync", "--against", "no-such-revision")])
def test_what_is_not_there_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A figure or a revision that does not exist is wrong use, with a message and no traceback."""
    done = _run(*arguments, "--folder", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def records() -> pl.DataFrame:
    """The first records of a world of a million."""
    return _world(1_000_000).records(0, RECORDS)


def _world(events: int) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return import_module("world").World(events, UNTIL)


def test_a_record_is_a_function_of_its_index(records: pl.DataFrame) -> None:
    """Any part of the world can be made alone, and is what it is within the whole."""
    assert _world(1_000_000).records(250_000, 500).equals(records.slice(250_000, 500))


def test_ids_are_random_strings(records: pl.DataFrame) -> None:
    """Ids have 20 to 30 characters, of every length; what follows `evt_` begins with every letter and digit."""
    assert records["id"].str.len_bytes().unique().sort().to_list() == list(range(20, 31))
    assert records["id"].str.slice(4, 1).n_unique() == 62


def test_three_properties_have_very_many_values(records: pl.DataFrame) -> None:
    """Charge, payout and dispute have a value per thing, which nothing tells in advance; the others have few."""
    names = [name for name in records.columns if name.startswith("property_")]
    told = {name: records[name].drop_nulls() for name in names}
    many = {name for name, values in told.items() if values.n_unique() > 0.45 * values.len()}
    assert many == {"property_charge", "property_payout", "property_dispute"}
    assert len(names) == 10
    assert told["property_charge"].str.slice(3, 1).n_unique() == 62
    assert told["property_charge"].str.slice(3).str.len_bytes().min() >= 11


def test_one_of_a_hundred_is_told_twice(records: pl.DataFrame) -> None:
    """From the 200,000th record on 1 % repeat one before them, to the last field."""
    repeated = RECORDS - records["id"].n_unique()
    assert repeated / (RECORDS - 200_000) == pytest.approx(0.01, rel=0.1)
    assert records.unique().height == records["id"].n_unique()


def test_one_of_a_thousand_cannot_become_an_event(records: pl.DataFrame) -> None:
    """0.1 % have an unknown type, an unknown currency, or no effective time."""
    refused = (
        (pl.col("type") == "charge.creatoin") | (pl.col("currency") == "XXQ") | pl.col("effective_at").is_null()
    )  # fmt: skip
    assert records.filter(refused).height / RECORDS == pytest.approx(0.001, rel=0.15)


def test_one_of_fifty_is_late_by_hours(records: pl.DataFrame) -> None:
    """2 % occurred 1 to 10 hours before those that arrived beside them; a repetition alone may be further behind."""
    first = records.filter(pl.col("id").is_first_distinct())["occurred_at"]
    behind = first.cum_max() - first
    assert behind.filter(behind > timedelta(minutes=30)).len() / first.len() == pytest.approx(0.02, rel=0.1)
    # A record that repeats one whose place was itself taken by a repetition is told for the first time then.
    assert behind.filter(behind > timedelta(hours=10, minutes=1)).len() / first.len() < 0.0002


def test_five_currencies_and_seven_types() -> None:
    """Sound records have five currencies; once the accounts are open, the seven event types of the flows occur."""
    records = _world(1_000_000).records(700_000, 50_000)
    assert set(records["currency"]) - {"XXQ"} == {"USD", "EUR", "GBP", "JPY", "BRL"}
    assert len(set(records["type"]) - {"charge.creatoin"}) == 7
