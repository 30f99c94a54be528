"""AGN activity: how often the central black hole injected energy before a time, and before transformations."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import ParameterError

from .histories import Histories


def activity(histories: Histories, cluster, t, window: float = 1.0) -> np.ndarray:
    """Mean rate of `pulses` (per Gyr, or energy per Gyr) in (t - window, t] of clusters (row numbers), broadcast.

    Inside an interval between snapshots the rate is taken as constant. The mean is over the part of the window in which it
    is known, from the first snapshot on and without intervals that are NaN; NaN if nothing is known.
    """
    if histories.pulses is None:
        raise ParameterError.of("histories.pulses", None, "histories with AGN pulses")
    if not window > 0:
        raise ParameterError.of("window", window, "above 0 Gyr")
    cluster, t = np.broadcast_arrays(np.asarray(cluster), np.asarray(t, float))
    known = np.isfinite(histories.pulses)
    injected, length = (
        _between(histories.t, values, cluster, t - window, t)
        for values in (np.where(known, histories.pulses, 0), known * np.diff(histories.t))
    )
    return np.divide(injected, length, out=np.full(injected.shape, np.nan), where=length > 1e-9)


def _between(times: np.ndarray, values: np.ndarray, row, early, late) -> np.ndarray:
    """Sum of values (n, m - 1), spread evenly over the intervals of `times` (m,), between two times, by row."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return _at(times, total, row, np.clip(late, *times[[0, -1]])) - _at(times, total, row, np.clip(early, *times[[0, -1]]))


def _at(times: np.ndarray, values: np.ndarray, row, t) -> np.ndarray:
    """values (n, m) at `times` (m,), linear between, of rows at times t."""
    j = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    share = (t - times[j]) / (times[j + 1] - times[j])
    return (1 - share) * values[row, j] + share * values[row, j + 1]


def activity_before(
    events: pd.DataFrame, histories: Histories, window: float = 1.0, reference: str = "t_peak", seed: int = 0
) -> pd.DataFrame:
    """Columns `kind` (up, down, control) and `rate` (see `activity`), one row per event, and per control.

    The control of an 'up' event is the same time in a cluster drawn from all.
    """
    up = events[events.direction == "up"]
    drawn = np.random.default_rng(seed).integers(len(histories), size=len(up))
    of_events = activity(histories, events.cluster.to_numpy(), events[reference].to_numpy(), window)
    of_control = activity(histories, drawn, up[reference].to_numpy(), window)
    return pd.DataFrame(
        {"kind": [*events.direction, *["control"] * len(up)], "rate": np.concatenate([of_events, of_control])}
    )
