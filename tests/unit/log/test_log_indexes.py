"""Indexes of the log's files: nothing is missed by them, and without them nothing changes but the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from clearwell.application import compacting
from clearwell.application.cutting import CutRequest
from clearwell.application.tracing import trace
from clearwell.log import compaction, indexes
from clearwell.log.filters import Wanted
from clearwell.log.footers import Footer
from clearwell.log.indexes import IndexUnusable, opened_index, write_index

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
Copied = Callable[[Callable[[], "Ledger"]], "Ledger"]
CHARGES = [f"ch_{number:02d}" for number in range(0, 24, 2)]


@pytest.fixture(autouse=True)
def filters_for_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small row groups have filters, too."""
    monkeypatch.setattr(indexes, "_SMALL_BYTES", 0)


@pytest.fixture
def ledger(
    copied: Copied, new_ledger: NewLedger, creation: Make, release: Make, monkeypatch: pytest.MonkeyPatch
) -> Ledger:
    """Two compacted files with row groups of four events: charges of even numbers, created and released."""
    monkeypatch.setattr(compaction, "COMPACTED_ROW_GROUP_EVENTS", 4)

    def build() -> Ledger:
        ledger = new_ledger(compaction_events=12)
        for charge in CHARGES:
            own = {"charge": charge, "business": "acct_1"}
            created = creation(id=f"c{charge}", properties={**own, "network": "visa"})
            ledger.ingest(created, release(id=f"r{charge}", properties=own))
        compact(ledger)
        return ledger

    return copied(build)


def compact(ledger: Ledger) -> None:
    with ledger.open() as workspace:
        compacting.compact(workspace)


def traces(ledger: Ledger) -> list[list[dict[str, Any]]]:
    """The events of each charge, and of one that there is not."""
    with ledger.open() as workspace:
        return [trace(workspace, CutRequest(), {"charge": charge}).events for charge in [*CHARGES, "ch_05"]]


def index_paths(ledger: Ledger) -> list[Path]:
    return sorted((ledger.data / "index").iterdir())


def log_names(ledger: Ledger) -> list[str]:
    return sorted(path.name for path in (ledger.data / "log").iterdir())


texts = st.none() | st.text(max_size=6) | st.text(alphabet="ab\u00e9\U0001f4a7", max_size=3) | st.just("long" * 3_000)


@given(st.lists(texts, min_size=1, max_size=40), st.integers(1, 7))
def test_an_index_misses_no_text(values: list[str | None], rows: int) -> None:
    """Each row group that has a text is among those that may; there are no others than by the file's own footer."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log" / "file.parquet"
        path.parent.mkdir()
        frame = pl.DataFrame({"name": values, "number": range(len(values))}, schema_overrides={"name": pl.String})
        parquet.write_table(frame.to_arrow(), path, row_group_size=rows)
        write_index(path)
        footer = Footer(path)
        with opened_index(path) as index:
            for text in {text for text in values if text is not None}:
                holding = {place // rows for place, value in enumerate(values) if value == text}
                for wanted in (Wanted([text]), Wanted([text, "another"])):
                    assert holding <= index.holding("name", wanted) <= footer.holding("name", wanted)
            assert index.holding("name", None) == footer.holding("name", None)
            assert index.holding("number", None) == footer.holding("number", None)
            assert index.holding("absent", None) == index.holding("absent", Wanted(["a"])) == set()


def test_a_file_that_its_index_rules_out_is_not_looked_at(ledger: Ledger) -> None:
    """A value that no file has, though it is between others, is found absent by the indexes alone."""
    for path in (ledger.data / "log").iterdir():
        path.write_bytes(b"never read")
    with ledger.open() as workspace:
        assert trace(workspace, CutRequest(), {"charge": "ch_05"}).events == []


def test_indexes_come_and_go_with_their_files(ledger: Ledger, creation: Make) -> None:
    """Compaction gives each file that is there an index, and leaves none of a file that is gone, nor anything else."""
    before = index_paths(ledger)
    assert [path.name for path in before] == [f"{name}.index" for name in log_names(ledger)]
    (ledger.data / "index" / ".rest.part").write_bytes(b"of a crash")
    for number in range(10):
        ledger.ingest(creation(id=f"later{number}"))
    compact(ledger)
    assert [path.name for path in index_paths(ledger)] == [f"{name}.index" for name in log_names(ledger)]
    assert index_paths(ledger) != before


def test_traces_are_the_same_without_an_index(ledger: Ledger) -> None:
    """Indexes may be deleted at any time; the next compaction writes them again, though it has nothing else to do."""
    expected = traces(ledger)
    content = {path: path.read_bytes() for path in index_paths(ledger)}
    for path in content:
        path.unlink()
    assert traces(ledger) == expected
    compact(ledger)
    assert {path: path.read_bytes() for path in index_paths(ledger)} == content


def test_a_damaged_index_is_not_believed(ledger: Ledger) -> None:
    """Cut short, overwritten, or with a byte changed anywhere, it makes no trace another one."""
    expected = traces(ledger)
    (path, *_) = index_paths(ledger)
    content = path.read_bytes()
    damaged = [content[:size] for size in (0, 10, 20, 100, len(content) // 2, len(content) - 1)]
    damaged += [b"\xff" * len(content), content[:18] + b"\xff" * 4 + content[22:], content[:-4096] + bytes(4096)]
    damaged += [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in range(0, len(content), 1_999)]
    for other in damaged:
        path.write_bytes(other)
        assert traces(ledger) == expected


def test_an_index_of_another_file_is_not_believed(ledger: Ledger) -> None:
    """Where indexes were exchanged, no trace is another one."""
    expected = traces(ledger)
    first, second = index_paths(ledger)[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert traces(ledger) == expected


def test_an_index_of_other_hashes_is_written_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where texts have other hashes than when it was written, an index is not asked, and compaction replaces it."""
    expected = traces(ledger)
    monkeypatch.setattr(indexes, "text_fingerprint", lambda: 1)
    path = next((ledger.data / "log").iterdir())
    with pytest.raises(IndexUnusable), opened_index(path):
        pass
    assert traces(ledger) == expected
    compact(ledger)
    with opened_index(path) as index:
        assert index.holding("property_charge", None)


def test_compaction_does_without_indexes_where_none_can_be_written(ledger: Ledger, creation: Make) -> None:
    """Where the folder cannot be made, compaction succeeds, and traces are answered from the log."""
    for path in index_paths(ledger):
        path.unlink()
    (ledger.data / "index").rmdir()
    (ledger.data / "index").write_bytes(b"in the way")
    ledger.ingest(creation(id="later"))
    compact(ledger)
    assert [len(events) for events in traces(ledger)[1:]] == [2] * 11 + [0]
