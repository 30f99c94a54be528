"""The finder: when does a core change its state? One procedure for real and for synthetic histories.

The slope of a smoothed log10 K0 decides. The paper's finder is said to go by the derivative of the entropy history, too, but
its parameters are not known to us: this procedure and its numbers are our choice, and how much they matter is a result
(`runs.SENSITIVITY`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import ParameterError

from .classes import CLASSES, ENTROPY_LIMITS, by_entropy
from .histories import Histories

TINY = 1e-9  # of rounding, in a comparison of times


@dataclass(frozen=True)
class Smoothed:
    """log10 of the smoothed central entropy, `y` (n, g), on a uniform grid of times `t` (g,), Gyr; NaN where a cluster has
    no value before or after. `slope`: its derivative in dex / Gyr."""

    t: np.ndarray
    y: np.ndarray
    slope: np.ndarray

    @property
    def step(self) -> float:
        return float(self.t[1] - self.t[0])


def smooth(histories: Histories, sigma: float = 0.20, step: float = 0.05, z_max: float = 2.5) -> Smoothed:
    """Gaussian-kernel regression of log10 K0 in time (not in snapshots, which are uneven), missing values left out.

    sigma: of the kernel, Gyr; step: of the grid, Gyr; z_max: only snapshots up to this redshift.
    """
    for name, value, low, high in (("sigma", sigma, 0.02, 5), ("step", step, 0.005, 0.5)):
        if not low <= value <= high:
            raise ParameterError.of(name, value, f"number from {low} to {high} Gyr")
    histories = histories.since(z_max)
    t = histories.t
    grid = t[0] + step * np.arange(int((t[-1] - t[0]) / step + TINY) + 1)
    if len(grid) < 3:
        raise ParameterError.of("step", step, f"at most a third of the {t[-1] - t[0]:.2f} Gyr of the histories")
    kernel = np.exp(-0.5 * ((t[:, None] - grid) / sigma) ** 2)
    known = np.isfinite(histories.K0)
    values = np.log10(np.where(known, histories.K0, 1.0))
    y = values @ kernel / np.maximum(known @ kernel, 1e-300)
    if not known.all():
        first, last = known.argmax(1), known.shape[1] - 1 - known[:, ::-1].argmax(1)
        y[(grid < t[first, None] - TINY) | (grid > t[last, None] + TINY)] = np.nan
    return Smoothed(grid, y, np.gradient(y, step, axis=1))


def find_transformations(
    histories: Histories,
    *,
    sigma: float = 0.20,
    rate: float = 0.10,
    change: float = 0.20,
    duration: float = 0.30,
    join: float = 0.20,
    step: float = 0.05,
    z_max: float = 2.5,
    limits: tuple[float, float] = ENTROPY_LIMITS,
) -> pd.DataFrame:
    """Transformations: stretches of steep slope, one row each, ordered by cluster and time.

    Smooth (sigma, step, z_max: see `smooth`); take maximal stretches with a slope beyond `rate` (dex / Gyr) of one sign;
    join those of the same sign less than `join` (Gyr) apart; keep those of at least `duration` (Gyr) and `change` (dex).
    Columns: `cluster` (row number), `direction` ('up' or 'down'), `t_start`, `t_end`, `t_peak` (steepest slope), Gyr;
    `change` (dex), `K_start`, `K_end` (keV cm²); and their classes `before`, `after` by entropy with these `limits`
    (keV cm²; see `classes`). A transformation need not change the class: the classes are a label and decide nothing.
    """
    ranges = (("rate", rate, 0, 10), ("change", change, 0, 5), ("duration", duration, 0, 10), ("join", join, 0, 10))
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise ParameterError.of(name, value, f"number from {least} to {most}")
    smoothed = smooth(histories, sigma, step, z_max)
    found = [_stretches(smoothed, sign, rate, change, duration, join) for sign in (1, -1)]
    cluster, begin, end, peak = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((begin, cluster))
    cluster, begin, end, peak = (values[order] for values in (cluster, begin, end, peak))
    first, last = smoothed.y[cluster, begin], smoothed.y[cluster, end]
    table = pd.DataFrame({"cluster": cluster, "direction": np.where(last > first, "up", "down")})
    for name, index in (("t_start", begin), ("t_end", end), ("t_peak", peak)):
        table[name] = smoothed.t[index]
    table["change"], table["K_start"], table["K_end"] = last - first, 10**first, 10**last
    for name, K in (("before", table.K_start), ("after", table.K_end)):
        table[name] = np.array(CLASSES)[by_entropy(K, limits)]
    return table


def _stretches(smoothed: Smoothed, sign: int, rate: float, change: float, duration: float, join: float):
    """Cluster, and first, last and steepest grid point of the stretches of one sign that are kept."""
    steep = sign * smoothed.slope > rate  # NaN is not
    begin, end = _runs(steep)
    row, begin, last = begin // (steep.shape[1] + 1), begin % (steep.shape[1] + 1), end % (steep.shape[1] + 1) - 1
    apart = (begin[1:] - last[:-1]) * smoothed.step >= join - TINY
    new = np.ones(len(begin) + 1, bool)  # whether a run begins a stretch; the one after the last run ends the last
    new[1:-1] = apart | (row[1:] != row[:-1])
    row, begin, last = row[new[:-1]], begin[new[:-1]], last[new[1:]]
    gain = sign * (smoothed.y[row, last] - smoothed.y[row, begin])
    kept = (gain >= change) & ((last - begin) * smoothed.step >= duration - TINY)
    row, begin, last = row[kept], begin[kept], last[kept]
    slopes = (sign * smoothed.slope[i, a : b + 1] for i, a, b in zip(row, begin, last, strict=True))
    peak = begin + np.fromiter((values.argmax() for values in slopes), np.int64, len(row))
    return row, begin, last, peak


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last place of the runs of True in the rows of a mask (n, g), counted through rows of g + 1."""
    padded = np.zeros((len(mask), mask.shape[1] + 1), np.int8)
    padded[:, :-1] = mask
    edges = np.diff(padded.ravel(), prepend=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
