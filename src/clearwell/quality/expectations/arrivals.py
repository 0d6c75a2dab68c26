"""Arrivals: how many events happen in an hour or a day, and how soon they come, against what history taught.

What is judged is a subject: an event type with its events, or an account type with the events that move money into it.
A bucket is of `occurred_at`: an event that comes late belongs where it happened. Runs no query and reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from clearwell.quality.expectations.bands import Band, Method, band
from clearwell.quality.expectations.subjects import Subject, SubjectKind

Bucket = Literal["hour", "day"]
FindingKind = Literal["silent", "too_few", "too_many", "too_late"]

ARRIVALS_SCHEMA = pl.Schema(
    {
        "subject_kind": pl.String(),
        "subject": pl.String(),
        "bucket": pl.Int64(),
        "lag_seconds": pl.Int64(),
        "count": pl.Int64(),
    }
)
"""How many events of a subject happened in a bucket and were recorded so many seconds after; buckets are counted from
1970, hours in UTC, and days in the zone of the rules."""

SEASONS: dict[Bucket, tuple[int, ...]] = {"hour": (24, 168), "day": (7,)}
HISTORY_DAYS: dict[Bucket, int] = {"hour": 56, "day": 364}
"""So many days before the judged ones are the history."""

BULK_SECONDS = 7 * 86_400
"""Where events come later than this, they are brought in bulk: then lags say nothing, and lateness is not judged."""

_EPOCH = date(1970, 1, 1)
_LAG_BITS = 5
_OF_BAND = ("middle", "lower", "upper")


@dataclass(frozen=True)
class ArrivalRules:
    """What to judge: the last `days` before `until`, by the hour or by the day of `time_zone`.

    An event is late when it comes after `headroom` times the lag that `quantile` of the history's events kept.
    """

    bucket: Bucket
    days: int
    until: datetime
    time_zone: str
    quantile: Decimal
    headroom: Decimal

    @property
    def first(self) -> int:
        """The first bucket that is judged."""
        return self.bucket_of(self.until) - self.days * (24 if self.bucket == "hour" else 1)

    @property
    def earliest(self) -> int:
        """The first bucket of the history."""
        return self.first - HISTORY_DAYS[self.bucket] * (24 if self.bucket == "hour" else 1)

    def bucket_of(self, instant: datetime) -> int:
        """The bucket that an instant lies in."""
        if self.bucket == "hour":
            return int(instant.timestamp() // 3600)
        return (instant.astimezone(ZoneInfo(self.time_zone)).date() - _EPOCH).days

    def start(self, bucket: int) -> datetime:
        """When a bucket begins."""
        if self.bucket == "hour":
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=bucket)
        day = _EPOCH + timedelta(days=bucket)
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.time_zone)).astimezone(UTC)


def counted(events: pl.LazyFrame, rules: ArrivalRules, subjects: Mapping[Subject, pl.Expr]) -> pl.LazyFrame:
    """The rows of `ARRIVALS_SCHEMA`, from the history on: of each subject the events that meet its condition.

    `events` have occurred_at, recorded_at, and what the conditions name. Lags are rounded up to the second, and those
    above a minute to one part in 32, so that rows stay few.
    """
    occurred = pl.col("occurred_at")
    earliest = rules.start(rules.earliest)
    marks = {f"of_{place}": condition for place, condition in enumerate(subjects.values())}
    grouped = (
        events.filter(occurred >= pl.lit(earliest, pl.Datetime("us", "UTC")), occurred <= pl.lit(rules.until))
        .select(bucket=_bucket(rules), lag_seconds=_lag(), **marks)
        .group_by("bucket", "lag_seconds", *marks)
        .agg(count=pl.len().cast(pl.Int64))
    )
    # An event is counted once, and is of several subjects: what it is of is told apart in the few rows that are left.
    return pl.concat(
        [
            grouped.filter(pl.col(mark)).select(
                pl.lit(subject.kind).alias("subject_kind"),
                pl.lit(subject.name).alias("subject"),
                *("bucket", "lag_seconds", "count"),
            )
            for mark, subject in zip(marks, subjects, strict=True)
        ]
    )


def _bucket(rules: ArrivalRules) -> pl.Expr:
    occurred = pl.col("occurred_at")
    if rules.bucket == "hour":
        return (occurred.dt.timestamp("us") // 3_600_000_000).cast(pl.Int64)
    return occurred.dt.convert_time_zone(rules.time_zone).dt.date().cast(pl.Int32).cast(pl.Int64)


def _lag() -> pl.Expr:
    lag = (pl.col("recorded_at") - pl.col("occurred_at")).dt.total_microseconds().clip(lower_bound=0)
    seconds = (lag + 999_999) // 1_000_000
    bits = seconds.clip(lower_bound=1).log(2).floor() - _LAG_BITS
    step = pl.lit(2).pow(bits.clip(lower_bound=0)).cast(pl.Int64)
    return (seconds + step - 1) // step * step


@dataclass(frozen=True)
class ArrivalFinding:
    """Consecutive buckets of a subject, from `start` to before `end`, that are not what history let one expect.

    Of `count` events that happened then, `on_time_count` came in time; `expected` is the middle of what was expected.
    `lowest` and `highest` are bounds for a bucket: the highest of the lower ones, and the lowest of the upper ones.
    """

    kind: FindingKind
    subject_kind: SubjectKind
    subject: str
    start: datetime
    end: datetime
    bucket_count: int
    count: int
    on_time_count: int
    expected: float
    lowest: int
    highest: int


@dataclass(frozen=True)
class JudgedArrivals:
    """What was found of a subject. `lag_limit_seconds` is None where lateness is not judged."""

    subject_kind: SubjectKind
    subject: str
    method: Method
    history_buckets: int
    judged_buckets: int
    lag_limit_seconds: int | None
    expected: float
    count: int
    findings: tuple[ArrivalFinding, ...]


def judge(arrivals: pl.DataFrame, subject: Subject, rules: ArrivalRules) -> JudgedArrivals:
    """Hold the rows of `ARRIVALS_SCHEMA` of a subject against its own history, bucket by bucket.

    A bucket is judged when it has been over for as long as its events may take to come.
    """
    history = arrivals.filter(pl.col("bucket") < rules.first)
    limit = lag_limit(history, rules)
    judged_for_lag = limit is not None and limit <= BULK_SECONDS
    grace = timedelta(seconds=limit) if limit is not None and judged_for_lag else timedelta()
    last = rules.bucket_of(rules.until - grace) - 1
    begun = history["bucket"].min()
    # The bucket in which a type begins is not whole, and counts for nothing.
    counts = dense(history, int(begun) + 1, rules.first - 1) if isinstance(begun, int) else []
    length = max(0, last - rules.first + 1)
    expected = band(counts, length, SEASONS[rules.bucket])
    now = arrivals.filter(pl.col("bucket").is_between(rules.first, last))
    totals = dense(now, rules.first, last)
    in_time = now.filter(pl.col("lag_seconds") <= limit) if limit is not None and judged_for_lag else now
    on_time = dense(in_time, rules.first, last)
    kinds = [_kind(totals[place], on_time[place], expected, place) for place in range(len(expected.lower))]
    told = {"count": totals, "on_time": on_time, **{name: getattr(expected, name) for name in _OF_BAND}}
    return JudgedArrivals(
        subject_kind=subject.kind,
        subject=subject.name,
        method=expected.method,
        history_buckets=len(counts),
        judged_buckets=len(kinds),
        lag_limit_seconds=limit if judged_for_lag else None,
        expected=round(sum(expected.middle), 1),
        count=sum(totals),
        findings=tuple(_findings(kinds, told, subject, rules)),
    )


def lag_limit(history: pl.DataFrame, rules: ArrivalRules) -> int | None:
    """The seconds after which an event of this history would be late; None without events."""
    lags = history.group_by("lag_seconds").agg(pl.col("count").sum()).sort("lag_seconds")
    if lags.is_empty():
        return None
    share = lags["count"].cum_sum() / lags["count"].sum()
    reached = int(lags["lag_seconds"].filter(share >= float(rules.quantile) - 1e-12)[0])
    return max(1, int((reached * rules.headroom).to_integral_value(ROUND_CEILING)))


def dense(arrivals: pl.DataFrame, first: int, last: int) -> list[int]:
    """The number of events in each bucket from `first` to `last`."""
    if last < first:
        return []
    every = pl.DataFrame({"bucket": pl.int_range(first, last + 1, dtype=pl.Int64, eager=True)})
    summed = arrivals.group_by("bucket").agg(pl.col("count").sum())
    return every.join(summed, on="bucket", how="left", maintain_order="left")["count"].fill_null(0).to_list()


def _kind(count: int, on_time: int, expected: Band, place: int) -> FindingKind | None:
    lower, upper = expected.lower[place], expected.upper[place]
    if count < lower:
        return "too_few" if count else "silent"
    if count > upper:
        return "too_many"
    return "too_late" if on_time < lower else None


def _findings(
    kinds: Sequence[FindingKind | None], told: Mapping[str, Sequence[float]], subject: Subject, rules: ArrivalRules
) -> Iterator[ArrivalFinding]:
    """One finding for buckets that follow each other and are wrong in the same way."""
    for kind, group in groupby(range(len(kinds)), key=lambda place: kinds[place]):
        places = list(group)
        if kind is not None:
            own = {name: [numbers[place] for place in places] for name, numbers in told.items()}
            yield ArrivalFinding(
                kind=kind,
                subject_kind=subject.kind,
                subject=subject.name,
                start=rules.start(rules.first + places[0]),
                end=rules.start(rules.first + places[-1] + 1),
                bucket_count=len(places),
                count=int(sum(own["count"])),
                on_time_count=int(sum(own["on_time"])),
                expected=round(sum(own["middle"]), 1),
                lowest=int(max(own["lower"])),
                highest=int(min(own["upper"])),
            )
