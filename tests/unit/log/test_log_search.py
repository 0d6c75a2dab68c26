"""Searching the log: what ranges rule out is not read, and nothing is missed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pyarrow import parquet

from clearwell.application import compacting
from clearwell.errors import StorageError
from clearwell.log import compaction, footers, search
from clearwell.log.filters import Wanted
from clearwell.log.footers import Footer, Footers
from clearwell.log.reader import LogReader
from clearwell.log.search import Alternative, Condition, found_by
from clearwell.values.cuts import Cut

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def has(**texts: str) -> Alternative:
    """That columns, by the names of their properties, have these texts."""
    needs = {f"property_{name}": [text] for name, text in texts.items()}
    return Alternative(pl.all_horizontal(pl.col(name) == own[0] for name, own in needs.items()), needs)


def found(log: LogReader, condition: Condition, sequence: int = 1_000, most: int = 1_000) -> list[int]:
    return found_by(log, condition, Cut(LATER, LATER, sequence), most)["sequence"].to_list()


@pytest.fixture(scope="module", params=["segments", "compacted", "both"])
def log(request: pytest.FixtureRequest, new_ledger: NewLedger, creation: Make, release: Make) -> LogReader:
    """Charges 0 to 11, each created, and the even ones released, one segment for each; row groups of two events."""
    ledger = new_ledger(compaction_events=9)
    for number in range(12):
        own = {"charge": f"ch_{number:02d}", "business": f"acct_{number % 3}"}
        events = [creation(id=f"c{number}", properties={**own, "network": "visa"})]
        events += [release(id=f"r{number}", properties=own)] * (number % 2 == 0)
        ledger.ingest(*events)
        ledger.clock.advance(seconds=1)
        if (request.param, number) in {("compacted", 11), ("both", 6)}:
            compact(ledger)
    with ledger.open() as workspace:
        return workspace.log()


def compact(ledger: Ledger) -> None:
    with pytest.MonkeyPatch.context() as patch, ledger.open() as workspace:
        patch.setattr(compaction, "COMPACTED_ROW_GROUP_EVENTS", 2)
        compacting.compact(workspace)


def test_every_event_that_meets_the_condition_is_found(log: LogReader) -> None:
    """One value, several alternatives, several members, and values that nothing has."""
    assert found(log, [[has(charge="ch_04")]]) == [7, 8]
    assert found(log, [[has(charge="ch_04"), has(charge="ch_01")]]) == [3, 7, 8]
    assert found(log, [[has(business="acct_1")], [has(charge="ch_04"), has(charge="ch_03")]]) == [7, 8]
    assert found(log, [[has(business="acct_1", network="visa")]]) == [3, 7, 12, 16]
    assert found(log, [[has(charge="ch_05x")]]) == found(log, [[has(nothing="ch_04")]]) == found(log, [[]]) == []


def test_an_expression_decides_where_the_needs_do_not(log: LogReader) -> None:
    """What the ranges let pass is looked at; a column that a file lacks is null."""
    anything = Alternative(pl.col("property_charge").str.ends_with("4") & pl.col("absent").is_null(), {"type": None})
    assert found(log, [[anything]]) == [7, 8]


def test_a_cut_and_a_limit_take_the_first(log: LogReader) -> None:
    """Events beyond the cut are not found, and of those before it no more than wanted, by sequence."""
    everything = [[Alternative(pl.col("property_charge").is_not_null(), {"property_charge": None})]]
    assert found(log, everything) == list(range(1, 19))
    assert found(log, everything, sequence=11) == list(range(1, 12))
    assert found(log, everything, most=5) == [1, 2, 3, 4, 5]
    assert found(log, [[has(charge="ch_04")]], sequence=7) == [7]
    early = Cut(datetime(2026, 1, 2, 3, 5, tzinfo=UTC), LATER, 1_000)
    assert found_by(log, everything, early, 1_000)["type"].unique().to_list() == ["charge.creation"]


def test_an_event_comes_with_all_that_it_has(log: LogReader) -> None:
    """The events that are found are those that a reader of the whole log sees."""
    everything = [[Alternative(pl.col("property_charge").is_not_null(), {"property_charge": None})]]
    whole = pl.concat([events for _, events in log.after(0)], how="diagonal").sort("sequence")
    got = found_by(log, everything, Cut(LATER, LATER, 1_000), 1_000)
    assert got.select(whole.columns).equals(whole)


def test_few_rows_are_read_at_once(log: LogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many row groups may hold a value, they are taken by parts."""
    monkeypatch.setattr(search, "_ROWS_AT_ONCE", 3)
    assert found(log, [[has(business="acct_1")]]) == [3, 7, 8, 12, 16, 17]


def test_row_groups_that_cannot_hold_a_value_are_ruled_out(tmp_path: Path) -> None:
    """By the least and greatest text; a row group of nulls has none, one without statistics may have any."""
    path = tmp_path / "file.parquet"
    texts = ["a", "c", None, None, "d", "f"]
    table = pl.DataFrame({"name": texts, "other": texts}).to_arrow()
    parquet.write_table(table, path, row_group_size=2, write_statistics=["name"])
    footer = Footer(path)
    assert [footer.holding("name", Wanted([text])) for text in ("a", "b", "cc", "f", "g")] == [
        {0},
        {0},
        set(),
        {2},
        set(),
    ]
    assert footer.holding("name", Wanted(["0", "e"])) == {2}
    assert footer.holding("name", None) == {0, 2}
    assert footer.holding("other", Wanted(["x"])) == footer.holding("other", None) == {0, 1, 2}
    assert footer.holding("absent", None) == set()


def test_footers_are_kept_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A footer is read once while it is in use; those that were asked for long ago are let go."""
    paths = [tmp_path / f"{number}.parquet" for number in range(4)]
    for path in paths:
        parquet.write_table(pl.DataFrame({"a": [1], "b": [2]}).to_arrow(), path)
    kept = Footers()
    first = kept.of(paths[0])
    assert kept.of(paths[0]) is first
    monkeypatch.setattr(footers, "_MOST_COLUMN_CHUNKS", 5)
    for path in paths[1:]:
        kept.of(path)
    assert kept.of(paths[0]) is not first
    assert kept.of(paths[3]) is kept.of(paths[3])


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_a_missing_or_damaged_file_raises(log: LogReader, tmp_path: Path, content: bytes | None) -> None:
    """A search never answers without a file that it should have looked at."""
    other = LogReader(tmp_path, log.segments)
    if content is not None:
        for file in other.files:
            other.path(file).write_bytes(content)
    with pytest.raises(StorageError) as caught:
        found(other, [[has(charge="ch_04")]])
    assert caught.value.code == "segment_unreadable"
