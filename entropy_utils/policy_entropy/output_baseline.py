"""When does one sampled token's update lower the entropy? Theorem 1 of Entrocraft (Li et al. 2026) in closed form.

A softmax with free logits, one sampled outcome k, the step delta z = lr A (e_k - p). To first order in lr

    dH = -dp_k (log p_k - b_k),   b_k = sum_{i != k} w_i log p_i,   w_i = -dp_i / dp_k,   sum_{i != k} w_i = 1.

Policies p are (..., V) and sum to 1; with S = sum_j p_j^2 everything below follows from p alone. Entropies in nats.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, log_softmax, xlogy


def probability_step(p: np.ndarray, k: int, scale: float = 1.0) -> np.ndarray:
    """First-order change of p (V,) after sampling k: dp_k = scale p_k (1 - 2 p_k + S), dp_i = -scale p_i (p_i + p_k - S)."""
    s = (p**2).sum()
    step = -p * (p + p[k] - s)
    step[k] = p[k] * (1 - 2 * p[k] + s)
    return scale * step


def output_weights(p: np.ndarray) -> np.ndarray:
    """w_i of every sampled outcome k as row k, p (..., V) -> (..., V, V), zero on the diagonal; rows sum to 1.

    A weight is negative where p_i + p_k < S.
    """
    s = (p**2).sum(-1)[..., None, None]
    sampled, other = p[..., :, None], p[..., None, :]
    weights = other * (other + sampled - s) / (sampled * (1 - 2 * sampled + s))
    return weights * (1 - np.eye(p.shape[-1]))


def output_baseline(p: np.ndarray) -> np.ndarray:
    """b_k of every outcome k, (..., V), without the weights: from H, S and sum_j p_j^2 log p_j."""
    moments = (p**2).sum(-1, keepdims=True), xlogy(p**2, p).sum(-1, keepdims=True), entr(p).sum(-1, keepdims=True)
    return baseline_from_moments(np.log(p), *moments)


def baseline_from_moments(logp, sum_p2, sum_p2_log_p, entropy):
    """b_k of sampled tokens from what a loop keeps of each distribution; arrays that broadcast, in nats."""
    p = np.exp(logp)
    above = sum_p2_log_p - (p - sum_p2) * entropy - p * (2 * p - sum_p2) * logp
    return above / (p * (1 - 2 * p + sum_p2))


def entropy_effect(p: np.ndarray) -> np.ndarray:
    """dH / (lr A) for every sampled outcome k, (..., V): -[p_k (log p_k + H) - sum_j p_j^2 (log p_j + H)]."""
    h = entr(p).sum(-1, keepdims=True)
    own = p * (np.log(p) + h)
    return (p * own).sum(-1, keepdims=True) - own


def condition_share(p: np.ndarray) -> np.ndarray:
    """Probability, over k ~ p, that log p_k > b_k: that a rewarded sample lowers the entropy, (...)."""
    return (p * (np.log(p) > output_baseline(p))).sum(-1)


def one_sided_gradients(logits: np.ndarray, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected gradients of learning from successes only and from failures only, each (V,).

    rewards (V,) are +1 or -1: g+ = E[1{r = 1} grad log p_k], g- = -E[1{r = -1} grad log p_k]. They are equal.
    """
    p = np.exp(log_softmax(logits))
    score = np.eye(len(p)) - p
    return (p * (rewards > 0)) @ score, -(p * (rewards < 0)) @ score


def constant_weight_baseline(p: np.ndarray, weight: float = 1e-4) -> np.ndarray:
    """The quantity drawn in figure 2a of the paper: every other outcome with the same weight, (..., V) -> (..., V)."""
    log_p = np.log(p)
    return weight * (log_p.sum(-1, keepdims=True) - log_p)
