"""Comparisons with producers' records find what plain Python finds, whatever the records and buckets are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from worlds import examples

from clearwell.application import comparing
from clearwell.application.cutting import CutRequest
from clearwell.bootstrap import open_producer
from clearwell.quality import completeness
from producer_records import Event, Record, expected, told, write_csv, write_parquet, write_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import NewLedger

_IDS = st.sampled_from(
    ["a", "A", "b", "é", "0", "00", "a|1", "a b", "x'y", "%s", ":start", *(f"n{n}" for n in range(30))]
)
_SECONDS = st.integers(0, 3 * 86_400 - 1)
_DAY = 86_400


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[Event], list[Record]]:
    """Events, and records that mostly are theirs: some left out, changed, told twice, moved, or made up."""
    ids = draw(st.lists(_IDS, unique=True, max_size=25))
    amounts, currencies = st.integers(1, 5), st.sampled_from(["USD", "EUR"])
    events = [
        Event(name, draw(amounts), draw(currencies), draw(_SECONDS), place) for place, name in enumerate(ids, start=1)
    ]
    records = []
    for item in events:
        record = Record(item.id, item.amount, item.currency, item.seconds)
        match draw(st.integers(0, 7)):
            case 0:
                continue
            case 1:
                record = Record(item.id, draw(amounts), draw(currencies), item.seconds)
            case 2:
                record = Record(item.id, item.amount, item.currency, draw(_SECONDS))
            case 3:
                records.append(Record(item.id, draw(amounts), draw(currencies), draw(_SECONDS)))
            case _:
                pass
        records.append(record)
    made_up = st.builds(Record, st.none() | _IDS, st.none() | amounts, st.none() | currencies, st.none() | _SECONDS)
    return events, draw(st.permutations(records + draw(st.lists(made_up, max_size=8))))


@given(
    both=sides(),
    write=st.sampled_from([write_sqlite, write_csv, write_parquet]),
    bucket_rows=st.sampled_from([1, 3, 600]),
    most_named=st.sampled_from([2, 50_000]),
    day=st.none() | st.integers(0, 3),
)
@examples(25)
def test_what_is_planted_is_found(
    new_ledger: NewLedger,
    creation: Callable[..., dict[str, Any]],
    both: tuple[list[Event], list[Record]],
    write: Callable[..., dict[str, str]],
    bucket_rows: int,
    most_named: int,
    day: int | None,
) -> None:
    """Of everything and of a day, from SQLite, CSV and Parquet, in few buckets and many, split again or not."""
    events, records = both
    ledger = new_ledger()
    ledger.ingest(creation(id="other", type="charge.release", amounts={"net": 1, "fee": 1}, currency="USD"))
    told_events = []
    for item in events:
        amounts = {"gross": {"value": item.amount, "currency": item.currency}}
        instant = Record(item.id, 0, "", item.seconds).shown_time
        told_events.append(creation(id=item.id, occurred_at=instant, effective_at=instant, amounts=amounts))
    if told_events:
        ledger.ingest(*told_events, name="more.ndjson")
    ledger.write_settings(
        producer_sources={"charges": {"event_type": "charge.creation", **write(ledger.folder, records)}}
    )
    known = [Event(item.id, item.amount, item.currency, item.seconds, item.sequence + 1) for item in events]
    with (
        ledger.open() as workspace,
        patch.object(completeness, "_BUCKET_ROWS", bucket_rows),
        patch.object(completeness, "_FEW_ROWS", 0),
        patch.object(completeness, "MOST_NAMED", most_named),
    ):
        period = "" if day is None else f"2026-01-0{day + 1}"
        (found,) = comparing.compare(workspace, open_producer, CutRequest(), period=period)
        rows = list(comparing.differences(workspace, found.number))
    within = None if day is None else lambda seconds: day * _DAY <= seconds < (day + 1) * _DAY
    assert told(found, rows) == expected(records, known, within)
