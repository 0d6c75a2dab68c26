"""History moves in with the times at which it was recorded: never decreasing, never in the future, and marked."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import ingesting, quarantining
from clearwell.errors import DataError, UsageError
from clearwell.ingest.door import Receipt
from clearwell.ingest.inputs import Input, file_input

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
START = datetime(2025, 5, 1, tzinfo=UTC)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def history(creation: Make, *minutes: float) -> list[dict[str, Any]]:
    """Charges of one each, recorded at these minutes."""
    return [creation(id=f"h{number}", recorded_at=at(minute)) for number, minute in enumerate(minutes)]


def imported(ledger: Ledger, records: list[Any], name: str = "history.ndjson") -> Receipt:
    lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in records]
    return import_file(ledger, ledger.write(b"\n".join(lines) + b"\n", name))


def import_file(ledger: Ledger, path: Path) -> Receipt:
    with ledger.open() as workspace:
        return ingesting.ingest(workspace, [file_input(str(path))], imports=True)


def recorded(ledger: Ledger) -> list[str]:
    with ledger.open() as workspace:
        log = workspace.log()
        times = [time for file in log.files for time in log.events(file)["recorded_at"]]
    return [time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for time in times]


def test_events_keep_their_times_and_the_manifest_says_so(new_ledger: NewLedger, creation: Make) -> None:
    """Every event has the time that it brought; segments name their first and last one, and that they were imported."""
    ledger = new_ledger(batch_events=2)
    assert imported(ledger, history(creation, 0, 0, 0, 5, 7.5)).accepted == 5
    ledger.ingest(creation(id="live"))
    assert recorded(ledger)[:5] == [at(0), at(0), at(0), at(5), at(7.5)]
    with ledger.open() as workspace:
        found = [(item.first_recorded_at, item.recorded_at, item.imported) for item in workspace.log().segments]
    assert found[:3] == [(at(0), at(0), True), (at(0), at(5), True), (at(7.5), at(7.5), True)]
    assert found[3][2] is False
    assert ledger.fault_codes() == set()


def test_cuts_fall_within_an_imported_segment(ledger: Ledger, creation: Make) -> None:
    """What was known at a time is told by the times that events brought, also in the middle of a segment."""
    imported(ledger, history(creation, 0, 10, 10, 20))
    counts = [ledger.status("2026-02-01", at(minute)).account_types for minute in (-1, 0, 9, 10, 19, 20, 50)]
    money = [row["open_money"] for rows in counts for row in rows if row["account_type"] == "charge_undisbursed"]
    assert money == [0, 1000, 1000, 3000, 3000, 4000, 4000]
    for sequence, minute in ((1, 0), (2, 10), (4, 20)):
        assert ledger.status("2026-02-01", str(sequence)).cut.recorded_at == START + timedelta(minutes=minute)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_bring_a_column(ledger: Ledger, ending: str) -> None:
    """A table's column `recorded_at` is kept; only with --import may it be there, and then it must."""
    row = {
        "type": "charge.creation", "id": "e1", "effective_at": at(0), "occurred_at": at(0), "recorded_at": at(3),
        "property_charge": "ch_1", "property_business": "acct_A", "property_network": "visa", "amount_gross": "5",
        "currency_gross": "USD",
    }  # fmt: skip
    path = ledger.folder / f"history.{ending}"

    def write(content: dict[str, str]) -> None:
        if ending == "csv":
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([list(content), list(content.values())])
        else:
            pl.DataFrame([content]).with_columns(pl.col("amount_gross").cast(pl.Int64)).write_parquet(path)

    write(row)
    with pytest.raises(DataError) as caught:
        ledger.ingest_file(path)
    assert caught.value.code == "columns_wrong"
    assert import_file(ledger, path).accepted == 1
    assert recorded(ledger) == [at(3)]
    write({name: value for name, value in row.items() if name != "recorded_at"})
    with pytest.raises(DataError) as caught:
        import_file(ledger, path)
    assert caught.value.code == "columns_wrong"


FAULTY = {
    "recorded_at_missing": {"recorded_at": ...},
    "recorded_at_invalid": {"recorded_at": "yesterday"},
    "recorded_at_in_future": {"recorded_at": "2026-03-01T12:00:00.000001Z"},
    "effective_at_missing": {"effective_at": ..., "recorded_at": ...},
}


@pytest.mark.parametrize("code", FAULTY)
def test_a_record_without_a_fitting_time_is_refused(ledger: Ledger, creation: Make, code: str) -> None:
    """It waits in quarantine, and the records around it move in."""
    faulty = creation(**{"id": "bad", "recorded_at": at(1), **FAULTY[code]})
    receipt = imported(ledger, [*history(creation, 0), faulty, creation(id="h9", recorded_at=at(2))])
    assert (receipt.accepted, receipt.quarantined) == (2, 1)
    with ledger.open() as workspace:
        assert [item.reason.code for item in quarantining.quarantined(workspace)] == [code]


def test_the_present_instant_is_no_future(ledger: Ledger, creation: Make) -> None:
    """An event recorded at this very moment may be imported, and what follows is recorded later."""
    imported(ledger, [creation(recorded_at=ledger.clock.now.isoformat())])
    ledger.ingest(creation(id="e2"))
    assert recorded(ledger) == ["2026-03-01T12:00:00.000000Z", "2026-03-01T12:00:00.000001Z"]


def test_history_never_goes_back(new_ledger: NewLedger, creation: Make) -> None:
    """The first event that is earlier than the one before it stops the import; of its batch nothing is taken."""
    ledger = new_ledger(batch_events=3)
    events = history(creation, 0, 1, 2, 3, 5, 4)
    with pytest.raises(DataError) as caught:
        imported(ledger, events)
    assert (caught.value.code, "h5" in caught.value.message) == ("import_not_in_order", True)
    assert len(recorded(ledger)) == 3
    ordered = [*events[:4], events[5], events[4]]
    assert imported(ledger, ordered) == Receipt(accepted=3, duplicates=3, first_sequence=4, last_sequence=6)
    assert imported(ledger, ordered).duplicates == 6
    assert ledger.fault_codes() == set()


def test_history_comes_before_what_is_new(ledger: Ledger, creation: Make) -> None:
    """Behind an event that was recorded live, or the model it came under, nothing older can be put."""
    ledger.ingest(creation())
    with pytest.raises(DataError) as caught:
        imported(ledger, history(creation, 0))
    assert caught.value.code == "import_not_in_order"


def test_the_first_model_is_in_force_since_the_history_began(ledger: Ledger, creation: Make) -> None:
    """Windows at a cut in the history are those of the model it was imported under, though that is younger."""
    imported(ledger, history(creation, 0, 10))
    with ledger.open() as workspace:
        assert workspace.periods()[0].accepted_at < at(0)
    assert ledger.status(at(1), at(0)).account_types
    assert ledger.fault_codes() == set()


def test_records_bring_no_time_of_their_own_otherwise(ledger: Ledger, creation: Make) -> None:
    """Without --import a `recorded_at` is a field that events do not have."""
    assert ledger.ingest(creation(recorded_at=at(0))).quarantined == 1


def test_a_pipe_cannot_be_imported(ledger: Ledger) -> None:
    """The beginning of history is read twice, so standard input is refused by name."""
    with ledger.open() as workspace, pytest.raises(UsageError) as caught:
        ingesting.ingest(workspace, [Input("-", "ndjson")], imports=True)
    assert caught.value.code == "import_from_pipe"


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"not json\n"])
def test_an_import_of_nothing(ledger: Ledger, creation: Make, content: bytes) -> None:
    """A file without any event leaves a sound ledger, into which history can still move; the rest is in quarantine."""
    receipt = import_file(ledger, ledger.write(content, "history.ndjson"))
    assert (receipt.accepted, receipt.quarantined) == (0, content.strip() != b"")
    assert ledger.fault_codes() == set()
    assert imported(ledger, [creation(recorded_at=at(0))]).accepted == 1
    assert ledger.fault_codes() == set()
