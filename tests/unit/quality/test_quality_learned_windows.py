"""The fits of learned windows, against estimates that can be made with a pencil, and what must hold for all data."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearwell.quality.expectations import windows
from clearwell.quality.expectations.windows import DURATIONS_SCHEMA, Held, Rules

RULES = Rules(Decimal("0.5"), Decimal("1.2"), 4)
Counts = list[tuple[int, int, int]]


def frame(rows: Counts, value: str = "") -> pl.DataFrame:
    """Rows of seconds, cleared, open, of one account type."""
    return pl.DataFrame([("charge", value, *row) for row in rows], DURATIONS_SCHEMA, orient="row")


def test_survival_by_hand() -> None:
    """1 of 6 clears after 1 s, 1 leaves open at 2 s, 2 of 4 clear after 3 s, 1 of 2 after 5 s, 1 stays open at 9 s.

    Survival: 5/6; then of the 4 left 2 clear, 5/6 * 1/2 = 5/12; then of the 2 left 1, 5/24, and it falls no further.
    """
    curve = windows.survival(frame([(1, 1, 0), (2, 0, 1), (3, 2, 0), (5, 1, 0), (9, 0, 1)]))
    found = [curve.after(seconds) for seconds in (0, 1, 2.9, 3, 4, 5, 100)]
    assert found == pytest.approx([1, 5 / 6, 5 / 6, 5 / 12, 5 / 12, 5 / 24, 5 / 24])
    wanted = [Decimal(text) for text in ("0.1", "0.5", "0.58", "0.6", "0.79", "0.8", "0.99")]
    assert [curve.quantile(share) for share in wanted] == [1, 3, 3, 5, 5, None, None]


def test_an_open_episode_may_still_clear_in_its_own_second() -> None:
    """Of two at 4 s one clears and one is open: the open one was there to clear, so half are still open."""
    assert windows.survival(frame([(4, 1, 1)])).after(4) == pytest.approx(0.5)


@pytest.mark.parametrize(("share", "expected"), [("0.5", 50), ("0.9", 90), ("0.99", 99), ("0.9999", 100)])
def test_without_open_episodes_a_quantile_is_that_of_the_list(share: str, expected: int) -> None:
    """Of the durations 1 to 100 s the 99th is the one by which 99 % had cleared, however floats round."""
    assert windows.survival(frame([(n, 1, 0) for n in range(1, 101)])).quantile(Decimal(share)) == expected


def test_weights_are_counts() -> None:
    """A row that counts 3 is three rows that count 1."""
    split = frame([(1, 1, 0), (1, 1, 0), (1, 1, 0), (7, 1, 0), (7, 0, 1)])
    whole = frame([(1, 3, 0), (7, 1, 1)])
    assert windows.survival(split).still_open.tolist() == windows.survival(whole).still_open.tolist()


def test_a_window_has_headroom_and_is_rounded_up() -> None:
    """1.2 times 3 s are 3.6 s, which is 4 whole seconds; exact decimals are not rounded up for nothing."""
    assert windows.window_of(3, Decimal("1.2")) == 4
    assert windows.window_of(10, Decimal("1.1")) == 11
    assert windows.window_of(0, Decimal("1.2")) == 1


@pytest.mark.parametrize(
    ("rows", "state", "seconds"),
    [
        ([(10, 3, 0)], "too_few_episodes", None),
        ([(10, 2, 0), (20, 0, 2)], "learned", 12),
        ([(10, 1, 0), (20, 0, 3)], "not_enough_cleared", None),
    ],
)
def test_a_window_is_learned_or_it_is_said_why_not(rows: Counts, state: str, seconds: int | None) -> None:
    """Too few episodes, and too many of them open, give no window: none is guessed."""
    (found,) = windows.fit(frame(rows), RULES)
    assert (found.state, found.seconds) == (state, seconds)


def test_values_with_history_stand_alone_and_the_others_together() -> None:
    """Of three states two have the four episodes that it takes; the third is the rest, and the whole has all nine."""
    parts = [frame([(10, 4, 0)], "SP"), frame([(40, 3, 0), (50, 0, 1)], "AM"), frame([(90, 1, 0)], "RJ")]
    found = windows.fit(pl.concat(parts), RULES)
    told = [(item.value, item.is_rest, item.episode_count, item.open_count, item.seconds) for item in found]
    assert told == [
        (None, False, 9, 1, 48),
        ("AM", False, 4, 1, 48),
        ("SP", False, 4, 0, 12),
        (None, True, 1, 0, None),
    ]


@pytest.mark.parametrize(
    ("window_seconds", "called_overdue", "warned"),
    [
        (61.0, 0.0, "window_too_long"),
        (60.0, 0.0, ""),
        (11.0, 0.06, "window_too_short"),
        (11.0, 0.05, ""),
        (12.0, 0.06, ""),
        (None, None, ""),
    ],
)
def test_windows_far_from_reality_are_told(
    window_seconds: float | None, called_overdue: float | None, warned: str
) -> None:
    """Beyond 5 times the learned window it is too long; shorter, with more than 5 % called overdue, too short."""
    (fitted,) = windows.fit(frame([(10, 4, 0)]), RULES)
    assert fitted.seconds == 12
    assert windows.warning(fitted, Held(window_seconds, 10, 0.0, called_overdue)) == warned


DURATIONS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 3), st.integers(0, 3)).filter(lambda row: row[1] + row[2] > 0),
    min_size=1,
    max_size=12,
)
SHARES = st.decimals("0.5", "0.9999", places=4)


def reached(rows: Counts, share: Decimal) -> float:
    """The quantile, beyond all others where it is never reached."""
    seconds = windows.survival(frame(rows)).quantile(share)
    return float("inf") if seconds is None else seconds


@settings(max_examples=60)
@given(DURATIONS, SHARES, SHARES)
def test_a_higher_quantile_is_never_shorter(rows: Counts, one: Decimal, other: Decimal) -> None:
    """What more episodes are done by is not earlier."""
    assert reached(rows, min(one, other)) <= reached(rows, max(one, other))


@settings(max_examples=60)
@given(DURATIONS, SHARES, st.randoms())
def test_the_order_of_rows_means_nothing(rows: Counts, share: Decimal, random: object) -> None:
    """However the durations are listed, the fit is the same."""
    shuffled = sorted(rows, key=lambda _row: random.random())  # type: ignore[attr-defined]
    assert reached(rows, share) == reached(shuffled, share)


@settings(max_examples=60)
@given(DURATIONS, SHARES, st.integers(0, 60))
def test_an_open_episode_more_never_shortens(rows: Counts, share: Decimal, seconds: int) -> None:
    """That something else is still open is no reason to expect less time."""
    assert reached([*rows, (seconds, 0, 1)], share) >= reached(rows, share)


@settings(max_examples=60)
@given(DURATIONS, SHARES)
def test_what_is_open_instead_of_cleared_never_shortens(rows: Counts, share: Decimal) -> None:
    """The same durations, but nothing of the longest had cleared by then."""
    longest = max(row[0] for row in rows)
    still = [(at, 0, cleared + left) if at == longest else (at, cleared, left) for at, cleared, left in rows]
    assert reached(still, share) >= reached(rows, share)
