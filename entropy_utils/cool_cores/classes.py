"""Classes of cores, by cooling time and by entropy (3.6): strong, weak and no cool core."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import ParameterError

CLASSES = ("SCC", "WCC", "NCC")
TIME_LIMITS = (1.0, 7.7)  # Gyr: SCC below the first, NCC above the second
ENTROPY_LIMITS = (22.0, 150.0)  # keV cm²: SCC up to the first, NCC above the second


def by_cooling_time(t_cool, limits: tuple[float, float] = TIME_LIMITS) -> np.ndarray:
    """0 (SCC), 1 (WCC) or 2 (NCC) by the central cooling time (Gyr); -1 where it is NaN or not above 0."""
    t_cool = np.asarray(t_cool, float)
    return _classes(np.where(t_cool > 0, t_cool, np.nan), limits, np.less)


def by_entropy(K0, limits: tuple[float, float] = ENTROPY_LIMITS) -> np.ndarray:
    """0 (SCC), 1 (WCC) or 2 (NCC) by the central entropy (keV cm²); -1 where it is NaN or below 0.

    0 is a value that fits of entropy profiles have.
    """
    K0 = np.asarray(K0, float)
    return _classes(np.where(K0 >= 0, K0, np.nan), limits, np.less_equal)


def counts(classes) -> np.ndarray:
    """How many are SCC, WCC, NCC; those without a class do not count."""
    classes = np.asarray(classes)
    return np.bincount(classes[classes >= 0], minlength=3)


def fractions(classes) -> np.ndarray:
    """The shares of SCC, WCC, NCC."""
    number = counts(classes)
    return number / number.sum()


def cross_table(rows, columns) -> pd.DataFrame:
    """How many are in each pair of classes of two criteria, as a table of three by three."""
    rows, columns = np.asarray(rows), np.asarray(columns)
    if rows.shape != columns.shape:
        raise ParameterError.of("columns", columns.shape, f"shape {rows.shape}, as rows")
    known = (rows >= 0) & (columns >= 0)
    number = np.bincount(3 * rows[known] + columns[known], minlength=9).reshape(3, 3)
    return pd.DataFrame(number, index=list(CLASSES), columns=list(CLASSES))


def _classes(values: np.ndarray, limits, cool) -> np.ndarray:
    low, high = limits
    if not 0 < low < high:
        raise ParameterError.of("limits", limits, "two numbers above 0, the first below the second")
    return np.where(np.isnan(values), -1, np.where(cool(values, low), 0, np.where(values > high, 2, 1)))
