"""A search for attention below the floors of bounds.py: random logits, and descent from many starts at once."""

from __future__ import annotations

import numpy as np

from entropy_utils.information import shannon_entropy_from_logits


def lowest_row(T: int, s: float, rng: np.random.Generator, samples: int = 2000, starts: int = 20, steps: int = 400) -> float:
    """The lowest entropy (nats) found among rows of `T` logits with norm at most `s`."""
    inside = _of_norm(rng.standard_t(2, (samples, T)), s * rng.random((samples, 1)))
    a = _of_norm(rng.normal(size=(starts, T)), s)
    for _ in range(steps):  # stands still where p_j (a_j - c) is proportional to a_j: the stationary points on the sphere
        a = _of_norm(a + _of_norm(-entropy_slope(a), s), s)
    return float(min(shannon_entropy_from_logits(inside).min(), shannon_entropy_from_logits(a).min()))


def lowest_mean(T: int, s: float, rng: np.random.Generator, starts: int = 60, steps: int = 600) -> float:
    """The lowest mean entropy (nats) over the rows of `T` x `T` logits found in the ball of spectral norm `s`."""
    a = rng.normal(size=(starts, T, T))
    for step in range(steps):
        slope = entropy_slope(a)
        a = a - s * 0.5 * (1 - step / steps) * slope / np.linalg.norm(slope, axis=(1, 2), keepdims=True)
        left, values, right = np.linalg.svd(a)
        a = left * np.minimum(values, s)[:, None, :] @ right  # the nearest point of the ball
    return float(shannon_entropy_from_logits(a).mean(-1).min())


def entropy_slope(a: np.ndarray) -> np.ndarray:
    """dH / da_j = -p_j (a_j - sum_k p_k a_k) of softmaxes over the last axis."""
    p = np.exp(a - np.logaddexp.reduce(a, axis=-1, keepdims=True))
    return -p * (a - (p * a).sum(-1, keepdims=True))


def _of_norm(a: np.ndarray, s) -> np.ndarray:
    return s * a / np.linalg.norm(a, axis=-1, keepdims=True)
