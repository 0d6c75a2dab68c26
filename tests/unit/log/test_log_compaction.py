"""Compaction: the same events in fewer files, the same chain, and no reader that ever misses a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pyarrow import parquet

from clearwell.application import compacting, questions
from clearwell.application.cutting import CutRequest
from clearwell.application.tracing import trace
from clearwell.catalog import manifest
from clearwell.errors import StorageError
from clearwell.log import compaction
from clearwell.log.compaction import compactable, leading_property
from clearwell.log.manifest import Compaction, LogFile, Segment, current_files
from clearwell.log.reader import LogReader

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
Copied = Callable[[Callable[[], "Ledger"]], "Ledger"]


@pytest.fixture
def filled(copied: Copied, new_ledger: NewLedger, creation: Make, release: Make) -> Ledger:
    """Twelve charges, of which the even ones are released, in twelve segments."""

    def build() -> Ledger:
        ledger = new_ledger(compaction_events=8)
        for number in range(12):
            own = {"charge": f"ch_{(number * 5) % 12}", "business": "acct_A"}
            events = [creation(id=f"c{number}", properties={**own, "network": "visa"})]
            events += [release(id=f"r{number}", properties=own)] * (number % 2 == 0)
            ledger.ingest(*events)
            ledger.clock.advance(seconds=1)
        return ledger

    return copied(build)


def compact(ledger: Ledger) -> compacting.Compacted:
    with ledger.open() as workspace:
        return compacting.compact(workspace)


def everything(ledger: Ledger) -> list[object]:
    """All that people can ask, now and at cuts in the middle of what becomes one file."""
    answers: list[object] = []
    with ledger.open() as workspace:
        for known_at in ("", "1", "4", "9", "2026-03-01T12:00:05Z"):
            request = CutRequest("2026-03-01T13:00:00Z", known_at)
            answers.append(questions.status(workspace, request))
            answers.append(questions.open_accounts(workspace, request, questions.OpenFilter()))
            answers.append(trace(workspace, request, {"charge": "ch_10"}))
    return answers


def events(log: LogReader) -> pl.DataFrame:
    return pl.concat([log.events(file) for file in log.files], how="diagonal")


def test_content_chain_and_answers_stay(filled: Ledger) -> None:
    """Files become fewer; the events, in their order, the manifest and every answer are what they were."""
    with filled.open() as workspace:
        before = workspace.log()
        segments, content = before.segments, events(before)
        del before
    answers = everything(filled)
    result = compact(filled)
    assert (result.files_before, result.files_after, result.removed, result.waiting) == (12, 3, 12, 0)
    with filled.open() as workspace:
        after = workspace.log()
        assert after.segments == segments
        assert events(after).equals(content)
        assert sorted(path.name for path in workspace.log_folder.iterdir()) == sorted(item.name for item in after.files)
    assert everything(filled) == answers
    assert filled.fault_codes() == set()


def test_a_log_goes_on_after_compaction(filled: Ledger, creation: Make) -> None:
    """Duplicates are known, new events follow, a rebuild gives the same, and a second compaction takes them in."""
    compact(filled)
    charge = {"charge": "ch_0", "business": "acct_A", "network": "visa"}
    assert filled.ingest(creation(id="c0", properties=charge)).duplicates == 1
    for number in range(16):
        filled.ingest(creation(id=f"later{number}"))
    assert compact(filled).files_after < 3 + 16
    assert filled.ingest(creation(id="c0", properties=charge)).duplicates == 1
    (filled.data / "projections.duckdb").unlink()
    assert filled.fault_codes() == set()


def test_rows_are_sorted_for_a_search(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups are cut from the events in the order of their leading values; within one, sequences grow."""
    monkeypatch.setattr(compaction, "COMPACTED_ROW_GROUP_EVENTS", 3)
    compact(filled)
    with filled.open() as workspace:
        log = workspace.log()
        for file in log.files:
            rows = pl.read_parquet(log.path(file)).select("property_charge", "sequence").rows()
            groups = [rows[start : start + 3] for start in range(0, len(rows), 3)]
            assert parquet.read_metadata(log.path(file)).num_row_groups == len(groups)
            assert [sorted(group) for group in groups] == [
                sorted(rows)[start : start + 3] for start in range(0, len(rows), 3)
            ]
            assert all(sequences == sorted(sequences) for sequences in ([row[1] for row in group] for group in groups))
        model = workspace.project_model()
    assert leading_property(model, "charge.creation") == leading_property(model, "charge.release") == "charge"


def test_a_large_file_is_made_by_parts(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sources are read several times, a few events at a time, the file is the same."""
    names = []
    for events in (1_000_000, 4):
        monkeypatch.setattr(compaction, "_EVENTS_AT_ONCE", events)
        monkeypatch.setattr(compaction, "COMPACTED_ROW_GROUP_EVENTS", 2)
        with filled.open() as workspace:
            log = workspace.log()
            written = compaction.compacted(log, log.files[:7], workspace.known_models())
        names.append(written.name)
    assert names[0] == names[1]


def test_old_files_stay_while_a_reader_may_want_them(filled: Ledger) -> None:
    """A reader from before a compaction reads on undisturbed; what was replaced goes when the reader is gone."""
    with filled.open() as workspace:
        reader = workspace.log()
        content = events(reader)
        assert (compact(filled).removed, compact(filled).waiting) == (0, 12)
        assert events(reader).equals(content)
        del reader
    assert (compact(filled).removed, compact(filled).waiting) == (12, 0)
    assert filled.fault_codes() == set()


def test_a_reader_that_comes_between_looks_again(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction between the look for the generation and its lock does not leave a reader with files that go."""
    calls = iter([lambda: None, lambda: compact(filled)])
    newest = manifest.newest_compaction

    def compacted_meanwhile(connection: Any) -> int:
        generation = newest(connection)
        next(calls, lambda: None)()
        return generation

    with filled.open() as workspace:
        workspace.periods()
        next(calls)
        monkeypatch.setattr(manifest, "newest_compaction", compacted_meanwhile)
        log = workspace.log()
        monkeypatch.undo()
        compact(filled)
        assert [item.compacted for item in log.files] == [True] * 3
        assert events(log).height == 18


def crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["append_compaction", "file_names"])
def test_an_interrupted_compaction_changes_nothing(
    filled: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the commit and after it, the log is whole; the next writer goes on, the next compaction finishes."""
    answers = everything(filled)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, step, crash)
        with pytest.raises(KeyboardInterrupt):
            compact(filled)
    assert filled.fault_codes() == set()
    assert everything(filled) == answers
    filled.ingest(creation(id="later"))
    compact(filled)
    with filled.open() as workspace:
        log = workspace.log()
        assert {path.name for path in workspace.log_folder.iterdir()} == {item.name for item in log.files}
    assert filled.fault_codes() == set()


def test_damage_is_not_copied(filled: Ledger) -> None:
    """A file that is not what the manifest says stops a compaction before anything is written."""
    path = sorted((filled.data / "log").iterdir())[3]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        compact(filled)
    assert caught.value.code == "segment_changed"
    assert len(list((filled.data / "log").iterdir())) == 12


@pytest.mark.parametrize(
    "change",
    [
        lambda events: events.head(1),
        lambda events: pl.concat([events, events.head(1)]),
        lambda events: pl.concat([events.head(-1), events.head(1)]),
        lambda events: events.with_columns(sequence=pl.col("sequence") + 1),
        lambda events: events.with_columns(id=pl.col("id").shift(fill_value="other")),
        lambda events: events.with_columns(
            effective_at="occurred_at", occurred_at=pl.col("effective_at").dt.offset_by("1ms")
        ),
        lambda events: events.drop("property_business"),
    ],
)
def test_a_file_that_reads_back_otherwise_is_not_used(
    filled: Ledger, monkeypatch: pytest.MonkeyPatch, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """Where the new file does not hold the same events, the old ones stay."""
    in_order = compaction._by_row_group
    monkeypatch.setattr(compaction, "_by_row_group", lambda *given: (change(part) for part in in_order(*given)))
    with pytest.raises(StorageError) as caught:
        compact(filled)
    assert caught.value.code == "compaction_differs"
    assert filled.fault_codes() == set()


def files(*counts: int) -> list[LogFile]:
    """Files of so many events each."""
    made: list[LogFile] = []
    for number, count in enumerate(counts, 1):
        first = made[-1].last_sequence + 1 if made else 1
        segment = Segment(number, first, first + count - 1, count, 0, "", "", "", "", "", f"f{number}", 1, "", "")
        made.append(LogFile(f"f{number}", 1, "", (segment,)))
    return made


@pytest.mark.parametrize(
    ("counts", "runs"),
    [
        ([], []),
        ([5], []),
        ([5, 5], [[5, 5]]),
        ([5, 5, 1], [[5, 5]]),
        ([10, 10], []),
        ([8, 1], []),
        ([8, 2], [[8, 2]]),
        ([1] * 12, [[1] * 10, [1] * 2]),
        ([20, 3, 3, 20], [[3, 3]]),
    ],
)
def test_what_is_worth_compacting(counts: list[int], runs: list[list[int]]) -> None:
    """Neighbours up to ten events, but for a large file that little would join."""
    found = [[item.event_count for item in run] for run in compactable(files(*counts), 10)]
    assert found == runs


def test_the_newest_compaction_counts() -> None:
    """A file that took the place of compacted files, and of others, stands for all their segments."""
    segments = [segment for file in files(1, 1, 1, 1) for segment in file.segments]
    older = Compaction(1, 1, 2, 2, "older", 1, "", "")
    newer = Compaction(2, 1, 3, 3, "newer", 1, "", "")
    found = current_files(segments, [newer, older])
    assert [(item.name, item.first_sequence, item.last_sequence) for item in found] == [("newer", 1, 3), ("f4", 4, 4)]
    earlier = current_files(segments[:2], [newer, older])
    assert [(item.name, item.first_sequence, item.last_sequence) for item in earlier] == [("newer", 1, 2)]
