"""Arrivals against history: each kind of finding has a case that gives it, and a quiet history gives none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from clearwell.quality.expectations import arrivals, bands
from clearwell.quality.expectations.arrivals import ARRIVALS_SCHEMA, ArrivalRules, JudgedArrivals, judge
from clearwell.quality.expectations.subjects import Subject

UNTIL = datetime(2026, 3, 2, tzinfo=UTC)
RULES = ArrivalRules("hour", 7, UNTIL, "UTC", Decimal("0.99"), Decimal("1.2"))
SEED = 20_260_302
PAYMENT = Subject("event_type", "payment")


def history(weeks: int, mean: float = 30.0, seed: int = SEED) -> dict[int, int]:
    """Counts by hour, up to `UNTIL`, that follow the hours of the day and the days of the week, at random else."""
    random = np.random.default_rng(seed)
    last = RULES.bucket_of(UNTIL)
    hours = np.arange(last - weeks * 168 - 1, last)
    rate = mean * (1 + 0.7 * np.sin(2 * np.pi * hours / 24)) * np.where(hours // 24 % 7 >= 5, 0.5, 1.0)
    return dict(zip(hours.tolist(), random.poisson(rate).tolist(), strict=True))


def judged(counts: dict[int, int], lags: dict[int, int] | None = None) -> JudgedArrivals:
    """What is found of these counts; every event of an hour was recorded after its lag, 5 s where none is given."""
    rows = [
        ("event_type", "payment", hour, (lags or {}).get(hour, 5), count) for hour, count in counts.items() if count
    ]
    return judge(pl.DataFrame(rows, ARRIVALS_SCHEMA, orient="row"), PAYMENT, RULES)


def busy(day: int) -> list[int]:
    """The three busiest hours of a judged day."""
    return [RULES.first + day * 24 + hour for hour in (5, 6, 7)]


def test_a_quiet_week_has_no_finding() -> None:
    """Eight weeks as they always were, and the week that follows them: nothing to tell."""
    found = judged(history(9))
    assert (found.method, found.judged_buckets, found.lag_limit_seconds, found.findings) == ("forecast", 167, 6, ())
    assert found.expected == pytest.approx(found.count, rel=0.1)


@pytest.mark.parametrize("mean", [3.0, 30.0, 3_000.0])
def test_few_are_called_wrong_where_nothing_is(mean: float) -> None:
    """Of ten weeks by the hour, no more than one hour in 300 is outside the band, be there few events or many."""
    outside = sum(
        finding.bucket_count for seed in range(10) for finding in judged(history(9, mean, SEED + seed)).findings
    )
    assert outside <= 10 * 167 / 300, f"seed {SEED}"


@pytest.mark.parametrize(
    ("kind", "share"), [("silent", 0.0), ("too_few", 0.2), ("too_many", 2.5)]
)  # fmt: skip
def test_a_count_beyond_the_band_is_found(kind: str, share: float) -> None:
    """Three busy hours with none, a fifth, and two and a half times of their events are one finding, and the only."""
    counts = history(9)
    hours = busy(2)
    (finding,) = judged({**counts, **{hour: int(share * counts[hour]) for hour in hours}}).findings
    assert (finding.kind, finding.bucket_count) == (kind, 3)
    assert (finding.start, finding.end) == (RULES.start(hours[0]), RULES.start(hours[-1] + 1))
    assert finding.count == sum(int(share * counts[hour]) for hour in hours)


def test_events_that_come_late_are_late_and_not_missing() -> None:
    """All events of three hours come an hour late: the count is right, and lateness is told."""
    hours = busy(2)
    (finding,) = judged(history(9), dict.fromkeys(hours, 3600)).findings
    assert (finding.kind, finding.bucket_count, finding.on_time_count) == ("too_late", 3, 0)
    assert finding.count > 50


def test_silence_at_the_end_is_found_once_events_may_be_missed() -> None:
    """The last hour is judged when it has been over for as long as events usually take; then its silence is told."""
    counts = history(9)
    last = RULES.bucket_of(UNTIL) - 1
    silent = {hour: count for hour, count in counts.items() if hour < last - 2}
    rows = pl.DataFrame(
        [("event_type", "payment", *row) for row in ((h, 5, c) for h, c in silent.items())],
        ARRIVALS_SCHEMA,
        orient="row",
    )
    at_once = judge(rows, PAYMENT, replace(RULES, until=UNTIL + timedelta(seconds=5)))
    soon = judge(rows, PAYMENT, replace(RULES, until=UNTIL + timedelta(seconds=6)))
    assert [item.findings[-1].bucket_count for item in (at_once, soon)] == [2, 3]
    assert soon.findings[-1].kind == "silent"


def test_events_in_bulk_are_judged_by_their_number_alone() -> None:
    """Where a whole history came in years later, nothing is late, and silence is found all the same."""
    counts = {hour: count for hour, count in history(9).items() if hour not in busy(2)}
    found = judged(counts, dict.fromkeys(counts, 10**8))
    assert found.lag_limit_seconds is None
    assert [finding.kind for finding in found.findings] == ["silent"]


@pytest.mark.parametrize(
    ("weeks", "method"), [(2, "no_judgement"), (4, "seasonal_median"), (6, "forecast")]
)  # fmt: skip
def test_a_cold_start_is_careful(weeks: int, method: str) -> None:
    """With a week of history nothing is judged, with three the usual of the week, and silence is found only then."""
    counts = history(weeks)
    silent = {hour: count for hour, count in counts.items() if not RULES.first + 24 <= hour < RULES.first + 60}
    found = judged(silent)
    assert found.method == method
    assert ("silent" in [finding.kind for finding in found.findings]) == (method != "no_judgement")


def test_what_failed_before_is_not_what_is_expected() -> None:
    """A day of silence in the history does not make the next silence usual."""
    counts = history(9)
    before = range(RULES.first - 168 + 48, RULES.first - 168 + 72)
    found = judged({**counts, **dict.fromkeys(before, 0), **dict.fromkeys(busy(2), 0)})
    assert [(finding.kind, finding.bucket_count) for finding in found.findings] == [("silent", 3)]


def test_what_comes_once_a_day_is_missed_when_it_does_not() -> None:
    """A file a day, for ten weeks: a day without it is silent, and a day with two has too many."""
    rules = replace(RULES, bucket="day")
    days = dict.fromkeys(range(rules.first - 70, rules.first + 7), 1)
    days[rules.first + 2], days[rules.first + 4] = 0, 2
    rows = pl.DataFrame(
        [("event_type", "file", day, 5, count) for day, count in days.items()], ARRIVALS_SCHEMA, orient="row"
    )
    found = judge(rows, Subject("event_type", "file"), rules).findings
    assert [(finding.kind, finding.start.day) for finding in found] == [("silent", 25), ("too_many", 27)]


def test_what_is_rare_is_not_too_many_when_it_happens() -> None:
    """Two events in ten weeks; one in the judged week is no finding, five in a day are."""
    rules = replace(RULES, bucket="day")
    days = {rules.first - 69: 1, rules.first - 60: 1, rules.first - 20: 1, rules.first + 1: 1, rules.first + 3: 5}
    rows = pl.DataFrame(
        [("event_type", "rare", day, 5, count) for day, count in days.items()], ARRIVALS_SCHEMA, orient="row"
    )
    found = judge(rows, Subject("event_type", "rare"), rules).findings
    assert [(finding.kind, finding.count) for finding in found] == [("too_many", 5)]


def test_events_are_counted_where_they_happened() -> None:
    """Buckets are of `occurred_at`: hours in UTC, days in the project's zone; early ones have no lag."""
    at = datetime(2026, 3, 1, 22, 59, 59, tzinfo=UTC)
    events = pl.LazyFrame(
        {
            "type": ["a"] * 4,
            "occurred_at": [at, at, at, datetime(2025, 1, 1, tzinfo=UTC)],
            "recorded_at": [at + timedelta(seconds=lag) for lag in (0.1, -7, 1000, 0)],
        },
        schema_overrides={name: pl.Datetime("us", "UTC") for name in ("occurred_at", "recorded_at")},
    )
    all_of_a = {Subject("event_type", "a"): pl.col("type") == "a"}
    hour = arrivals.counted(events, RULES, all_of_a).collect().sort("lag_seconds")
    assert hour.rows() == [("event_type", "a", RULES.bucket_of(at), lag, 1) for lag in (0, 1, 1008)]
    day = replace(RULES, bucket="day", time_zone="Europe/Amsterdam")
    assert set(arrivals.counted(events, day, all_of_a).collect()["bucket"]) == {day.bucket_of(at)}
    assert day.start(day.bucket_of(at)) == datetime(2026, 2, 28, 23, tzinfo=UTC)
    tokyo = replace(day, time_zone="Asia/Tokyo")
    assert tokyo.bucket_of(at) == day.bucket_of(at) + 1


def test_the_scale_and_back() -> None:
    """Counts that are put on the scale and taken from it are what they were."""
    counts = np.array([0.0, 1.0, 17.0, 10_000.0])
    for excess in (0.0, 0.02, 1.5):
        scale = bands.Scale(excess)
        assert scale.taken(scale.put(counts)) == pytest.approx(counts, abs=1e-9)
