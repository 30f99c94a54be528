"""How fast Adam inflates a spectral norm: Proposition 3.2 of Zhai et al. 2023 (arXiv 2303.06296), and power iteration.

With converged moments Adam moves a w x w weight by the learning rate times Delta = E[g] / sqrt(E[g^2]), element by
element. Proofs: notebook 04, section 1; the paper states the proposition.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import hadamard

from entropy_utils.lab.errors import ParameterError


def adam_direction(mean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Delta = mu / sqrt(mu^2 + n^2) for gradients of mean mu and standard deviation n, element by element."""
    mean, noise = _square("mean", mean), _square("noise", noise)
    return mean / np.sqrt(mean**2 + noise**2)


def growth_floor(mean: np.ndarray, noise: np.ndarray) -> float:
    """Proposition 3.2: the spectral norm of `adam_direction` is at least sqrt(w (1 - mean of n^2 / (mu^2 + n^2)))."""
    mean, noise = _square("mean", mean), _square("noise", noise)
    return float(np.sqrt(len(mean) * (1 - (noise**2 / (mean**2 + noise**2)).mean())))


def sign_update(kind: str, width: int, rng: np.random.Generator) -> np.ndarray:
    """A noise-free Adam direction, all entries +-1: ``random``, ``rank-1`` or ``hadamard`` (`width` a power of 2).

    Spectral norms: about 2 sqrt(w), exactly w, exactly sqrt(w).
    """
    if kind == "random":
        return rng.choice([-1.0, 1.0], (width, width))
    if kind == "rank-1":
        return np.outer(*rng.choice([-1.0, 1.0], (2, width)))
    if kind == "hadamard":
        return hadamard(width).astype(float)
    raise ParameterError.of("kind", kind, "'random' or 'rank-1' or 'hadamard'")


def power_iteration(W: np.ndarray, steps: int, u: np.ndarray) -> np.ndarray:
    """sigma_hat = v^T W u after 0, 1, ... `steps` rounds of v <- W u, u <- W^T v (normalised), from the start `u`.

    Never above the largest singular value, and never falling. sigmaReparam makes one round per training step.
    """
    found = []
    for step in range(steps + 1):
        v = W @ u
        v /= np.linalg.norm(v)
        if step:
            u = W.T @ v
            u /= np.linalg.norm(u)
        found.append(v @ W @ u)
    return np.array(found)


def _square(name: str, matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ParameterError.of(name, matrix.shape, "a square matrix (w, w)")
    return matrix
