"""Producers' records in every database and kind of file: one suite, the same answers everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from clearwell.application import comparing
from clearwell.application.comparing import Comparison
from clearwell.application.cutting import CutRequest
from clearwell.bootstrap import open_producer
from clearwell.engines import producer_databases
from clearwell.engines.producer_databases import DatabaseRecords
from clearwell.errors import ClearwellError, DataError, StorageError, UsageError
from clearwell.quality import completeness
from producer_records import (
    PASSWORD,
    Event,
    Record,
    expected,
    told,
    write_csv,
    write_database,
    write_parquet,
    write_sqlite,
)

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Write = Callable[[Path, Iterable[Record]], dict[str, str]]

EVENTS = [Event(f"evt_{place}", 1000 + place, "USD", 3600 * place, place + 1) for place in range(60)]
SOUND = [Record(item.id, item.amount, item.currency, item.seconds) for item in EVENTS]
PLANTED = [
    *SOUND[:40],
    Record("evt_40", 1, "USD", 3600 * 40),
    Record("evt_41", 1041, "EUR", 3600 * 41),
    Record("evt_42", None, None, 3600 * 42),
    Record("lost'1", 700, "USD", 3600 * 2),
    Record("lost:2 ü|%", 7**20, "EUR", None),
    Record("lost:2 ü|%", 7, "EUR", 5),
    Record('quo"te,\nline', 3, "USD", 7),
    Record("evt_1", 1001, "USD", 3600),
    Record("evt_2", 5, "USD", 3600 * 2),
    Record(None, 5, "USD", 3600 * 2),
    Record("EVT_3", 1003, "USD", 3600 * 3),
    Record("evt_59", 1059, "USD", 60),
]
"""Missing, unexpected, different and duplicate ones, without an id, in other letters, and at another time."""


@pytest.fixture(params=["sqlite", "csv", "parquet", "postgresql", "mysql"])
def write(request: pytest.FixtureRequest) -> Write:
    """Writes records where the parameter says; returns the settings of a source."""
    files: dict[str, Write] = {"sqlite": write_sqlite, "csv": write_csv, "parquet": write_parquet}
    if request.param in files:
        return files[request.param]
    url: URL = request.getfixturevalue(request.param)
    return lambda _folder, records: write_database(url, records)


@pytest.fixture(scope="module")
def books(new_ledger: NewLedger, creation: Callable[..., dict[str, Any]]) -> Ledger:
    """A ledger with `EVENTS`."""
    return ledger_of(new_ledger, creation)


def ledger_of(new_ledger: NewLedger, creation: Callable[..., dict[str, Any]]) -> Ledger:
    ledger = new_ledger()
    records = []
    for item in EVENTS:
        instant = Record(item.id, 0, "", item.seconds).shown_time
        amounts = {"gross": {"value": item.amount, "currency": item.currency}}
        records.append(creation(id=item.id, occurred_at=instant, effective_at=instant, amounts=amounts))
    ledger.ingest(*records)
    return ledger


def compared(
    ledger: Ledger, source: dict[str, Any], period: str = "", known_at: str = ""
) -> tuple[Comparison, list[dict[str, Any]]]:
    """The comparison with one source, and its differences."""
    ledger.write_settings(producer_sources={"charges": {"event_type": "charge.creation", **source}})
    with ledger.open() as workspace, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PASSWORD", PASSWORD)
        (found,) = comparing.compare(workspace, open_producer, CutRequest(known_at=known_at), period=period)
        return found, list(comparing.differences(workspace, found.number))


def fault(ledger: Ledger, source: dict[str, Any], period: str = "") -> ClearwellError:
    """The error that the comparison ends with, which never tells the password."""
    with pytest.raises(ClearwellError) as caught:
        compared(ledger, source, period)
    assert PASSWORD not in f"{caught.value.message} {caught.value.details} {caught.value.__context__!r}"
    return caught.value


def test_all_that_is_planted_is_found(books: Ledger, write: Write) -> None:
    """Every missing, unexpected, different and duplicate row is listed, and nothing else."""
    found, rows = compared(books, write(books.folder, PLANTED))
    assert told(found, rows) == expected(PLANTED, EVENTS)
    assert found.missing_money == {"USD": {"count": 3, "money": 1706}, "EUR": {"count": 1, "money": 7}}
    assert found.different_money["EUR"] == {"count": 1, "money": 1041}
    assert not found.is_whole


def test_buckets_are_split_and_chosen(books: Ledger, write: Write) -> None:
    """The same is found of many buckets, split again, and of too many to be named; rows come in many frames."""
    source = write(books.folder, PLANTED)
    for bucket_rows, most_named in ((4, 50_000), (1, 3)):
        with (
            patch.object(completeness, "_BUCKET_ROWS", bucket_rows),
            patch.object(completeness, "_FEW_ROWS", 0),
            patch.object(completeness, "MOST_NAMED", most_named),
        ):
            assert told(*compared(books, source)) == expected(PLANTED, EVENTS)


@pytest.mark.parametrize("same", [True, False])
def test_a_server_with_another_hash_is_asked_for_md5(books: Ledger, postgresql: URL, *, same: bool) -> None:
    """Its own hash is taken only where it gives what we compute; either way the same is found."""
    asked: list[str] = []

    def sums(records: DatabaseRecords, *arguments: Any) -> Any:
        asked.append(records.hashing)
        return own(records, *arguments)

    own, source = DatabaseRecords.sums, write_database(postgresql, PLANTED)
    own_hashes = producer_databases.text_hashes
    with (
        patch.object(DatabaseRecords, "sums", sums),
        patch.object(producer_databases, "text_hashes", lambda texts: own_hashes(texts) + (not same)),
    ):
        assert told(*compared(books, source)) == expected(PLANTED, EVENTS)
    assert set(asked) == {"lookup3" if same else "md5"}


def test_equal_sides_are_whole(books: Ledger, write: Write) -> None:
    """Where every record has its event, nothing is listed, and no row is fetched."""
    source = write(books.folder, SOUND)
    with patch.object(comparing, "_list", wraps=comparing._list) as listing:
        found, rows = compared(books, source)
    assert (found.is_whole, found.completeness, rows) == (True, 1.0, [])
    assert listing.call_args.args[3] == []


def test_a_period_has_its_own_records(books: Ledger, write: Write) -> None:
    """Of a day: records by their time, events by `occurred_at`; what is on the other side of midnight is no fault."""
    found, rows = compared(books, write(books.folder, PLANTED), period="2026-01-02")
    assert told(found, rows) == expected(PLANTED, EVENTS, lambda seconds: 86_400 <= seconds < 2 * 86_400)
    assert found.without_time_count == 1
    last, rows = compared(books, write(books.folder, PLANTED), period="2026-01-03")
    assert told(last, rows) == expected(PLANTED, EVENTS, lambda seconds: 2 * 86_400 <= seconds < 3 * 86_400)
    assert last.outside_record_count == 1
    first, rows = compared(books, write(books.folder, PLANTED), period="2026-01-01T00")
    assert told(first, rows) == expected(PLANTED, EVENTS, lambda seconds: 0 <= seconds < 3600)
    assert first.outside_event_count == 1


def test_at_a_cut_later_events_are_not_known(books: Ledger, write: Write) -> None:
    """As known with ten events, the records of the others are missing."""
    found, rows = compared(books, write(books.folder, SOUND), known_at="10")
    assert told(found, rows) == expected(SOUND, EVENTS[:10])


def test_no_records_and_no_table_rows(books: Ledger, write: Write) -> None:
    """Without any record every event is unexpected, and no share is told."""
    found, rows = compared(books, write(books.folder, []))
    assert told(found, rows) == expected([], EVENTS)
    assert found.completeness is None


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def source(request: pytest.FixtureRequest, books: Ledger) -> dict[str, str]:
    """A source over a database with `SOUND`."""
    if request.param == "sqlite":
        return write_sqlite(books.folder, SOUND)
    return write_database(request.getfixturevalue(request.param), SOUND)


def changed(source: dict[str, str], form: str) -> dict[str, str]:
    """The source with another query; `{}` is its table."""
    return {**source, "query": form.format(source["query"].rsplit(" ", 1)[1])}


def test_a_table_that_is_not_there_is_told(books: Ledger, source: dict[str, str]) -> None:
    """The database's own words are in the error."""
    error = fault(books, changed(source, "SELECT id FROM no_such_table"))
    assert (type(error), error.code) == (DataError, "producer_query_failed")
    assert "no_such_table" in error.message


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("SELECT id, amount / 10.0 AS amount, currency FROM {}", "producer_amount_invalid"),
        ("SELECT id, currency AS amount, currency FROM {}", "producer_amount_invalid"),
        ("SELECT 1.5 AS id FROM {}", "producer_id_invalid"),
        ("SELECT amount FROM {}", "producer_columns_wrong"),
        ("SELECT id, amount FROM {}", "producer_columns_wrong"),
        ("DELETE FROM {}", "producer_query_failed"),
        ("SELECT id FROM {} --", None),
        ("SELECT id FROM {};", None),
        ("SELECT id FROM {} WHERE id LIKE 'evt\\_%' OR id <> ':start %s'", None),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(
    books: Ledger, source: dict[str, str], form: str, code: str | None
) -> None:
    """Amounts that are not whole, wrong columns and writes are refused; comments, colons and percent signs are not."""
    asked = changed(source, form)
    if code is None:
        assert compared(books, asked)[0].is_whole
    else:
        assert fault(books, asked).code == code
    assert compared(books, source)[0].is_whole


def test_nothing_can_be_written(books: Ledger, postgresql: URL) -> None:
    """Not even by a function that writes: the transaction only reads."""
    source = write_database(postgresql, SOUND)
    with create_engine(postgresql, poolclass=NullPool).begin() as connection:
        body = "CREATE TABLE made (); SELECT 'evt_1'"
        connection.execute(text(f"CREATE FUNCTION writes() RETURNS text LANGUAGE sql AS $${body}$$"))
    error = fault(books, {**source, "query": "SELECT writes() AS id"})
    assert error.code == "producer_query_failed"
    assert "read-only" in error.message


def test_a_period_needs_a_time(books: Ledger, source: dict[str, str]) -> None:
    """Records without a time belong to no period; a time without a zone is refused where there are zones."""
    assert fault(books, changed(source, "SELECT id FROM {}"), "2026-01").code == "producer_without_time"


def test_a_time_without_a_zone_is_refused(books: Ledger, postgresql: URL) -> None:
    """Nobody could say which instant is meant."""
    source = write_database(postgresql, SOUND)
    error = fault(books, changed(source, "SELECT id, CAST(time AS timestamp) AS time FROM {}"), "2026-01")
    assert error.code == "producer_time_invalid"


def test_records_without_amounts_are_estimated(books: Ledger, source: dict[str, str]) -> None:
    """Where only ids are known, missing money is the usual amount of the event type, and marked so."""
    found, rows = compared(
        books, changed(source, "SELECT id FROM {} UNION ALL SELECT 'lost_1' UNION ALL SELECT 'lost_2'")
    )
    assert [row["id"] for row in rows] == ["lost_1", "lost_2"]
    assert (found.estimated, found.missing_money) == (True, {"USD": {"count": 2, "money": 2 * 1029}})


def test_an_empty_text_is_an_id(books: Ledger, source: dict[str, str]) -> None:
    """Unlike null, it is a record that has no event."""
    query = "SELECT '' AS id UNION ALL SELECT NULL UNION ALL SELECT id FROM {}"
    found, rows = compared(books, changed(source, query))
    assert ([row["id"] for row in rows], found.without_id_count) == ([""], 1)


@pytest.mark.parametrize("server", ["postgresql", "mysql"])
def test_a_wrong_password_is_told_and_masked(books: Ledger, server: str, request: pytest.FixtureRequest) -> None:
    """The error says who was refused, and no password."""
    source = write_database(request.getfixturevalue(server), SOUND)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTHER", "not-the-password")
        error = fault(books, {**source, "url": source["url"].replace("PASSWORD", "OTHER")})
        assert "not-the-password" not in error.message
    assert (type(error), error.code) == (StorageError, "producer_unreachable")


@pytest.mark.parametrize("url", ["postgresql://u@127.0.0.1:1/d", "mysql://u@127.0.0.1:1/d"])
def test_a_host_that_is_not_there_is_told(books: Ledger, url: str) -> None:
    """A database that nobody serves is unreachable."""
    assert fault(books, {"url": url, "query": "SELECT 1 AS id"}).code == "producer_unreachable"


@pytest.mark.parametrize("server", ["postgresql", "sqlite"])
def test_a_statement_has_a_limit_of_time(books: Ledger, server: str, request: pytest.FixtureRequest) -> None:
    """What takes longer than the source allows is stopped."""
    if server == "sqlite":
        endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n"
        source = {**write_sqlite(books.folder, SOUND), "query": endless}
    else:
        source = changed(write_database(request.getfixturevalue(server), SOUND), "SELECT id FROM {}, pg_sleep(5)")
    assert fault(books, {**source, "timeout_seconds": 1}).code == "producer_timed_out"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"url": "oracle://u@h/d", "query": "SELECT 1 AS id"}, "producer_url_invalid"),
        ({"url": "no url", "query": "SELECT 1 AS id"}, "producer_url_invalid"),
        ({"url": "${NOT_SET}", "query": "SELECT 1 AS id"}, "variable_missing"),
        ({"url": "sqlite:///gone.sqlite", "query": "SELECT 1 AS id"}, "producer_file_missing"),
        ({"file": "gone/*.csv"}, "producer_file_missing"),
        ({"file": "clearwell.yaml"}, "producer_file_unknown"),
        ({"file": "records.csv", "event_type": "charge.created"}, "event_type_unknown"),
        ({"file": "records.csv", "event_type": "charge.release"}, "producer_amount_unknown"),
        ({"file": "records.csv", "amount_of": "net"}, "producer_amount_unknown"),
        ({"file": "records.csv", "query": "SELECT * FROM read_csv('clearwell.yaml')"}, "producer_query_failed"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(books: Ledger, source: dict[str, str], code: str) -> None:
    """Unknown databases, files, variables, event types and amounts are named errors."""
    write_csv(books.folder, SOUND)
    assert fault(books, source).code == code


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ("id,amount,currency\nevt_1,10.50,USD\n", "producer_amount_invalid"),
        ("id,amount,currency\nevt_1,1e3,USD\n", "producer_amount_invalid"),
        ("id,time\nevt_1,2026-01-02 03:04:05\n", "producer_time_invalid"),
        ("id,time\nevt_1,yesterday+01:00\n", "producer_time_invalid"),
    ],
)
def test_text_that_is_no_amount_or_time_is_refused(books: Ledger, rows: str, code: str) -> None:
    """Nothing in a CSV is rounded or guessed."""
    books.write(rows.encode(), "records.csv")
    assert fault(books, {"file": "records.csv"}).code == code


def test_ids_of_a_csv_stay_as_they_are(books: Ledger) -> None:
    """`007` is no number."""
    books.write(b"id\n007\n7\n", "records.csv")
    _found, rows = compared(books, {"file": "records.csv"})
    assert [row["id"] for row in rows if row["kind"] == "missing"] == ["007", "7"]


@pytest.mark.parametrize(
    "source",
    [
        {"url": "postgresql://u:secret@h/d", "query": "SELECT 1 AS id"},
        {"url": "postgresql://h/d?password=secret", "query": "SELECT 1 AS id"},
        {"url": "sqlite:///a", "file": "b.csv", "query": "SELECT 1 AS id"},
        {"url": "sqlite:///a"},
        {},
        {"url": "sqlite:///a", "query": "SELECT 1 AS id; DROP TABLE charges"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(books: Ledger, source: dict[str, str]) -> None:
    """A password in the file, two places or none, and more than one statement."""
    error = fault(books, source)
    assert error.code == "settings_invalid"
    assert "secret" not in str(error.details)


def test_an_unknown_source_or_period_is_named(books: Ledger) -> None:
    """A source that the settings do not have, and a period that no calendar has."""
    write_csv(books.folder, SOUND)
    assert fault(books, {"file": "records.csv"}, "2026-13").code == "period_unreadable"
    with books.open() as workspace, pytest.raises(UsageError) as caught:
        list(comparing.compare(workspace, open_producer, CutRequest(), ["payouts"]))
    assert caught.value.code == "producer_source_unknown"


def test_a_driver_that_is_not_installed_is_named(books: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which package, and how it is installed."""
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    error = fault(books, {"url": "postgresql://u@h/d", "query": "SELECT 1 AS id"})
    assert error.code == "producer_driver_missing"
    assert "clearwell[postgresql]" in error.message
