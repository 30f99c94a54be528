"""Power laws D = c S^b fitted in logarithms, their uncertainty over routes, and whether cities share one exponent.

Ordinary least squares of ln D on ln S (notebook 02, 3.5). What the paper itself fits is not known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import betainc

from entropy_utils.lab.errors import ParameterError


class PowerLaw(NamedTuple):
    """D = factor S^exponent; `low` and `high` enclose the exponent in 95 % of the resamples; R^2 is that of the logs."""

    exponent: float
    low: float
    high: float
    factor: float
    r_squared: float
    routes: int

    def __call__(self, S):
        """The fitted D at S."""
        return self.factor * np.asarray(S, float) ** self.exponent


class SlopeTest(NamedTuple):
    """F-test of one exponent for all groups, each with its own factor, against one for each; `p`: chance of F or more."""

    F: float
    p: float
    exponents: dict


def fit_power_law(S, D, resamples: int = 300, rng: np.random.Generator | int = 0) -> PowerLaw:
    """Fit ln D = ln c + b ln S by least squares; S, D (routes,) above 0; the interval by bootstrapping the routes."""
    x, y = _logs(S, D)
    exponent, constant = _line(x, y)
    left = y - constant - exponent * x
    rng, n = np.random.default_rng(rng), len(x)
    slopes = np.array([_line(x[pick], y[pick])[0] for pick in (rng.integers(n, size=n) for _ in range(resamples))])
    low, high = np.nanpercentile(slopes, [2.5, 97.5])
    r_squared = 1 - (left**2).sum() / ((y - y.mean()) ** 2).sum()
    return PowerLaw(float(exponent), float(low), float(high), float(np.exp(constant)), float(r_squared), n)


def one_slope_for_all(S, D, group) -> SlopeTest:
    """Whether groups of routes (metros, say) share one exponent: F-test of the interaction group x ln S."""
    x, y = _logs(S, D)
    names, group = np.unique(np.asarray(group), return_inverse=True)
    sizes = np.bincount(group)
    if len(names) < 2 or sizes.min() < 3:
        raise ParameterError.of("group", sizes.tolist(), "at least 2 groups of at least 3 routes each")
    x, y = (value - (np.bincount(group, value) / sizes)[group] for value in (x, y))
    xx, xy = np.bincount(group, x * x), np.bincount(group, x * y)
    apart = (y**2).sum() - (xy**2 / xx).sum()
    together = (y**2).sum() - xy.sum() ** 2 / xx.sum()
    more, free = len(names) - 1, len(x) - 2 * len(names)
    F = (together - apart) / more / (apart / free)
    p = betainc(free / 2, more / 2, free / (free + more * F))
    return SlopeTest(float(F), float(p), dict(zip(names.tolist(), (xy / xx).tolist(), strict=True)))


def decile_means(S, D, parts: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Mean S and mean D (parts,) of the routes in each tenth of S: hides the scatter of the routes, shows the trend."""
    S, D = np.asarray(S, float), np.asarray(D, float)
    pieces = np.array_split(np.argsort(S, kind="stable"), parts)
    return np.array([S[piece].mean() for piece in pieces]), np.array([D[piece].mean() for piece in pieces])


def _logs(S, D) -> tuple[np.ndarray, np.ndarray]:
    S, D = np.asarray(S, float), np.asarray(D, float)
    if S.ndim != 1 or S.shape != D.shape or len(S) < 3:
        raise ParameterError.of("S, D", (S.shape, D.shape), "two arrays of one length, at least 3")
    for name, value in (("S", S), ("D", D)):
        wrong = ~((value > 0) & (value < np.inf))
        if wrong.any():
            raise ParameterError.of(name, float(value[wrong][0]), "finite numbers above 0, of which logarithms exist")
    if np.ptp(S) == 0:
        raise ParameterError.of("S", float(S[0]), "more than one value: no slope without spread")
    return np.log(S), np.log(D)


def _line(x, y) -> tuple[float, float]:
    away = x - x.mean()
    spread = (away**2).sum()
    slope = (away * y).sum() / spread if spread else np.nan  # a resample of one route over and over
    return slope, y.mean() - slope * x.mean()
