"""Completeness across systems: a producer's own records against the events of the log, as SQL in each one's dialect.

Both sides hash every row in the same way and sum the hashes per bucket, each where its rows are. Only the rows of
buckets that differ are compared one by one. Functions return queries or numbers; none runs anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

HASH_BITS = 60
"""A row's hash: the first 15 hexadecimal digits of an MD5, or the last 60 bits of `row_hashes`, as a whole number."""

MOST_NAMED = 50_000
"""A query names so many buckets at most; where more differ, all rows are asked for and chosen from here."""

_HALF = 1 << 30
_BUCKET_ROWS = 100
_MOST_FIRST_BITS = 12
"""So few buckets stay in a processor's cache: with 131,072 of them a row takes PostgreSQL twice as long."""

_MOST_BUCKET_BITS = 17
_FEW_ROWS = 100_000


Hashing = Literal["md5", "lookup3"]
"""MD5, which every database has, or PostgreSQL's own hash of a text (`row_hashes`), in a sixth of the time."""


@dataclass(frozen=True)
class Dialect:
    """How a database says what the comparison needs; `{}` is an expression.

    `barrier` ends a subquery that must not be merged into the one around it, or the hash would be computed three times.
    `parameter` begins a bound parameter. `micros` turns an instant into microseconds since 1970 in UTC. `hashing` says
    what `hash` computes.
    """

    name: str
    text: str
    hash: str
    joined: str
    micros: str
    integer: str = "CAST({} AS bigint)"
    instant: str = "{}"
    barrier: str = ""
    parameter: str = ":"
    hashing: Hashing = "md5"


_CONCATENATED = "coalesce({amount}, '') || '|' || coalesce({currency}, '') || '|' || {id}"

DIALECTS = {
    item.name: item
    for item in (
        Dialect(
            name="postgresql",
            text="CAST({} AS text)",
            hash="CAST(CAST('x' || substr(md5(convert_to({}, 'UTF8')), 1, 15) AS bit(60)) AS bigint)",
            joined=_CONCATENATED,
            micros="CAST(extract(epoch FROM {}) * 1000000 AS bigint)",
            barrier=" OFFSET 0",
        ),
        Dialect(
            name="mysql",
            text="CAST({} AS CHAR CHARACTER SET utf8mb4)",
            hash="CAST(CONV(SUBSTR(MD5({}), 1, 15), 16, 10) AS UNSIGNED)",
            joined="CONCAT(COALESCE({amount}, ''), '|', COALESCE({currency}, ''), '|', {id})",
            micros="TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {})",
            integer="CAST({} AS SIGNED)",
            barrier=" LIMIT 18446744073709551615",
        ),
        # SQLite has no hash and no instants: the functions are put into the connection (`engines.producers`).
        Dialect(
            name="sqlite",
            text="CAST({} AS TEXT)",
            hash="clearwell_hash({})",
            joined=_CONCATENATED,
            micros="clearwell_micros({})",
            instant="clearwell_micros({})",
            barrier=" LIMIT -1",
        ),
        Dialect(
            name="duckdb",
            text="CAST({} AS VARCHAR)",
            hash="CAST('0x' || substr(md5({}), 1, 15) AS BIGINT)",
            joined=_CONCATENATED,
            micros="epoch_us({})",
            parameter="$",
        ),
    )
}

_OWN_HASH = f'(hashtextextended({{}} COLLATE "C", 0) & {(1 << HASH_BITS) - 1})'

POSTGRESQL_HASH = replace(DIALECTS["postgresql"], hash=_OWN_HASH, hashing="lookup3")
"""PostgreSQL's dialect, for a server whose own hash is the one of `row_hashes`."""

DUCKDB_HASH = replace(DIALECTS["duckdb"], hash="clearwell_hash({})", hashing="lookup3")
"""DuckDB's dialect on a connection that has `row_hashes` as the function `clearwell_hash`."""


@dataclass(frozen=True)
class Columns:
    """What the rows have beside their id: an amount with its currency, and a time."""

    has_amount: bool
    has_time: bool


@dataclass(frozen=True)
class Buckets:
    """Those of `numbers`, of the buckets by the first `bits` of the hash. None is all of them."""

    bits: int
    numbers: Collection[int] | None = None

    def condition(self) -> str:
        """That the hash `h` lies in one of them."""
        if self.numbers is None:
            return "h IS NOT NULL"
        return f"h >> {HASH_BITS - self.bits} IN ({', '.join(map(str, map(int, self.numbers)))})"


@dataclass(frozen=True)
class Rows:
    """Rows to be compared: a query in a dialect, whose result has `id`, and `amount`, `currency` and `time` if it has.

    With `within`, only those of which the time lies between the parameters `start` (included) and `until`.
    """

    dialect: Dialect
    query: str
    columns: Columns
    within: bool = False

    def hash(self) -> str:
        """The hash of a row, null without an id: that of its content."""
        return self.dialect.hash.format(self.content())

    def sums(self, bits: int, among: Buckets | None = None) -> str:
        """Per bucket of `bits`, those within `among` alone: `record_count`, and the sum of the hashes in two halves.

        Halves of 30 bits, because a sum of 60-bit numbers overflows 64 bits with the ninth. The bucket is null for rows
        without an id.
        """
        hashed = f"SELECT {self.hash()} AS h FROM {self._source()}{self._where()}{self.dialect.barrier}"
        condition = f" WHERE {among.condition()}" if among is not None else ""
        return f"{hash_sums(bits, self.dialect)} FROM ({hashed}) AS hashed{condition} GROUP BY 1"

    def listed(self, among: Buckets) -> str:
        """The rows of these buckets: `id`, `amount`, `currency`, and `time_us`, null where they have none."""
        hashed = f"SELECT {self._shown()}, {self.hash()} AS h FROM {self._source()}{self._where()}"
        return f"SELECT id, amount, currency, time_us FROM ({hashed}) AS hashed WHERE {among.condition()}"

    def named(self, parameter: str) -> str:
        """The rows whose id is one of `parameter`, whatever their time."""
        return f"SELECT {self._shown()} FROM {self._source()} WHERE {self._id()} IN {parameter}"

    def without_time(self) -> str:
        """How many rows have no time."""
        return f"SELECT count(*) FROM {self._source()} WHERE records.time IS NULL"

    def _id(self) -> str:
        return self.dialect.text.format("records.id")

    def content(self) -> str:
        """The text `AMOUNT|CURRENCY|ID`, or the id where there is no amount; null without an id."""
        if not self.columns.has_amount:
            return self._id()
        texts = {name: self.dialect.text.format(f"records.{name}") for name in ("amount", "currency")}
        return self.dialect.joined.format(id=self._id(), **texts)

    def _shown(self) -> str:
        has_amount = self.columns.has_amount
        currency = self.dialect.text.format("records.currency") if has_amount else "NULL"
        time = self.dialect.micros.format("records.time") if self.columns.has_time else "NULL"
        amount = "records.amount" if has_amount else "NULL"
        return f"{self._id()} AS id, {amount} AS amount, {currency} AS currency, {time} AS time_us"

    def _source(self) -> str:
        # On a line of its own, so that a comment at the end of the query ends with it.
        return f"(\n{self.query}\n) AS records"

    def _where(self) -> str:
        if not self.within:
            return ""
        time, sign = self.dialect.instant.format("records.time"), self.dialect.parameter
        return f" WHERE {time} >= {sign}start AND {time} < {sign}until"


def hash_sums(bits: int, dialect: Dialect) -> str:
    """The columns of `Rows.sums`, of hashes `h`."""
    high, low = (dialect.integer.format(f"sum({part})") for part in ("h >> 30", f"h & {_HALF - 1}"))
    return f"SELECT h >> {HASH_BITS - bits} AS bucket, count(*) AS record_count, {high} AS sum_high, {low} AS sum_low"


def first_bits(count: int) -> int:
    """By how many bits so many rows are put into buckets at first: a hundred rows in each, 4,096 at most."""
    return min(_MOST_FIRST_BITS, max(0, math.ceil(math.log2(max(1, count) / _BUCKET_ROWS))))


def further_bits(compared: int, differing: int, rows: int, total: int) -> int:
    """By how many bits the buckets that differ are split once more; 0 when their rows had better be fetched.

    `differing` of the `compared` buckets do, with so many `rows` of the `total`. As hashes are spread evenly, the share
    of them tells how many rows `d` differ, or where all buckets do, how many at least. Split into `s` parts that give
    one line each, they cost `s` lines and then `d / s` of the rows: least with the square root of `d * rows`. Of parts
    there are 131,072 at most.
    """
    if not differing or differing > MOST_NAMED or rows < max(_FEW_ROWS, total // 4):
        return 0
    most = _MOST_BUCKET_BITS - math.ceil(math.log2(differing))
    differing_rows = -compared * math.log(max(1 - differing / compared, 1 / (2 * compared)))
    if most <= 0 or differing_rows * 64 > rows:
        return 0
    return min(most, max(1, round(math.log2(math.sqrt(differing_rows * rows) / differing))))


DIFFERING = """
SELECT coalesce(p.bucket, e.bucket) AS bucket,
    coalesce(p.record_count, 0) + coalesce(e.record_count, 0) AS row_count
FROM producer_sums AS p FULL JOIN event_sums AS e ON p.bucket = e.bucket
WHERE (p.record_count, p.sum_high, p.sum_low) IS DISTINCT FROM (e.record_count, e.sum_high, e.sum_low)
    AND coalesce(p.bucket, e.bucket) IS NOT NULL
ORDER BY bucket
"""
"""The buckets of which count or sums are not the same on both sides, of the relations `producer_sums`, `event_sums`."""


IN_QUESTION = """
SELECT id FROM (
    SELECT id, amount, currency, 1 AS side FROM records UNION ALL SELECT id, amount, currency, -1 FROM events
)
GROUP BY id
HAVING count(*) <> 2 OR sum(side) <> 0 OR count(amount) = 1 OR count(currency) = 1
    OR min(amount) <> max(amount) OR min(currency) <> max(currency)
"""
"""The ids that are not simply one record and one event with the same money."""


def _money_of(row: str) -> str:
    """The amount and currency of `row` as one text."""
    return f"coalesce({row}.amount::VARCHAR, '') || '|' || coalesce({row}.currency, '')"


def differences() -> str:
    """A row for all that does not match, of `records`, `events`, `outside_events` and `outside_records`.

    By id: a record is `missing` without an event anywhere, and `different` when no event of its id has its amount and
    currency. Of records that share an id the one that matches counts, or else the earliest; others are a `duplicate`,
    and so is any whose event is `paired` with a record that was not fetched.
    An event is `unexpected` without a record anywhere.
    """
    return f"""
    WITH known AS (
        SELECT id, min(sequence) AS sequence, arg_min_null(amount, sequence) AS amount,
            arg_min_null(currency, sequence) AS currency, arg_min_null(time_us, sequence) AS time_us,
            list({_money_of("e")}) AS contents,
            coalesce(bool_or(paired), false) AS paired
        FROM (FROM events UNION ALL BY NAME FROM outside_events) AS e GROUP BY id
    ), ranked AS (
        SELECT r.*, k.sequence, coalesce(k.paired, false) AS paired,
            k.amount AS event_amount, k.currency AS event_currency,
            list_contains(k.contents, {_money_of("r")}) AS same,
            row_number() OVER (PARTITION BY r.id
                ORDER BY same DESC NULLS LAST, r.time_us NULLS LAST, r.amount NULLS LAST, r.currency NULLS LAST
            ) AS place
        FROM records AS r LEFT JOIN known AS k ON r.id = k.id
    ), found AS (
        SELECT CASE WHEN place > 1 OR paired THEN 'duplicate' WHEN sequence IS NULL THEN 'missing'
            ELSE 'different' END AS kind, id, amount, currency, time_us, sequence, event_amount, event_currency
        FROM ranked WHERE place > 1 OR paired OR NOT coalesce(same, false)
        UNION ALL
        SELECT 'unexpected', id, NULL, NULL, time_us, sequence, amount, currency FROM events
        WHERE id NOT IN (SELECT id FROM records) AND id NOT IN (SELECT id FROM outside_records)
    )
    SELECT row_number() OVER (ORDER BY {_KIND_ORDER}, id, sequence NULLS LAST, time_us NULLS LAST, amount NULLS LAST,
        currency NULLS LAST) AS place, * FROM found ORDER BY place
    """


KINDS = ("missing", "unexpected", "different", "duplicate")
"""What does not match, in the order in which it is told."""

_KIND_ORDER = "CASE kind " + " ".join(f"WHEN '{kind}' THEN {place}" for place, kind in enumerate(KINDS)) + " END"

MONEY = """
WITH sides AS (
    SELECT kind, place, currency, amount::HUGEINT AS amount FROM found WHERE kind <> 'duplicate'
    UNION ALL
    SELECT kind, place, event_currency, -event_amount::HUGEINT FROM found WHERE kind IN ('different', 'unexpected')
), moved AS (
    SELECT kind, place, currency, sum(amount) AS money FROM sides
    WHERE currency IS NOT NULL AND amount IS NOT NULL GROUP BY ALL
)
SELECT kind, currency, count(*) AS row_count, sum(abs(money))::HUGEINT AS money
FROM moved GROUP BY ALL ORDER BY kind, currency
"""
"""Per kind and currency of the differences `found`: how many have money in it, and how much, without sign.

Of one that is different it is by how much the two amounts differ; an amount in another currency counts whole, in each.
"""


def usual_money(amounts: Collection[tuple[str, str, str]], events: str) -> str:
    """Per currency: of how many `events` it is, of how many in all, and the usual amount, in minor units.

    `amounts` are the columns of value and currency of each move, and the condition on the events that have it. The
    usual amount is the money that all the events moved, by the number of all of them, rounded down: so many times as
    many events have moved just that.
    """
    sides = " UNION ALL ".join(
        f"SELECT sequence, {currency} AS currency, abs({value})::HUGEINT AS money FROM {events} "
        f"WHERE {value} <> 0 AND {condition}"
        for value, currency, condition in amounts
    )
    return f"""
    WITH moved AS ({sides}), counted AS (SELECT count(*)::HUGEINT AS all_count FROM {events})
    SELECT currency, count(DISTINCT sequence) AS event_count, any_value(all_count)::BIGINT AS all_count,
        (sum(money)::HUGEINT // any_value(all_count))::HUGEINT AS usual
    FROM moved, counted GROUP BY currency ORDER BY currency
    """


def estimated_money(missing: int, event_count: int, all_count: int, usual: int) -> tuple[int, int]:
    """How many of the `missing` records are of a currency, by its share of the events, and their money together."""
    return (2 * missing * event_count + all_count) // (2 * all_count), missing * usual
