"""Prediction bands for counts: how many events a bucket may have, from the counts of those before it.

Counts are put on a scale on which their spread is even, forecast there with their seasons, and put back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from clearwell.values.deferred import Deferred

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from statsforecast import models

    _Numbers = npt.NDArray[np.float64]
else:
    np, models = Deferred("numpy"), Deferred("statsforecast.models")

Method = Literal["no_judgement", "seasonal_median", "forecast"]

LEVEL = 99.9
"""So many of a hundred buckets are within the band where nothing is wrong: one in six weeks of hours is not."""

FEWEST_SEASONS, ENOUGH_SEASONS = 2, 4
"""With a history of fewer of the longest season there is no judgement; with enough of them, a forecast."""

WIDE = 6.0
"""Between the two, the band is so many standard deviations wide on each side; so far off, history is not believed."""

_ASKED_LEVEL = 95
"""What is asked of the forecast, to learn its standard deviation; the band is made from that."""


_ROUNDING = 1e-6
"""What is so near to a whole number is one: to be put on the scale and taken from it costs the last digits."""


@dataclass(frozen=True)
class Band:
    """For each bucket to come: what is expected, and between what whole numbers it may lie. Empty without judgement."""

    method: Method
    middle: list[float]
    lower: list[int]
    upper: list[int]


@dataclass(frozen=True)
class Scale:
    """The scale on which counts with variance `mean + excess * mean^2` have a variance near 1 (Anscombe, 1948)."""

    excess: float

    def put(self, counts: _Numbers) -> _Numbers:
        """Counts on the scale."""
        if self.excess < 1e-6:
            return np.asarray(2 * np.sqrt(counts + 0.375))
        return np.asarray(2 / np.sqrt(self.excess) * np.arcsinh(np.sqrt(self.excess * (counts + 0.375))))

    def taken(self, values: _Numbers) -> _Numbers:
        """Values of the scale as counts, which are never below zero."""
        above = np.maximum(values, 0)
        if self.excess < 1e-6:
            return np.asarray(np.maximum((above / 2) ** 2 - 0.375, 0))
        return np.asarray(np.maximum(np.sinh(above * np.sqrt(self.excess) / 2) ** 2 / self.excess - 0.375, 0))


def scale_of(counts: _Numbers, season: int) -> Scale:
    """The scale for these counts, by how much more than at random those vary that lie a season apart."""
    whole = counts[-(len(counts) // season * season) :].reshape(-1, season)
    means, variances = whole.mean(axis=0), whole.var(axis=0, ddof=1)
    some = means > 0
    if not some.any():
        return Scale(0.0)
    return Scale(max(0.0, float(np.median((variances[some] - means[some]) / means[some] ** 2))))


def band(history: Sequence[int], length: int, seasons: Sequence[int]) -> Band:
    """The band for the `length` buckets that follow `history`, whose counts repeat with `seasons`, the longest last."""
    longest = seasons[-1]
    if len(history) < FEWEST_SEASONS * longest or length == 0:
        return Band("no_judgement", [], [], [])
    counts = np.asarray(history, dtype=float)
    scale = scale_of(counts, longest)
    values = scale.put(counts)
    usual = _medians(values, longest, len(values) + length)
    spread = _spread(values - usual[: len(values)])
    if len(history) < ENOUGH_SEASONS * longest:
        found = _band("seasonal_median", scale, usual[len(values) :], WIDE * spread)
    else:
        believed = np.where(np.abs(values - usual[: len(values)]) > WIDE * spread, usual[: len(values)], values)
        found = _forecast(scale, believed, length, seasons)
    rare = _rare(float(counts.mean()))
    return replace(found, upper=[max(upper, rare) for upper in found.upper])


def _spread(residuals: _Numbers) -> float:
    """The standard deviation, by the median, which a day of silence does not move; where most are zero, by all."""
    typical = float(np.median(np.abs(residuals))) / NormalDist().inv_cdf(0.75)
    return typical or float(np.std(residuals))


def _rare(mean: float) -> int:
    """For what happens less than once in a bucket: how many there may be at random (Poisson); else none."""
    many, probability, so_far = 0, math.exp(-mean), math.exp(-mean)
    while mean < 1 and so_far < LEVEL / 100:
        many += 1
        probability *= mean / many
        so_far += probability
    return many


def _medians(values: _Numbers, season: int, length: int) -> _Numbers:
    """The median of the values at the same place of the season, for each of `length` places from the first on."""
    medians = np.array([np.median(values[place::season]) for place in range(season)])
    return np.resize(medians, length)


def _forecast(scale: Scale, values: _Numbers, length: int, seasons: Sequence[int]) -> Band:
    """By seasons and trend (MSTL) and exponential smoothing of what is left.

    What fits the past well need not tell the future as well. So the last season is forecast from those before it, and
    where it missed by more than it thought, the band is made wider by so much.
    """
    if np.ptp(values) == 0:
        return _band("forecast", scale, np.full(length, values[-1]), 0.0)
    withheld = values[-seasons[-1] :]
    middle, deviation = _one_deviation(values[: -len(withheld)], len(withheld), seasons)
    missed = float(np.sqrt(np.mean(((withheld - middle) / deviation) ** 2)))
    middle, deviation = _one_deviation(values, length, seasons)
    return _band("forecast", scale, middle, max(1.0, missed) * _deviations(LEVEL) * deviation)


def _one_deviation(values: _Numbers, length: int, seasons: Sequence[int]) -> tuple[_Numbers, _Numbers]:
    model = models.MSTL(list(seasons), trend_forecaster=models.AutoETS(model="ANN"))
    found = model.forecast(values, h=length, level=[_ASKED_LEVEL])
    deviation = (found[f"hi-{_ASKED_LEVEL}"] - found["mean"]) / _deviations(_ASKED_LEVEL)
    return found["mean"], np.maximum(deviation, 1e-6)


def _deviations(level: float) -> float:
    """How many standard deviations the band of a level is wide on each side."""
    return NormalDist().inv_cdf(0.5 + level / 200)


def _band(method: Method, scale: Scale, middle: _Numbers, half: float | _Numbers) -> Band:
    lower = np.floor(scale.taken(middle - half) + _ROUNDING)
    upper = np.ceil(scale.taken(middle + half) - _ROUNDING)
    return Band(
        method,
        scale.taken(middle).round(1).tolist(),
        lower.astype(int).tolist(),
        upper.astype(int).tolist(),
    )
