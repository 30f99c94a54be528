"""What one microstate of N particles shows of the exact entropy: free motion, counted in cells by every estimator."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .coarse_graining import ESTIMATORS, Cells, entropy
from .free_streaming import start, stream


def free_gains(n: int, times, cells: Cells, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Entropy gains of one gas of `n` free particles since the start, at every time, by the name of the estimator."""
    x, vx, vy = start(n, rng)
    counts = [cells.occupations(*stream(x, vx, time), vy) for time in (0.0, *times)]
    found = {name: np.array([entropy(one, name) for one in counts]) for name in ESTIMATORS}
    return {name: values[1:] - values[0] for name, values in found.items()}


def microstates(sizes: Iterable[int], times, cells: Cells, seeds: Iterable[int]) -> pd.DataFrame:
    """`free_gains` of a gas of every size and seed: one row per n, seed and time, one column per estimator."""
    times, seeds = np.atleast_1d(np.asarray(times, float)), list(seeds)
    tables = []
    for n in sizes:
        for seed in seeds:
            gains = free_gains(n, times, cells, np.random.default_rng([seed, n]))
            tables.append(pd.DataFrame({"n": n, "seed": seed, "time": times, **gains}))
    return pd.concat(tables, ignore_index=True)
