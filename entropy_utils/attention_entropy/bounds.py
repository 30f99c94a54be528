"""How low the entropy of an attention row can be: Theorem 3.1 of Zhai et al. 2023 (arXiv 2303.06296) and its relatives.

A row of T logits with Euclidean norm at most s has an entropy of at least `row_floor(T, s)`. With a = X W_K W_Q^T X^T the
norm of every row is at most the product sigma sigma_x of the spectral norms of W_K W_Q^T and of X X^T, which gives the
theorem as published. Entropies are in nats. Functions of T and s take numbers or arrays that broadcast.
Proofs: notebook 04, section 1; the paper states the theorem.
"""

from __future__ import annotations

import numpy as np

from entropy_utils.information import shannon_entropy_from_logits
from entropy_utils.lab.errors import ParameterError


def row_floor(T, s):
    """Theorem 3.1: the lowest entropy of a softmax over T >= 2 logits whose norm is at most `s` >= 0.

    log(1 + e) + g e / (1 + e) with g = s sqrt(T / (T - 1)) and e = (T - 1) exp(-g); about T s exp(-s) for large s.
    """
    T, s = _sizes(T), _norms(s)
    return _one_against_others(T, s * np.sqrt(T / (T - 1)))[()]


def mean_floor(T, s):
    """The lowest *mean* entropy over the rows of a T x T matrix of logits whose spectral norm is at most `s`.

    `row_floor` without its factors sqrt(T / (T - 1)), attained by s times the unit matrix. Not in the paper: conjectured
    in notebook 04 and confirmed by search, not proved. Above `row_floor`, since only one row can attain that.
    """
    return _one_against_others(_sizes(T), _norms(s))[()]


def two_level_logits(T: int, s: float, m: int = 1) -> np.ndarray:
    """T logits of norm `s` and sum 0, `m` of them high and equal, the others equal: the form of the minima of H."""
    T, m = _two_levels(T, m)
    gap = float(_norms(s)) * np.sqrt(T / (m * (T - m)))
    return gap * ((np.arange(T) < m) - m / T)


def two_level_floor(T, s, m=1):
    """Entropy of `two_level_logits`; increases with `m`, so that m = 1 is Theorem 3.1."""
    T, m = _two_levels(T, m)
    return _high_against_low(T, m, _norms(s) * np.sqrt(T / (m * (T - m))))[()]


def box_floor(T: int, c: float) -> tuple[float, int]:
    """The lowest entropy of T logits within [-c, c], and how many of them then sit at +c.

    What a soft-cap or normalised queries and keys leave: along one logit the entropy has a single peak, so minima lie at
    corners of the box.
    """
    m = np.arange(1, int(_sizes(T)))
    corners = _high_against_low(int(T), m, 2 * float(_norms(c)))
    return float(corners.min()), int(m[corners.argmin()])


def small_norm_floor(T, s):
    """`row_floor` to third order in `s`: log T - s^2 / 2T (variance) - s^3 (T - 2) / (3 T^(3/2) sqrt(T - 1)) (skewness)."""
    T, s = _sizes(T), _norms(s)
    return np.log(T) - s**2 / (2 * T) - s**3 * (T - 2) / (3 * T**1.5 * np.sqrt(T - 1))


def half_way(T):
    """The norm at which the top token of the extremal row has probability 1/2: the floor is log 2 + log(T - 1) / 2 there."""
    T = _sizes(T)
    return (np.log(T - 1) * np.sqrt((T - 1) / T))[()]


def tight_head(T: int, s: float, kappa: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (T, T), W_K (T, 1), W_Q (T, 1) with sigma sigma_x = `s`: row 1 attains Theorem 3.1, all other logits are 0."""
    keys = np.zeros((int(_sizes(T)), 1))
    keys[0] = s / kappa**2
    return kappa * np.eye(int(T)), keys, two_level_logits(T, 1.0)[:, None]


def head_logits(X: np.ndarray, W_K: np.ndarray, W_Q: np.ndarray) -> np.ndarray:
    """a = X W_K W_Q^T X^T, in the paper's order: rows are softmaxed. A scale 1/sqrt(d_h) belongs into one of the weights."""
    return X @ W_K @ W_Q.T @ X.T


def floors(X: np.ndarray, W_K: np.ndarray, W_Q: np.ndarray) -> dict[str, np.ndarray]:
    """The entropy of every row of a head and ever weaker floors under it, each (T,) nats, from sharp to the theorem's.

    X (T, d) are the tokens, W_K and W_Q (d, n) the weights of one head.
    """
    a = head_logits(X, W_K, W_Q)
    sigma, sigma_x = np.linalg.norm(W_K @ W_Q.T, 2), np.linalg.norm(X, 2) ** 2
    norms = {
        "norm of the centred row": np.linalg.norm(a - a.mean(1, keepdims=True), axis=1),
        "norm of the row": np.linalg.norm(a, axis=1),
        "norm of all logits": np.full(len(a), np.linalg.norm(a, 2)),
        "weights and tokens": np.full(len(a), sigma * sigma_x),
    }
    return {"entropy": shannon_entropy_from_logits(a)} | {name: row_floor(len(a), s) for name, s in norms.items()}


def _one_against_others(T, gap):
    return _high_against_low(T, 1, gap)


def _high_against_low(T, m, gap):
    """Entropy of m equal logits that lie `gap` above T - m equal ones, without overflow or cancellation at any gap."""
    low = np.exp(np.log((T - m) / m) - gap)  # probability of all the low ones over that of all the high ones
    return np.log(m) + np.log1p(low) + gap * low / (1 + low)


def _sizes(T):
    given = np.asarray(T)
    if given.dtype.kind not in "iu" or (given < 2).any():
        raise ParameterError.of("T", T, "integers from 2, the number of keys")
    return given.astype(float)


def _norms(s):
    given = np.asarray(s, dtype=float)
    if not (np.isfinite(given) & (given >= 0)).all():
        raise ParameterError.of("s", s, "finite numbers from 0, a norm of logits")
    return given


def _two_levels(T, m):
    """T and m as integers, m from 1 to T - 1."""
    sizes, high = _sizes(T), np.asarray(m)
    if high.dtype.kind not in "iu" or not ((high >= 1) & (high < sizes)).all():
        raise ParameterError.of("m", m, "integers from 1 to T - 1, the number of high logits")
    return np.asarray(T), high
