"""Records in quarantine: looked at, sent again, corrected, exported and read back; none is ever dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import quarantining
from clearwell.application.quarantining import Retried
from clearwell.catalog.quarantine import QuarantinedRecord
from clearwell.errors import UsageError

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]
REFUND = """
  charge.refund:
    producer: charges
    moves:
      - {amount: gross, from: charge_undisbursed, to: card_network_receivable}
"""


def listed(ledger: Ledger, *, everything: bool = False) -> list[QuarantinedRecord]:
    with ledger.open() as workspace:
        return quarantining.quarantined(workspace, everything=everything)


def retry(ledger: Ledger, *numbers: int, corrected: bytes | None = None) -> Retried:
    with ledger.open() as workspace:
        return quarantining.retry(workspace, numbers, corrected)


def test_a_retry_takes_what_the_model_takes_now(ledger: Ledger, design_flow: str, creation: Make) -> None:
    """After the flow has learned an event type its records become events; the others stay, with their reason."""
    refund = creation(type="charge.refund")
    ledger.ingest(refund, b"{}", name="first.ndjson")
    ledger.clock.advance(seconds=1)
    ledger.write_flow(design_flow + REFUND)
    retried = retry(ledger)
    assert (retried.receipt.accepted, retried.receipt.quarantined, retried.released) == (1, 1, (1,))
    (left,) = listed(ledger)
    assert (left.number, left.seen_count, left.reason.code, left.reason.line) == (2, 2, "type_missing", 2)
    assert [(item.number, item.state) for item in listed(ledger, everything=True)] == [(1, "replayed"), (2, "waiting")]


@pytest.mark.parametrize("moved", [0, 1, -3600], ids=["stands_still", "moves_on", "goes_back"])
def test_a_retry_in_vain_releases_nothing(ledger: Ledger, moved: int) -> None:
    """A record that is refused again keeps waiting, whatever the clock does meanwhile."""
    ledger.ingest(b"{}", b"\xff", b'{"type": ')
    ledger.clock.advance(seconds=moved)
    retried = retry(ledger)
    assert (retried.receipt.quarantined, retried.released) == (3, ())
    assert [item.seen_count for item in listed(ledger)] == [2, 2, 2]


def test_a_retry_reports_the_first_place(ledger: Ledger, creation: Make) -> None:
    """However often and in whatever company a record is sent again, its source and line are those it came with."""
    bad = creation(type="unknown")
    ledger.ingest(creation(), bad, b"", {**bad, "id": "evt_4"}, name="one.ndjson")
    ledger.ingest(b"{}", name="two.ndjson")
    before = [(item.reason.source, item.reason.line) for item in listed(ledger)]
    ledger.clock.advance(seconds=1)
    retry(ledger)
    assert [(item.reason.source, item.reason.line) for item in listed(ledger)] == before
    assert [line for _, line in before] == [2, 4, 1]


def test_a_corrected_record_takes_the_place_of_one(ledger: Ledger, creation: Make) -> None:
    """The correction becomes an event, the record is replayed, and both are kept."""
    ledger.ingest(creation(amounts={}))
    ledger.clock.advance(seconds=1)
    retried = retry(ledger, 1, corrected=json.dumps(creation()).encode() + b"\n")
    assert (retried.receipt.accepted, retried.released) == (1, (1,))
    assert listed(ledger) == []
    assert b"1000" not in listed(ledger, everything=True)[0].record


@pytest.mark.parametrize(
    "corrected",
    [b"", b"  \n ", b'{\n "type": "charge.creation"\n}', b"{}\n{}", b"{}"],
    ids=["empty", "blank", "over_several_lines", "two_records", "still_wrong"],
)
def test_a_correction_that_is_no_event_releases_nothing(ledger: Ledger, corrected: bytes) -> None:
    """Unless the correction became an event, or was found to be one already, the record waits on."""
    ledger.ingest(b"[]")
    ledger.clock.advance(seconds=1)
    try:
        retried = retry(ledger, 1, corrected=corrected)
    except UsageError:
        pass
    else:
        assert (retried.receipt.accepted, retried.released) == (0, ())
    assert 1 in [item.number for item in listed(ledger)]


def test_a_correction_may_span_lines(ledger: Ledger, creation: Make) -> None:
    """People indent JSON when they mend it; it becomes an event, or they are told why not."""
    ledger.ingest(b"[]")
    ledger.clock.advance(seconds=1)
    try:
        assert retry(ledger, 1, corrected=json.dumps(creation(), indent=2).encode()).receipt.accepted == 1
    except UsageError:
        assert len(listed(ledger)) == 1


def test_a_file_sent_again_does_not_wake_what_was_corrected(ledger: Ledger, creation: Make) -> None:
    """A record that was replaced by its correction stays replayed when its file is ingested again."""
    ledger.ingest(creation(amounts={}))
    ledger.clock.advance(seconds=1)
    retry(ledger, 1, corrected=json.dumps(creation()).encode())
    ledger.ingest(creation(amounts={}))
    assert [item.state for item in listed(ledger, everything=True)] == ["replayed"]


WRONG: dict[str, tuple[tuple[int, ...], bytes | None]] = {
    "quarantine_number_unknown": ((7,), None),
    "quarantine_number_needed": ((), b"{}"),
    "quarantine_number_replayed": ((1,), None),
}


@pytest.mark.parametrize("code", WRONG)
def test_what_cannot_be_retried_is_said(ledger: Ledger, creation: Make, code: str) -> None:
    """A number that does not wait, and a correction without one, are the caller's mistakes."""
    ledger.ingest(b"[]", b"{}")
    retry(ledger, 1, corrected=json.dumps(creation()).encode())
    numbers, corrected = WRONG[code]
    with pytest.raises(UsageError) as caught:
        retry(ledger, *numbers, corrected=corrected)
    assert caught.value.code == code


def test_what_is_exported_can_be_ingested_again(ledger: Ledger, creation: Make) -> None:
    """The records of quarantine, from text and from tables, are lines of NDJSON that say the same event."""
    ledger.ingest(creation(amounts={"gross": {"value": -5, "currency": "USD"}}))
    event = creation(id="evt_9")
    row = {name: event[name] for name in ("type", "id", "effective_at", "occurred_at")}
    row |= {f"property_{name}": value for name, value in event["properties"].items()}
    path = ledger.folder / "rows.parquet"
    pl.DataFrame([{**row, "property_note": "ü", "amount_gross": -7, "currency_gross": "USD"}]).write_parquet(path)
    ledger.ingest_file(path)
    with ledger.open() as workspace:
        records = [item.record for item in quarantining.all_waiting(workspace)]
        assert quarantining.waiting_by_code(workspace) == {"amount_negative": 2}
    mended = [record.replace(b"-", b"").replace(b"20260102", b"2026-01-02") for record in records]
    receipt = ledger.ingest(*mended, name="mended.ndjson")
    assert (receipt.accepted, receipt.quarantined) == (2, 0)


def test_a_record_seen_again_is_counted_not_repeated(ledger: Ledger) -> None:
    """The same record from the same place is one row; from another line it is another."""
    for _ in range(3):
        ledger.ingest(b"{}", b"{}")
    assert [(item.reason.line, item.seen_count) for item in listed(ledger)] == [(1, 3), (2, 3)]
