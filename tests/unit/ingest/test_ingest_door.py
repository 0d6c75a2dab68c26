"""Crashes on the way through the door: nothing that was acknowledged is lost, nothing is there twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import quarantining
from clearwell.application.writing import writing
from clearwell.catalog import manifest, quarantine
from clearwell.errors import StorageError
from clearwell.ingest import door
from clearwell.ingest.door import Receipt
from clearwell.projections.store import ProjectionStore

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]


class Crash(BaseException):
    """What stands for the end of the process."""


def crash(*_: object, **__: object) -> None:
    raise Crash


STEPS = {
    "before_the_segment": (door, "write_segment"),
    "after_the_segment": (manifest, "append_segment"),
    "within_the_transaction": (quarantine, "put_aside"),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))
def test_a_crash_before_the_commit_acknowledges_nothing(
    ledger: Ledger, creation: Make, release: Make, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]
) -> None:
    """The batch leaves no event and no refused record behind; taken again, it gets the same sequences."""
    ledger.ingest(creation())
    batch = (release(), b"{}", creation(id="evt_3"))
    with monkeypatch.context() as patch:
        patch.setattr(*step, crash)
        with pytest.raises(Crash):
            ledger.ingest(*batch)
    assert ledger.fault_codes() == set()
    with ledger.open() as workspace:
        assert workspace.log().last_sequence == 1
        assert quarantining.quarantined(workspace) == []
    receipt = ledger.ingest(*batch)
    assert receipt == Receipt(accepted=2, duplicates=0, quarantined=1, first_sequence=2, last_sequence=3)
    assert ledger.fault_codes() == set()


def test_a_crash_before_the_projections_loses_nothing(
    ledger: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is durable, but not projected, is projected by the next question, and known as a duplicate."""
    with monkeypatch.context() as patch:
        patch.setattr(ProjectionStore, "apply", crash)
        with pytest.raises(Crash):
            ledger.ingest(creation())
    rows = {row["account_type"]: row for row in ledger.status().account_types}
    assert rows["charge_undisbursed"]["open_money"] == 1000
    assert ledger.ingest(creation()).duplicates == 1
    assert ledger.fault_codes() == set()


def test_a_disk_that_refuses_is_a_storage_error(
    ledger: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the segment cannot be written the caller is told so, and the same batch can be taken again."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(door, "write_segment", full)
        with pytest.raises(StorageError, match="No space left"):
            ledger.ingest(creation())
    assert ledger.ingest(creation()).last_sequence == 1


def test_the_writer_is_alone(ledger: Ledger, creation: Make) -> None:
    """While one writer holds the log another is refused at once."""
    with ledger.open() as workspace, writing(workspace), pytest.raises(StorageError) as caught:
        ledger.ingest(creation())
    assert caught.value.code == "writer_busy"
    assert ledger.ingest(creation()).accepted == 1


def test_system_time_moves_on_when_the_clock_does_not(ledger: Ledger, creation: Make) -> None:
    """With a clock that stands still, and then goes back, every segment is recorded later than the one before."""
    for number in range(3):
        ledger.ingest(creation(id=f"e{number}"))
    ledger.clock.now -= timedelta(days=1)
    ledger.ingest(creation(id="back"))
    with ledger.open() as workspace:
        times = [item.recorded_at for item in workspace.log().segments]
    assert times == sorted(set(times))
    assert ledger.fault_codes() == set()


def test_sequences_run_on_over_batches_of_one_file(new_ledger: NewLedger, creation: Make) -> None:
    """A receipt adds its batches up, from the first sequence to the last, and skips none."""
    ledger = new_ledger(batch_events=1)
    receipt = ledger.ingest(*(creation(id=f"e{number}") for number in range(5)))
    assert (receipt.accepted, receipt.first_sequence, receipt.last_sequence) == (5, 1, 5)


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], Receipt()),
        ([Receipt(1, 0, 0, 1, 1), Receipt(0, 3, 1), Receipt(2, 0, 0, 2, 3)], Receipt(3, 3, 1, 1, 3)),
        ([Receipt(0, 1), Receipt(2, 0, 0, 5, 6), Receipt(0, 0, 1)], Receipt(2, 1, 1, 5, 6)),
    ],
)
def test_receipts_add_up(parts: list[Receipt], whole: Receipt) -> None:
    """The sum has all counts, the first of the first sequences and the last of the last ones."""
    assert sum(parts, Receipt()) == whole
