"""Completeness: the SQL of each dialect, and the arithmetic of buckets."""

from __future__ import annotations

import hashlib

import duckdb
import pytest

from clearwell.quality.completeness import (
    DIALECTS,
    POSTGRESQL_HASH,
    Buckets,
    Columns,
    Rows,
    estimated_money,
    first_bits,
    further_bits,
    usual_money,
)


def rows(dialect: str, *, has_amount: bool = True, within: bool = False) -> Rows:
    return Rows(DIALECTS[dialect], "SELECT 1", Columns(has_amount=has_amount, has_time=True), within=within)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (
            "postgresql",
            "CAST(CAST('x' || substr(md5(convert_to(CAST(records.id AS text), 'UTF8')), 1, 15) AS bit(60)) AS bigint)",
        ),
        ("mysql", "CAST(CONV(SUBSTR(MD5(CAST(records.id AS CHAR CHARACTER SET utf8mb4)), 1, 15), 16, 10) AS UNSIGNED)"),
        ("sqlite", "clearwell_hash(CAST(records.id AS TEXT))"),
        ("duckdb", "CAST('0x' || substr(md5(CAST(records.id AS VARCHAR)), 1, 15) AS BIGINT)"),
    ],
)  # fmt: skip
def test_each_dialect_hashes_the_id(dialect: str, expected: str) -> None:
    """The first 15 hexadecimal digits of the MD5, as a number."""
    assert rows(dialect, has_amount=False).hash() == expected


def test_a_server_of_postgresql_hashes_by_itself_where_it_can() -> None:
    """The last 60 bits of its own hash, of the bytes of the text whatever the column's collation is."""
    own = Rows(POSTGRESQL_HASH, "SELECT 1", Columns(has_amount=False, has_time=False)).hash()
    assert own == '(hashtextextended(CAST(records.id AS text) COLLATE "C", 0) & 1152921504606846975)'


def test_a_hash_is_that_of_amount_currency_and_id() -> None:
    """DuckDB gives what Python gives of `AMOUNT|CURRENCY|ID`, with nothing for what is null."""
    query = "SELECT * FROM (VALUES ('ü', -5, 'USD'), ('b', NULL, NULL)) AS t(id, amount, currency)"
    found = duckdb.sql(f"SELECT {rows('duckdb').hash()} FROM ({query}) AS records").fetchall()
    texts = ["-5|USD|ü", "||b"]
    assert [row[0] for row in found] == [int(hashlib.md5(text.encode()).hexdigest()[:15], 16) for text in texts]


def test_sums_are_exact_beyond_64_bits() -> None:
    """The sum of many hashes, in two halves, is that of Python's integers."""
    asked = Rows(DIALECTS["duckdb"], "SELECT range AS id FROM range(1000)", Columns(has_amount=False, has_time=False))
    hashes = [int(hashlib.md5(str(number).encode()).hexdigest()[:15], 16) for number in range(1000)]
    ((bucket, count, high, low),) = duckdb.sql(asked.sums(0)).fetchall()
    assert (bucket, count, (high << 30) + low) == (0, 1000, sum(hashes))
    some = Buckets(4, [h >> 56 for h in hashes[:3]])
    found = duckdb.sql(asked.sums(8, some)).fetchall()
    assert sum(row[1] for row in found) == sum(h >> 56 in set(some.numbers or ()) for h in hashes)


def test_a_period_is_bound_and_buckets_are_named() -> None:
    """Instants are parameters; buckets are numbers."""
    assert ":start AND records.time < :until OFFSET 0) AS hashed" in rows("postgresql", within=True).sums(4)
    assert rows("sqlite").listed(Buckets(4, [1, 2])).endswith("WHERE h >> 56 IN (1, 2)")


def test_buckets_have_a_hundred_rows() -> None:
    """Few rows are one bucket; very many are 4,096."""
    assert [first_bits(count) for count in (0, 100, 101, 10**5, 10**9)] == [0, 0, 1, 10, 12]


@pytest.mark.parametrize(
    ("compared", "differing", "row_count", "total", "expected"),
    [
        (16_384, 0, 0, 10**7, 0),  # nothing differs
        (16_384, 100, 60_000, 10**7, 0),  # few rows: they are fetched
        (131_072, 131_072, 10**7, 10**7, 0),  # everything differs
        (4_096, 4_096, 2 * 10**7, 2 * 10**7, 5),  # every bucket does, but it has thousands of rows
        (16_384, 7_500, 4_600_000, 10**7, 4),  # 10,000 of ten million
        (65_536, 60_000, 10**8, 10**8, 0),  # more than a query names
    ],
)
def test_buckets_are_split_where_that_saves(
    compared: int, differing: int, row_count: int, total: int, expected: int
) -> None:
    """Only where scattered differences would have most rows fetched."""
    assert further_bits(compared, differing, row_count, total) == expected


def test_usual_money_is_what_events_move_on_average() -> None:
    """Per currency, over all moves of an event, by the number of all events; rounded down."""
    events = (
        "(VALUES (1, 10, 'USD', 1, 'USD'), (2, 20, 'USD', NULL, NULL), (3, 5, 'EUR', 1, 'EUR'), "
        "(4, -30, 'USD', 0, 'USD')) AS t(sequence, a, c, b, d)"
    )
    found = duckdb.sql(usual_money([("a", "c", "true"), ("b", "d", "sequence < 9")], events)).fetchall()
    assert found == [("EUR", 1, 4, 1), ("USD", 3, 4, 15)]
    assert estimated_money(10, 3, 4, 15) == (8, 150)
