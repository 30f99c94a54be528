"""Do mergers come before transformations more often than chance has it? A test against control samples.

The rate of mergers and that of transformations both fall with time, so a control must have the same times: it takes the
same moments in other clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import ParameterError

from .histories import Histories

CONTROLS = ("clusters", "matched", "times")
REFERENCES = ("t_peak", "t_start", "t_end")
NEIGHBOURS = 50
FEWEST = 5  # events below which no test is made
BLOCK = 1_000_000  # controls looked up at a time: memory stays small however many events there are
SPAN = 1e3  # Gyr, more than any time: one number then tells cluster and time


class Excess(NamedTuple):
    """Outcome for the events of one direction. `observed`: share of them with a merger in the window before; `controls`:
    the same share in each control sample; `events`: how many."""

    events: int
    observed: float
    controls: np.ndarray

    @property
    def expected(self) -> float:
        return float(self.controls.mean())

    @property
    def sd(self) -> float:
        return float(self.controls.std())

    @property
    def z(self) -> float:
        """Excess in standard deviations of the control; NaN if all controls are the same."""
        return (self.observed - self.expected) / self.sd if self.sd else float("nan")

    @property
    def p(self) -> float:
        """Chance of a control with a share at least as high, one-sided."""
        return float((1 + (self.controls >= self.observed).sum()) / (len(self.controls) + 1))


def recent_merger(histories: Histories, cluster, t, window: float = 1.0, xi_min: float = 0.1) -> np.ndarray:
    """Whether clusters (row numbers) had a merger with xi >= xi_min in (t - window, t]; Gyr, any shape, broadcast."""
    return _any_between(_keys(histories, xi_min), cluster, t, window)


def _keys(histories: Histories, xi_min: float) -> np.ndarray:
    """One sorted number per merger, from which `_any_between` tells cluster and time; before them one below all."""
    mergers = histories.mergers[histories.mergers.xi >= xi_min]
    return np.concatenate([[-np.inf], np.sort(SPAN * mergers.cluster.to_numpy() + mergers.t.to_numpy())])


def _any_between(keys: np.ndarray, cluster, t, window: float) -> np.ndarray:
    now = SPAN * np.asarray(cluster) + t
    return keys[np.searchsorted(keys, now, side="right") - 1] > now - window  # the last one up to t


def merger_control(
    events: pd.DataFrame,
    histories: Histories,
    *,
    xi_min: float = 0.1,
    window: float = 1.0,
    reference: str = "t_peak",
    control: str = "clusters",
    draws: int = 300,
    seed: int = 1,
) -> dict[str, Excess]:
    """Share of 'up' and of 'down' events with a merger (xi >= xi_min) in the `window` (Gyr) before, against controls.

    events: from `find_transformations` of these histories. reference: the column that dates an event; smoothing moves
    `t_start` before its cause, so that it misses mergers. control: 'clusters', the same times in clusters drawn from all,
    with replacement; 'matched', drawn from the 50 others nearest in m500c; 'times' is a WRONG control, to be shown as such:
    the same clusters at uniform random times, where mergers are rarer than at the times of the events. A direction with
    fewer than 5 events is left out. Events soon after the first snapshot have a shorter look-back; so have their controls.
    """
    if reference not in REFERENCES:
        raise ParameterError.of("reference", reference, " or ".join(REFERENCES))
    if control not in CONTROLS:
        raise ParameterError.of("control", control, " or ".join(CONTROLS))
    length = float(histories.t[-1] - histories.t[0])
    for name, value, least, most in (("xi_min", xi_min, 0, 1), ("window", window, 0.01, length), ("draws", draws, 2, 10**6)):
        if not least <= value <= most:
            raise ParameterError.of(name, value, f"number from {least} to {most:g}")
    rng, found, keys = np.random.default_rng(seed), {}, _keys(histories, xi_min)
    others = _nearest(histories) if control == "matched" else None
    for direction in ("up", "down"):
        own = events[events.direction == direction]
        if len(own) < FEWEST:
            continue
        cluster, t = own.cluster.to_numpy(), own[reference].to_numpy()
        block, controls = max(BLOCK // len(own), 1), []
        for first in range(0, draws, block):
            shape = (min(block, draws - first), len(own))
            if control == "times":
                drawn, then = cluster, rng.uniform(histories.t[0] + window, histories.t[-1], shape)
            elif control == "matched":
                drawn, then = others[cluster, rng.integers(others.shape[1], size=shape)], t
            else:
                drawn, then = rng.integers(len(histories), size=shape), t
            controls.append(_any_between(keys, drawn, then, window).mean(axis=1))
        observed = float(_any_between(keys, cluster, t, window).mean())
        found[direction] = Excess(len(own), observed, np.concatenate(controls))
    return found


def _nearest(histories: Histories) -> np.ndarray:
    """For each cluster the others nearest in log mass (n, 50), or all others if there are fewer."""
    if histories.m500c is None:
        raise ParameterError.of("control", "matched", "histories with m500c; or control='clusters'")
    order, n = np.argsort(histories.m500c, kind="stable"), len(histories)
    mass, k = np.log(histories.m500c)[order], min(NEIGHBOURS, n - 1)
    rank = np.arange(n)[:, None] + np.delete(np.arange(-k, k + 1), k)  # the nearest are among the next in order
    inside = (rank >= 0) & (rank < n)
    distance = np.where(inside, np.abs(mass[np.where(inside, rank, 0)] - mass[:, None]), np.inf)
    chosen = np.argpartition(distance, k - 1, axis=1)[:, :k]
    nearest = np.empty((n, k), np.int64)
    nearest[order] = order[np.take_along_axis(rank, chosen, axis=1)]
    return nearest
