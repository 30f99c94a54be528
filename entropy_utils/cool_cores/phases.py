"""How long cores stay in a class: runs of one class, censored at the ends of a history, and their survival curve."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from entropy_utils.lab.errors import ParameterError

from .classes import CLASSES, ENTROPY_LIMITS, by_entropy
from .histories import Histories
from .transformations import smooth


def phases(
    histories: Histories,
    *,
    limits: tuple[float, float] = ENTROPY_LIMITS,
    hysteresis: float = 1.0,
    sigma: float = 0.20,
    step: float = 0.05,
    z_max: float = 2.5,
) -> pd.DataFrame:
    """Maximal runs of one class of the smoothed K0 (see `transformations.smooth`), one row each, by cluster and time.

    limits: of the classes by entropy (keV cm²; see `classes`). hysteresis: SCC is left only above `hysteresis` times the
    first limit, NCC only below the second over `hysteresis`; 1: none. Columns: `cluster`, `phase` (SCC, WCC or NCC),
    `t_start`, `duration` (Gyr) and `censored`: it touches an end of the history, so that it lasted longer than is seen.
    """
    smoothed = smooth(histories, sigma, step, z_max)
    K = 10**smoothed.y
    state = by_entropy(K, limits)
    low, high = limits
    if not (hysteresis >= 1 and low * hysteresis**2 < high):
        raise ParameterError.of("hysteresis", hysteresis, f"from 1 to below the root of {high:g} / {low:g}")
    if hysteresis > 1:
        for j in range(1, K.shape[1]):
            before = state[:, j - 1]
            state[(before == 0) & (K[:, j] <= hysteresis * low), j] = 0
            state[(before == 2) & (K[:, j] > high / hysteresis), j] = 2
    cluster, begin = np.nonzero(np.diff(state, axis=1, prepend=-2))
    end = np.append(begin[1:], state.shape[1])
    end[np.append(np.diff(cluster) > 0, True)] = state.shape[1]
    known = state[cluster, begin] >= 0
    cluster, begin, end = cluster[known], begin[known], end[known]
    # a run begins and ends midway between two grid points, or with the history
    unseen = state[cluster, np.minimum(end, state.shape[1] - 1)] < 0
    first, last = (begin == 0) | (state[cluster, begin - 1] < 0), (end == state.shape[1]) | unseen
    start = smoothed.t[begin] - np.where(first, 0, smoothed.step / 2)
    stop = smoothed.t[end - 1] + np.where(last, 0, smoothed.step / 2)
    return pd.DataFrame(
        {
            "cluster": cluster,
            "phase": np.array(CLASSES)[state[cluster, begin]],
            "t_start": start,
            "duration": stop - start,
            "censored": first | last,
        }
    )


class Survival(NamedTuple):
    """A Kaplan-Meier curve: `share` (k,) of the phases longer than each `time` (k,), with the bounds `low` and `high` of
    its 95 % interval. `times` are those at which phases ended."""

    time: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def median(self) -> float:
        """Gyr; infinite if more than half of the phases outlast the histories."""
        reached = np.flatnonzero(self.share <= 0.5)
        return float(self.time[reached[0]]) if reached.size else float("inf")

    def mean_up_to(self, horizon: float) -> float:
        """Mean duration (Gyr) of phases counted as `horizon` if they are longer: the area under the curve up to there."""
        inside = self.time < horizon
        edges = np.concatenate([[0.0], self.time[inside], [horizon]])
        return float(np.diff(edges) @ np.concatenate([[1.0], self.share[inside]]))


def survival(durations, censored) -> Survival:
    """Kaplan-Meier estimate from durations (n,), of which the censored ones (n,) are lower bounds.

    The interval is the exponential Greenwood one. Source: Kaplan and Meier 1958, J. Am. Stat. Assoc. 53, 457.
    """
    durations, censored = np.asarray(durations, float), np.asarray(censored, bool)
    if durations.shape != censored.shape or durations.ndim != 1 or not durations.size:
        raise ParameterError.of("durations", durations.shape, f"one dimension, not empty, censored {censored.shape} alike")
    if not (durations >= 0).all():
        raise ParameterError.of("durations", float(durations[~(durations >= 0)][0]), "numbers from 0 Gyr on")
    if censored.all():
        raise ParameterError.of("censored", "all", "at least one phase that was seen to its end")
    data = stats.CensoredData(uncensored=durations[~censored], right=durations[censored])
    curve = stats.ecdf(data).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no interval where all have ended: the curve itself stands there
        interval = curve.confidence_interval(0.95, method="log-log")
    ended = np.isin(curve.quantiles, durations[~censored])
    low, high = (np.where(np.isnan(side), curve.probabilities, side)[ended] for side in
                 (interval.low.probabilities, interval.high.probabilities))  # fmt: skip
    return Survival(curve.quantiles[ended], curve.probabilities[ended], low, high)
