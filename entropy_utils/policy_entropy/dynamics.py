"""The entropy of one state under one token's update, exactly and to first and second order (Wang et al. 2026).

p = softmax(z), H its entropy, k a token. S_k = p_k (log p_k + H) is the entropy discriminator (`-tabular.entropy_gradient`):
raising the logit z_k alone by eps changes H by -eps S_k. A GRPO step moves all logits, alpha (e_k - p), and changes H by
-alpha (S_k - E_p[S]). Logits are (..., V), float64; everything is computed along the last axis, in nats.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, expit, log_softmax

from .tabular import covariance, entropy, entropy_gradient, fisher


def discriminator(logits: np.ndarray) -> np.ndarray:
    """S, (..., V): positive exactly where p > e^-H; sums to 0 over the vocabulary."""
    return -entropy_gradient(logits)


def baseline(logits: np.ndarray) -> np.ndarray:
    """E_p[S] = sum_j p_j S_j, (...,): never negative, 0 only where p is uniform (Theorem 3.3)."""
    return (np.exp(log_softmax(logits, axis=-1)) * discriminator(logits)).sum(-1)


def deviation(logits: np.ndarray) -> np.ndarray:
    """D = S - E_p[S], (..., V): minus the entropy change per unit of a GRPO step; E_p[D] = 0 (Corollary 3.4)."""
    return discriminator(logits) - baseline(logits)[..., None]


def single_logit_step(logits: np.ndarray, token: int, eps: float) -> np.ndarray:
    """eps e_k, (V,): the step of Theorem 3.2."""
    return eps * np.eye(logits.shape[-1])[token]


def rest_entropy(logits: np.ndarray, token: int) -> float:
    """R: entropy of the other tokens among themselves; no update of z_k changes it. logits (V,)."""
    return float(entropy(np.delete(logits, token)))


def probability_after(p: float | np.ndarray, eps: float | np.ndarray) -> float | np.ndarray:
    """p_k' = p_k e^eps / (1 + p_k (e^eps - 1)): where a single-logit update takes the probability."""
    return p * np.exp(eps) / (1 + p * np.expm1(eps))


def entropy_on_curve(p: float | np.ndarray, rest: float) -> float | np.ndarray:
    """H = h(p) + (1 - p) R with h the binary entropy: all that a single-logit update can reach."""
    return entr(p) + entr(1 - p) + (1 - p) * rest


def discriminator_on_curve(p: float | np.ndarray, rest: float) -> float | np.ndarray:
    """S_k = p (1 - p) (logit p + R): minus the slope of `entropy_on_curve` in eps."""
    return p * (1 - p) * (np.log(p / (1 - p)) + rest)


def baseline_on_curve(p: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """E_p[S] along the curve, for p (N,) and the others' probabilities among themselves, rest (V - 1,)."""
    q = (1 - p)[:, None] * rest
    h = entropy_on_curve(p, entr(rest).sum())
    return p * discriminator_on_curve(p, entr(rest).sum()) + (q * (h[:, None] * q - entr(q))).sum(-1)


def peak(rest: float) -> tuple[float, float]:
    """Probability and entropy at the top of that curve: p* = 1 / (1 + e^R), H* = log(1 + e^R), so p* = e^-H*."""
    return float(expit(-rest)), float(np.logaddexp(0, rest))


def exact_change(logits: np.ndarray, step: np.ndarray) -> np.ndarray:
    """H(z + step) - H(z), (...,)."""
    return entropy(logits + step) - entropy(logits)


def second_order_term(logits: np.ndarray, token: int, eps: float) -> float:
    """-(eps^2 / 2) p_k [(1 - 2 p_k) (log p_k + H) + 1 - p_k]: what Theorem 3.2 leaves out, up to eps^3. logits (V,)."""
    log_p = log_softmax(logits)[token]
    p = np.exp(log_p)
    return float(-(eps**2) / 2 * p * ((1 - 2 * p) * (log_p + entropy(logits)) + 1 - p))


def hessian(logits: np.ndarray) -> np.ndarray:
    """d2H / dz_a dz_c = -p_a (1[a = c] - p_c)(u_a + 1) + p_a p_c u_c with u = log p + H, (V, V)."""
    log_p = log_softmax(logits)
    p, u = np.exp(log_p), log_p + entropy(logits)
    return -fisher(logits) * (u + 1)[:, None] + np.outer(p, p * u)


def random_drift(logits: np.ndarray) -> float:
    """1/2 tr(Hess C), C = diag p - p p^T: entropy change per alpha^2 when advantages are +1 or -1 by chance. logits (V,)."""
    return float(0.5 * np.trace(hessian(logits) @ fisher(logits)))


def log_ratio_change(logits: np.ndarray) -> np.ndarray:
    """d log p_k / d alpha = 1 - 2 p_k + sum_j p_j^2 of a GRPO step on token k, (..., V): rare tokens move fastest."""
    p = np.exp(log_softmax(logits, axis=-1))
    return 1 - 2 * p + (p**2).sum(-1, keepdims=True)


def disagreement(logits: np.ndarray) -> np.ndarray:
    """Probability of the tokens with 0 < S_k < E_p[S], (...,): the two theorems predict opposite signs for them.

    Differences below 1e-14 nats count as none, so that a uniform policy has no such tokens.
    """
    s, mean = discriminator(logits), baseline(logits)[..., None]
    return (np.exp(log_softmax(logits, axis=-1)) * ((s > 1e-14) & (mean - s > 1e-14))).sum(-1)


def probability_covariance(logits: np.ndarray) -> np.ndarray:
    """Cov_p(p, log p), (...,): another way to write the baseline."""
    log_p = log_softmax(logits, axis=-1)
    return covariance(np.exp(log_p), np.exp(log_p), log_p)


def log_log_slope(sizes: np.ndarray, errors: np.ndarray) -> float:
    """Slope of log error against log step size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0])
