"""Learned windows: how long episodes stay open, estimated from history, those still open included (Kaplan-Meier).

Durations are counted by the whole second, rounded up, so that millions of episodes are few rows. Runs no query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Literal

import polars as pl

from clearwell.ledger.views import quoted_text
from clearwell.quality.clearing import cleared_with_due, open_with_state
from clearwell.quality.windows import WindowKinds, value_of
from clearwell.values.deferred import Deferred

if TYPE_CHECKING:
    import lifelines
    import numpy as np
    import numpy.typing as npt
else:
    lifelines, np = Deferred("lifelines"), Deferred("numpy")

State = Literal["learned", "too_few_episodes", "not_enough_cleared"]

DURATIONS_SCHEMA = pl.Schema(
    {
        "account_type": pl.String(),
        "value": pl.String(),
        "seconds": pl.Int64(),
        "cleared_count": pl.Int64(),
        "open_count": pl.Int64(),
    }
)
"""How many episodes cleared after so many seconds, and how many are open for so many; `value` is that of the property
that the account type is subdivided by, and empty for others."""

JUDGED_SCHEMA = pl.Schema(
    {
        "account_type": pl.String(),
        "value": pl.String(),
        "due_count": pl.Int64(),
        "beyond_count": pl.Int64(),
        "cleared_count": pl.Int64(),
        "cleared_late_count": pl.Int64(),
        "window_seconds": pl.Float64(),
    }
)
"""Episodes whose window has run out, and those of them that had not cleared by then; of the first, those that have
cleared by now, and cleared late; and how long the window was, at the median, which differs for business days alone."""

SHOWN_QUANTILES = (Decimal("0.5"), Decimal("0.9"), Decimal("0.99"))

FAR_LONGER = 5
"""A declared window so many times as long as the learned one is far from reality."""

MOST_CALLED_OVERDUE = 0.05
"""So is one that calls more than this share of the episodes overdue that cleared all the same."""

_ROUNDING = 1e-9
"""Survival is a product of floating-point numbers: what is so near to a bound has reached it."""


def durations(places: Mapping[str, int], chosen: Sequence[str]) -> str:
    """The rows of `DURATIONS_SCHEMA` of the account types `chosen`, as SQL over `episodes_at` and `open_at`.

    `places` has, by account type, the place (from 1) of the property that it is subdivided by. An episode that cleared
    at a time before it opened, because its events came in another order, took no time. Parameter: `$effective_at`.
    """
    value, among = value_of(places), _among(chosen)
    return f"""
    SELECT account_type, {value} AS value, {_seconds("last_effective_at")} AS seconds, count(*) AS cleared_count,
        0::BIGINT AS open_count FROM episodes_at WHERE {among} GROUP BY ALL
    UNION ALL SELECT account_type, {value}, {_seconds("$effective_at")}, 0::BIGINT, count(*) FROM open_at
    WHERE {among} GROUP BY ALL
    """


def judged(places: Mapping[str, int], chosen: Sequence[str], kinds: WindowKinds) -> str:
    """The rows of `JUDGED_SCHEMA`, as SQL over the relations of `clearing`, by the windows that are in force."""
    value, among = value_of(places), _among(chosen)
    length = "epoch(due_at - opened_at)"
    return f"""
    SELECT account_type, value, count(*) AS due_count, count(*) FILTER (NOT on_time) AS beyond_count,
        count(*) FILTER (cleared) AS cleared_count,
        count(*) FILTER (cleared AND NOT on_time) AS cleared_late_count, median({length}) AS window_seconds
    FROM (
        SELECT account_type, {value} AS value, opened_at, due_at, true AS cleared, cleared_at <= due_at AS on_time
        FROM ({cleared_with_due(kinds)}) WHERE {among} AND due_at <= $effective_at
        UNION ALL SELECT account_type, {value}, opened_at, due_at, false, false
        FROM ({open_with_state(kinds)}) WHERE {among} AND due_at <= $effective_at
    ) GROUP BY ALL
    """


def _among(names: Sequence[str]) -> str:
    return f"account_type IN ({', '.join(map(quoted_text, names))})" if names else "false"


def _seconds(until: str) -> str:
    return f"greatest(0, (epoch_us({until}) - epoch_us(opened_effective_at) + 999999) // 1000000)::BIGINT"


@dataclass(frozen=True)
class Rules:
    """How a window is learned: its quantile, made `headroom` times as long, from at least so many episodes."""

    quantile: Decimal
    headroom: Decimal
    minimum_episodes: int


@dataclass(frozen=True)
class Curve:
    """The share of episodes that are still open after so many seconds; falls at each of `seconds`, which grow."""

    seconds: npt.NDArray[np.float64]
    still_open: npt.NDArray[np.float64]

    def quantile(self, share: Decimal) -> int | None:
        """The seconds by which the share had cleared; None when so many never did."""
        reached = self.still_open <= float(1 - share) + _ROUNDING
        return int(self.seconds[reached.argmax()]) if reached.any() else None

    def after(self, seconds: float) -> float:
        """The share that is open for longer than `seconds`."""
        place = int(np.searchsorted(self.seconds, seconds, side="right"))
        return float(self.still_open[place - 1]) if place else 1.0


@dataclass(frozen=True)
class FittedWindow:
    """What the episodes of an account type, or of a subdivision of it, teach.

    `value` is the one of the subdivision; None for the whole account type, and, with `is_rest`, for all values that
    have too few episodes to stand alone. `seconds` is the window, None unless `state` is `learned`; `episode_count`
    counts the open ones too.
    """

    account_type: str
    value: str | None
    is_rest: bool
    state: State
    episode_count: int
    open_count: int
    quantiles: Mapping[Decimal, int | None]
    seconds: int | None
    curve: Curve


def survival(counted: pl.DataFrame) -> Curve:
    """The Kaplan-Meier estimate of rows with `seconds`, `cleared_count` and `open_count`.

    An open episode counts as one that may clear in every second up to its own, and says nothing about those after.
    """
    summed = counted.group_by("seconds").agg(pl.col("cleared_count", "open_count").sum()).sort("seconds")
    both = pl.concat(
        summed.select("seconds", observed=pl.lit(observed), weight=name).filter(pl.col("weight") > 0)
        for name, observed in (("cleared_count", True), ("open_count", False))
    )
    if both.is_empty():
        return Curve(np.zeros(0), np.zeros(0))
    seconds, observed, weights = (both[name].to_numpy() for name in ("seconds", "observed", "weight"))
    fitted = lifelines.KaplanMeierFitter().fit(seconds, observed, weights=weights).survival_function_
    return Curve(fitted.index.to_numpy(dtype=float), fitted.iloc[:, 0].to_numpy(dtype=float))


def fit(counted: pl.DataFrame, rules: Rules) -> list[FittedWindow]:
    """The windows that rows of `DURATIONS_SCHEMA`, of one account type, teach: of the whole, then of its values.

    A value that has the least number of episodes stands alone, those with most first; the others are one rest.
    """
    (account_type,) = counted["account_type"].unique()
    found = [_fitted(counted, account_type, rules)]
    values = counted.group_by("value").agg(count=pl.col("cleared_count").sum() + pl.col("open_count").sum())
    if values["value"].to_list() == [""]:
        return found
    large = values.filter(pl.col("count") >= rules.minimum_episodes).sort("count", "value", descending=[True, False])
    found += [_fitted(counted.filter(pl.col("value") == it), account_type, rules, it) for it in large["value"]]
    rest = counted.filter(~pl.col("value").is_in(large["value"].implode()))
    if not rest.is_empty():
        found.append(_fitted(rest, account_type, rules, is_rest=True))
    return found


def _fitted(
    counted: pl.DataFrame, account_type: str, rules: Rules, value: str | None = None, *, is_rest: bool = False
) -> FittedWindow:
    cleared, still_open = int(counted["cleared_count"].sum()), int(counted["open_count"].sum())
    curve = survival(counted)
    quantiles = {share: curve.quantile(share) for share in sorted({*SHOWN_QUANTILES, rules.quantile})}
    reached = quantiles[rules.quantile]
    state: State = "learned"
    if cleared + still_open < rules.minimum_episodes:
        state = "too_few_episodes"
    elif reached is None:
        state = "not_enough_cleared"
    seconds = window_of(reached, rules.headroom) if state == "learned" and reached is not None else None
    return FittedWindow(
        account_type, value, is_rest, state, cleared + still_open, still_open, quantiles, seconds, curve
    )


def window_of(seconds: int, headroom: Decimal) -> int:
    """The window for a quantile: with its headroom, in whole seconds, rounded up, and at least one."""
    return max(1, int((seconds * headroom).to_integral_value(ROUND_CEILING)))


@dataclass(frozen=True)
class Held:
    """How episodes fared against the window in force: shares are of those whose window has run out.

    `called_overdue` is of those that have cleared all the same. None where there are none.
    """

    window_seconds: float | None
    due_count: int
    beyond: float | None
    called_overdue: float | None


def held(counted: pl.DataFrame) -> Held:
    """What rows of `JUDGED_SCHEMA`, of one account type or subdivision, say together."""
    due, beyond, cleared, late = (
        int(counted[name].sum()) for name in ("due_count", "beyond_count", "cleared_count", "cleared_late_count")
    )
    # Of the parts of an account type, the one with the most episodes stands for the length of the window.
    window = counted.sort("due_count", descending=True)["window_seconds"][0] if counted.height else None
    return Held(window, due, beyond / due if due else None, late / cleared if cleared else None)


def warning(fitted: FittedWindow, against: Held) -> str:
    """`window_too_long` or `window_too_short` where the window in force is far from reality; else empty."""
    if fitted.seconds is None or against.window_seconds is None:
        return ""
    if against.window_seconds > FAR_LONGER * fitted.seconds:
        return "window_too_long"
    too_many = against.called_overdue is not None and against.called_overdue > MOST_CALLED_OVERDUE
    return "window_too_short" if too_many and against.window_seconds < fitted.seconds else ""
