"""Attention before it has learnt anything: entropy of random logits, and how large logits are at the start.

Sources: derived in notebook 04, section 1. The freezing at sqrt(2 log T) is that of Derrida's random energy model; that
attention shows it, Giorlandino and Goldt say (arXiv 2505.24333).
"""

from __future__ import annotations

import numpy as np

from entropy_utils.information import shannon_entropy_from_logits


def freezing_std(T):
    """s_c = sqrt(2 log T): the standard deviation of T independent Gaussian logits beyond which few of them take it all."""
    return np.sqrt(2 * np.log(T))


def random_logit_entropy(T, std):
    """log T - std^2 / 2 up to `freezing_std`, 0 beyond: entropy per row (nats) as T grows. Far off near the freezing."""
    return np.maximum(np.log(T) - np.square(std) / 2, 0.0)


def sampled_entropy(T: int, std: float, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Entropies (rows,) in nats of softmaxes over T independent N(0, std^2) logits."""
    return shannon_entropy_from_logits(std * rng.normal(size=(rows, T)))


def initial_logit_std(width, weight_std):
    """Standard deviation of the logits q.k / sqrt(d_h) at the start: weight_std^2 width, for tokens of unit mean square.

    Under sigmaReparam with gamma = 1 a square Gaussian weight has the effective weight_std 1 / (2 sqrt(width)), which makes
    this 1/4 at every width.
    """
    return np.square(weight_std) * width
