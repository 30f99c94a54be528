"""What cells do: integer occupations from shares, and the entropy of a Gaussian seen through cells of some width."""

from __future__ import annotations

import math

import numpy as np

REACH = 9.0  # standard deviations beyond which a Gaussian is taken as 0; its tail there is below 1e-18


def occupations(shares, balls: int) -> np.ndarray:
    """Whole numbers n_k closest to `balls` times `shares` (M numbers, at least 0, any sum) that sum to `balls`.

    Rounds down, then gives what is left to the largest remainders.
    """
    shares = np.asarray(shares, float)
    if balls < 0 or (shares < 0).any() or not shares.sum() > 0:
        raise ValueError(f"shares: got {shares} for {balls} balls, allowed: numbers from 0 with a sum above 0")
    exact = balls * shares / shares.sum()
    whole = np.floor(exact).astype(int)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: balls - whole.sum()]] += 1
    return whole


def gaussian_cells(width: float, sd: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Left edges and probabilities of cells of one `width` under a Gaussian of mean 0 and standard deviation `sd`.

    Edges lie at multiples of the width, moved by `shift` widths; `width` and `sd` share one unit.
    """
    if not (width > 0 and sd > 0 and math.isfinite(width / sd)):
        raise ValueError(f"width, sd: got {width!r}, {sd!r}, allowed: finite numbers above 0")
    first = math.floor(-REACH * sd / width - shift)
    last = math.ceil(REACH * sd / width - shift)
    edges = (np.arange(first, last + 1) + shift) * width
    # by symmetry from the nearer tail, so that small probabilities keep their digits
    below = np.array([math.erfc(abs(edge) / (sd * math.sqrt(2))) / 2 for edge in edges])
    left = np.where(edges < 0, below, 1 - below)
    p = np.where(edges[:-1] >= 0, below[:-1] - below[1:], np.diff(left))
    return edges[:-1], p / p.sum()
