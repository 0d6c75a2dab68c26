"""Verification: silent about a sound ledger, and a fault with its code for each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from sqlalchemy import text

from clearwell.application import modelling
from clearwell.errors import ClearwellError
from clearwell.ingest import door
from clearwell.ingest.duplicates import Deduplicated
from clearwell.ingest.identities import identity_hash
from clearwell.ledger.rejections import no_rejections
from clearwell.log.manifest import Segment
from clearwell.log.writer import write_segment

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """Three segments: a charge that is created, another, and the release of the first."""
    ledger.ingest(creation())
    ledger.ingest(creation(id="evt_3", properties={"charge": "ch_2", "business": "acct_A", "network": "visa"}))
    ledger.ingest(release())
    return ledger


def segment(ledger: Ledger, number: int) -> Path:
    (path,) = (ledger.data / "log").glob(f"segment-{number:08d}-*.parquet")
    return path


def catalog(ledger: Ledger, *statements: str) -> None:
    """Change the catalog behind the product's back."""
    with ledger.catalog() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def reseal(ledger: Ledger, number: int, **changes: Any) -> None:
    """Change a manifest row and give it, and all that follow, fitting hashes: what a clever forger would do."""
    with ledger.catalog() as connection:
        found = connection.execute(text("SELECT * FROM segments ORDER BY number")).mappings()
        rows = [Segment(**{**dict(row), "imported": bool(row["imported"])}) for row in found]
        link = rows[number - 2].hash if number > 1 else rows[0].previous_hash
        for row in rows[number - 1 :]:
            content = {**asdict(row), **(changes if row.number == number else {}), "previous_hash": link}
            sealed = Segment(**content).sealed()
            names = ", ".join(f"{name} = :{name}" for name in asdict(sealed))
            connection.execute(text(f"UPDATE segments SET {names} WHERE number = {row.number}"), asdict(sealed))
            link = sealed.hash


def rewrite(ledger: Ledger, number: int, *changes: pl.Expr, keep: pl.Expr | None = None) -> None:
    """Change a segment's events, without a word to the manifest."""
    path = segment(ledger, number)
    frame = pl.read_parquet(path).with_columns(*changes)
    (frame if keep is None else frame.filter(keep)).write_parquet(path)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def projections(ledger: Ledger, statement: str) -> None:
    with closing(duckdb.connect(str(ledger.data / "projections.duckdb"))) as connection:
        connection.execute(statement)


EARLY = "2026-01-01T00:00:00.000000Z"
TAMPERING: dict[str, tuple[set[str], Callable[[Ledger], object]]] = {
    "a byte of a header": ({"segment_changed", "segment_unreadable"}, lambda it: flip(segment(it, 2), -1)),
    "a deleted segment": ({"segment_missing"}, lambda it: segment(it, 2).unlink()),
    "a truncated segment": (
        {"segment_changed", "segment_unreadable"},
        lambda it: segment(it, 1).write_bytes(segment(it, 1).read_bytes()[:100]),
    ),
    "a strange file": ({"file_unknown"}, lambda it: it.write(b"", "data/log/notes.txt")),
    "a segment without a row": ({"file_unknown"}, lambda it: it.write(b"", "data/log/segment-00000009.parquet")),
    "an amount in a segment": (
        {"segment_changed", "moved_sum_wrong", "projection_differs"},
        lambda it: rewrite(it, 2, pl.col("amount_gross") + 1),
    ),
    "a lost event": (
        {"segment_changed", "sequence_gap"},
        lambda it: rewrite(it, 2, keep=pl.col("sequence") < 0),
    ),
    "an effective time": (
        {"segment_changed", "effective_at_wrong", "projection_differs"},
        lambda it: rewrite(it, 2, pl.col("effective_at").dt.offset_by("1d")),
    ),
    "a recorded time": (
        {"segment_changed", "recorded_at_wrong", "projection_differs"},
        lambda it: rewrite(it, 2, pl.col("recorded_at").dt.offset_by("1d")),
    ),
    "a model version": (
        {"segment_changed", "segment_not_postable"},
        lambda it: rewrite(it, 2, pl.lit("0" * 64).alias("model_version")),
    ),
    "an event type": (
        {"segment_changed", "segment_not_postable"},
        lambda it: rewrite(it, 2, pl.lit("charge.lost").alias("type")),
    ),
    "a lost column": (
        {"segment_changed", "segment_not_postable"},
        lambda it: pl.read_parquet(segment(it, 2)).drop("property_charge").write_parquet(segment(it, 2)),
    ),
    "a lost sequence column": (
        {"segment_changed", "segment_unreadable"},
        lambda it: pl.read_parquet(segment(it, 2)).drop("sequence").write_parquet(segment(it, 2)),
    ),
    "a manifest row": (
        {"manifest_row_changed", "moved_sum_wrong"},
        lambda it: catalog(it, """UPDATE segments SET moved = '{"USD": "1"}' WHERE number = 2"""),
    ),
    "a manifest row's size": (
        {"manifest_row_changed", "file_bytes_wrong"},
        lambda it: catalog(it, "UPDATE segments SET file_bytes = 1 WHERE number = 2"),
    ),
    "a manifest row sealed again": (
        {"entry_count_wrong"},
        lambda it: reseal(it, 2, entry_count=3),
    ),
    "a sum sealed again": ({"moved_sum_wrong"}, lambda it: reseal(it, 2, moved='{"USD": "1"}')),
    "an effective time sealed again": ({"effective_at_wrong"}, lambda it: reseal(it, 2, first_effective_at=EARLY)),
    "a deleted row": (
        {"segment_number_gap", "sequence_gap", "chain_broken"},
        lambda it: catalog(it, "DELETE FROM segments WHERE number = 2"),
    ),
    "two rows swapped": (
        {
            "sequence_gap",
            "log_shorter_than_projections",
            "chain_broken",
            "manifest_row_changed",
            "recorded_at_not_later",
        },
        lambda it: catalog(
            it,
            "UPDATE segments SET number = 9 WHERE number = 2",
            "UPDATE segments SET number = 2 WHERE number = 3",
            "UPDATE segments SET number = 3 WHERE number = 9",
        ),
    ),
    "a projected balance": (
        {"projection_differs"},
        lambda it: projections(it, "UPDATE single_entries SET opened_amount = opened_amount + 1"),
    ),
    "a projected episode": ({"projection_differs"}, lambda it: projections(it, "DELETE FROM cleared_episodes")),
    "a projected reservoir": (
        {"projection_differs"},
        lambda it: projections(it, "INSERT INTO reservoir_sums SELECT * FROM reservoir_sums LIMIT 1"),
    ),
}


def test_a_sound_ledger_has_no_faults(filled: Ledger) -> None:
    """Verification says what it looked at, and the hash of the newest row to hold against a copy kept elsewhere."""
    verification = filled.verify()
    with filled.open() as workspace:
        head = workspace.log().segments[-1].hash
    assert (verification.segments, verification.events, verification.head, verification.faults) == (3, 3, head, ())
    assert list(filled.data.glob("verify-*")) == []


@pytest.mark.parametrize("case", TAMPERING)
def test_each_thing_that_is_wrong_is_named(filled: Ledger, case: str) -> None:
    """Whatever is changed behind the ledger's back is found, under exactly the codes that describe it."""
    codes, tamper = TAMPERING[case]
    tamper(filled)
    assert filled.fault_codes() == codes


@pytest.mark.parametrize("changes", [{"file_bytes": 1}, {"model_version": "0" * 64}], ids=lambda it: next(iter(it)))
def test_every_statement_of_a_row_is_held_against_its_file(filled: Ledger, changes: dict[str, Any]) -> None:
    """What a manifest row says of its file is checked, even where a forger gave the whole chain fitting hashes."""
    reseal(filled, 2, **changes)
    assert filled.fault_codes()


def test_the_place_of_a_fault_is_named(filled: Ledger) -> None:
    """A fault of a file names the file, one of the manifest its row."""
    second, third = segment(filled, 2), segment(filled, 3)
    second.unlink()
    catalog(filled, "UPDATE segments SET moved = '{}' WHERE number = 3")
    assert {fault.where for fault in filled.verify().faults} == {second.name, third.name, "manifest row 3"}


def test_an_event_that_is_there_twice_is_named(filled: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """When deduplication failed, the log itself shows which identity it holds twice."""

    def blind(events: pl.DataFrame, *_: object) -> Deduplicated:
        return Deduplicated(events.with_columns(identity_hash()), events["position"].clear(), no_rejections())

    with monkeypatch.context() as patch:
        patch.setattr(door, "deduplicate", blind)
        filled.ingest(creation())
    (fault,) = filled.verify().faults
    assert (fault.code, fault.where, fault.found) == ("event_repeated", "event evt_1 of charges", "1, 4")


def test_the_rest_of_a_crash_is_no_fault(filled: Ledger) -> None:
    """A whole file that no commit names, and one half written, are what a crash before the commit leaves."""
    write_segment(filled.data / "log", "segment-00000004", pl.DataFrame({"sequence": [4]}))
    filled.write(b"half", "data/log/.segment-00000004-0123456789abcdef.parquet.part")
    assert filled.fault_codes() == set()


def test_a_file_that_is_not_what_its_name_says_is_a_fault(filled: Ledger) -> None:
    """A file that looks like the rest of a crash, and is not whole, is told."""
    filled.write(b"left over", "data/log/segment-00000004-0123456789abcdef.parquet")
    assert filled.fault_codes() == {"file_unknown"}


@pytest.mark.parametrize("change", ["text", "missing"])
def test_a_stored_model_that_was_changed_is_a_fault(filled: Ledger, change: str) -> None:
    """A flow's text that is not what its version says is a fault or an error with a code, and no failed assertion."""
    statements = {"text": "UPDATE flow_texts SET text = text || '# '", "missing": "DELETE FROM model_files"}
    catalog(filled, statements[change])
    with suppress(ClearwellError):
        assert filled.fault_codes()


def test_an_empty_log_is_sound(ledger: Ledger) -> None:
    """A project whose model is accepted, and which has no event yet, has nothing wrong with it."""
    with ledger.open() as workspace:
        modelling.accept_model(workspace)
    assert ledger.fault_codes() == set()
    assert ledger.ingest(b"{}").quarantined == 1
    assert ledger.fault_codes() == set()
