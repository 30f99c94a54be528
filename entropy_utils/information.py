"""The quantities that count what could still happen: Boltzmann's log-multiplicity, Shannon's entropy and their kin.

Everything is in nats unless `base` says otherwise (2 for bits) and works along any `axis` (an integer, a tuple, or None
for the whole array) of anything `numpy.asarray` takes; all arithmetic is in float64. Zeros are fine: 0 log 0 = 0.
A distribution must hold no negative number and no NaN and sum to 1 within `TOLERANCE`; all else is a one-line
ValueError that names the argument, what it got, and what is allowed.

Sources: Shannon 1948; Cover and Thomas, Elements of Information Theory, 2nd ed. 2006 (C&T); Renyi 1961; Hill 1973 for
effective numbers; Miller 1955 for the bias of the plug-in estimate; Brillouin 1956 for ln W / N of a finite sample.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    "conditional_entropy",
    "cross_entropy",
    "exact_factorial_entropy",
    "gaussian_differential_entropy",
    "js_divergence",
    "kl_divergence",
    "log_factorial",
    "log_multiplicity",
    "miller_madow_entropy",
    "mutual_information",
    "perplexity",
    "plug_in_entropy",
    "renyi_entropy",
    "shannon_entropy",
    "shannon_entropy_from_logits",
    "surprisal",
    "varentropy",
]

TOLERANCE = 1e-6  # how far from 1 a float64 distribution may sum
TOLERANCE_SINGLE = 1e-4  # and one that comes in float32 or less: 150 000 rounded terms
MOST = 2**53  # counts beyond it are not exact in float64


# Of one distribution


def shannon_entropy(p, axis=-1, base=None):
    """H(p) = -sum p log p: between 0 (certain) and log of the number of outcomes (uniform)."""
    p = _distribution("p", p, axis)
    return _tidy(-_p_log_p(p).sum(axis), base)


def shannon_entropy_from_logits(logits, axis=-1, base=None, temperature=1.0):
    """H of softmax(logits / temperature), without forming logarithms of rounded probabilities.

    A logit of -inf is an impossible outcome; at least one along `axis` must be finite.
    """
    z = _numbers("logits", logits)
    if np.isnan(z).any() or np.isposinf(z).any():
        raise ValueError(f"logits: got {_first(z, np.isnan(z) | np.isposinf(z))}, allowed: finite numbers or -inf")
    if not (_is_number(temperature) and 0 < temperature < math.inf):
        raise ValueError(f"temperature: got {temperature!r}, allowed: a finite number above 0")
    top = z.max(axis, keepdims=True, initial=-np.inf)
    if np.isneginf(top).any():
        raise ValueError("logits: got -inf everywhere along the axis, allowed: at least one finite number")
    with np.errstate(over="ignore"):
        z = np.maximum((z - top) / temperature, -800.0)  # exp is 0 there, and 0 times a finite number is 0
    e = np.exp(z)
    total = e.sum(axis)
    return _tidy(np.log(total) - (e * z).sum(axis) / total, base)


def surprisal(p, base=None):
    """-log p of each probability on its own, infinite at 0. The mean of it under p is the Shannon entropy."""
    p = _numbers("p", p)
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        raise ValueError(f"p: got {_first(p, wrong)}, allowed: probabilities from 0 to 1")
    with np.errstate(divide="ignore"):
        return -np.log(p) / _log_base(base) + 0.0


def varentropy(p, axis=-1, base=None):
    """Variance of the surprisal under p, in squared nats (or squared units of `base`); 0 where p is uniform."""
    p = _distribution("p", p, axis)
    log_p = _log(p)
    mean = (p * log_p).sum(axis, keepdims=True)
    return (p * (log_p - mean) ** 2).sum(axis) / _log_base(base) ** 2


def renyi_entropy(p, order, axis=-1, base=None):
    """log(sum p^order) / (1 - order), never increasing in `order`.

    Order 0 is the log of the number of possible outcomes, 1 Shannon's entropy, 2 minus the log of the chance that two
    draws agree, infinity minus the log of the largest probability.
    """
    if not (_is_number(order) and order >= 0):
        raise ValueError(f"order: got {order!r}, allowed: a number of at least 0, or infinity")
    p = _distribution("p", p, axis)
    log_p = np.where(p > 0, _log(p), -np.inf)
    if order == 0:
        value = np.log((p > 0).sum(axis))
    elif order == 1:
        value = -_p_log_p(p).sum(axis)
    elif order == math.inf:
        value = -log_p.max(axis)
    elif abs(order - 1) < 0.25:  # sum p^a = 1 + sum p (p^(a-1) - 1), which keeps its digits as a approaches 1
        value = np.log1p((p * np.expm1((order - 1) * _log(p))).sum(axis)) / (1 - order)
    else:  # with the largest p in front: p^a underflows for large a
        top = log_p.max(axis, keepdims=True)
        value = (order * top.squeeze(axis) + np.log(np.exp(order * (log_p - top)).sum(axis))) / (1 - order)
    return _tidy(value, base)


def perplexity(p, axis=-1, order=1):
    """The effective number of outcomes, exp of the Renyi entropy: 1 if certain, n if uniform over n (Hill number)."""
    return np.exp(renyi_entropy(p, order, axis))


# Of two distributions over the same outcomes


def cross_entropy(p, q, axis=-1, base=None):
    """-sum p log q = H(p) + KL(p || q): mean surprisal of one who believes q. Infinite where q misses what p has."""
    p, q = _pair(p, q, axis)
    with np.errstate(divide="ignore"):
        log_q = np.log(q)
    return _tidy(-np.where(p > 0, p * np.where(p > 0, log_q, 0.0), 0.0).sum(axis), base)


def kl_divergence(p, q, axis=-1, base=None):
    """KL(p || q) = sum p log(p / q): at least 0, and 0 only for equal ones. Infinite where q misses what p has."""
    p, q = _pair(p, q, axis)
    return _tidy(_relative(p, q).sum(axis), base)


def js_divergence(p, q, axis=-1, base=None):
    """Jensen-Shannon divergence: mean of the KL of p and of q to their average; from 0 to log 2, symmetric."""
    p, q = _pair(p, q, axis)
    middle = (p + q) / 2
    return _tidy((_relative(p, middle) + _relative(q, middle)).sum(axis) / 2, base)


# Of a joint distribution


def mutual_information(joint, axes=(-2, -1), base=None):
    """I(X; Y) = KL(joint || product of the margins) of `joint` with X and Y along `axes` (C&T eq. 2.28)."""
    joint = _joint(joint, axes)
    x, y = joint.sum(axes[1], keepdims=True), joint.sum(axes[0], keepdims=True)
    terms = np.where(joint > 0, joint * (_log(joint) - _log(x) - _log(y)), 0.0)
    return _tidy(terms.sum(axes), base)


def conditional_entropy(joint, axes=(-2, -1), base=None):
    """H(Y | X) = H(X, Y) - H(X) of `joint` with X and Y along `axes`: what Y still can be once X is known."""
    joint = _joint(joint, axes)
    x = joint.sum(axes[1], keepdims=True)
    return _tidy(-np.where(joint > 0, joint * (_log(joint) - _log(x)), 0.0).sum(axes), base)


# Of counts


def log_factorial(n):
    """ln n! of whole numbers, to a few units in the last place.

    Exact up to 20!; above, Stirling's series n ln n - n + ln(2 pi n) / 2 + 1/(12 n) - 1/(360 n^3) + 1/(1260 n^5) -
    1/(1680 n^7), whose next term is below 1e-14 there.
    """
    n = _counts("n", n)
    small = np.array([math.log(math.factorial(k)) for k in range(21)])
    x = np.maximum(n, 21.0)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / x**2) / x**2) / x**2) / x
    stirling = x * np.log(x) - x + 0.5 * np.log(2 * np.pi * x) + series
    return np.where(n <= 20, small[np.minimum(n, 20).astype(int)], stirling)[()]


def log_multiplicity(counts, axis=-1, base=None):
    """Boltzmann's log W = ln(N! / prod n_i!); W ways to deal N things into boxes that get n_1, n_2, ... of them."""
    n = _counts("counts", counts)
    total = n.sum(axis)
    if (total > MOST).any():
        raise ValueError(f"counts: got a total of {total.max():.6g}, allowed: at most 2^53")
    return _tidy(log_factorial(total) - log_factorial(n).sum(axis), base)


def plug_in_entropy(counts, axis=-1, base=None):
    """Shannon entropy of the observed shares n_i / N; on average too small, by about (outcomes - 1) / 2N nats."""
    n, total = _sample(counts, axis)
    return _tidy(-_p_log_p(n / total).sum(axis), base)


def miller_madow_entropy(counts, axis=-1, base=None):
    """Plug-in entropy + (K - 1) / 2N nats, K the number of outcomes seen: takes off the leading part of its bias."""
    n, total = _sample(counts, axis)
    correction = ((n > 0).sum(axis) - 1) / (2 * total.squeeze(axis))
    return plug_in_entropy(n, axis, base) + correction / _log_base(base)


def exact_factorial_entropy(counts, axis=-1, base=None):
    """log W / N, the entropy per thing of these very counts; below the plug-in value, equal to it as N grows."""
    n, total = _sample(counts, axis)
    return log_multiplicity(n, axis, base) / total.squeeze(axis)


# Of a density


def gaussian_differential_entropy(cov, base=None):
    """ln((2 pi e)^d det cov) / 2 of a Gaussian (C&T theorem 8.4.1); `cov` is one variance, or matrices [..., d, d].

    Unlike an entropy of outcomes it may be negative, and it changes with the units of the variable.
    """
    given = _numbers("cov", cov)
    wrong = ~np.isfinite(given)
    if wrong.any():
        raise ValueError(f"cov: got {_first(given, wrong)}, allowed: finite numbers")
    matrix = given.reshape(1, 1) if given.ndim == 0 else given
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"cov: got shape {given.shape}, allowed: one variance, or square matrices [..., d, d]")
    turned = np.swapaxes(matrix, -1, -2)
    if not np.allclose(matrix, turned, rtol=1e-8, atol=1e-12 * np.abs(matrix).max(initial=0)):
        raise ValueError(
            f"cov: got entries that differ by {np.abs(matrix - turned).max():.3g} from their mirror images, "
            "allowed: symmetric matrices"
        )
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(matrix).min()
        raise ValueError(f"cov: got smallest eigenvalue {least:.3g}, allowed: positive definite matrices") from None
    log_det = 2 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
    return (matrix.shape[-1] * math.log(2 * math.pi * math.e) + log_det) / 2 / _log_base(base)


# What all of them need


def _numbers(name, x):
    try:
        return np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        allowed = "an array of real numbers, a tensor on the CPU without gradient among them"
        raise ValueError(f"{name}: got {type(x).__name__} {str(x)[:40]!r}, allowed: {allowed}") from None


def _is_number(x):
    return isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool)


def _log_base(base):
    if base is None:
        return 1.0
    if not (_is_number(base) and 1 < base < math.inf):
        raise ValueError(f"base: got {base!r}, allowed: a finite number above 1, or None for nats")
    return math.log(base)


def _first(x, wrong):
    """The first of the wrong entries of x and where it is."""
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{x[where]:.6g} at index {where}" if where else f"{x[()]:.6g}"


def _distribution(name, given, axis):
    p = _numbers(name, given)
    wrong = ~(p >= 0)
    if wrong.any():
        raise ValueError(f"{name}: got {_first(p, wrong)}, allowed: probabilities, numbers from 0 to 1")
    total = np.asarray(p.sum(axis))
    single = getattr(given, "dtype", None) is not None and np.asarray(given).dtype.itemsize < 8
    tolerance = TOLERANCE_SINGLE if single else TOLERANCE
    wrong = ~(np.abs(total - 1) <= tolerance)
    if wrong.any():
        raise ValueError(f"{name}: got sum {_first(total, wrong)} along axis {axis}, allowed: 1 within {tolerance:g}")
    return p


def _pair(p, q, axis):
    p, q = _distribution("p", p, axis), _distribution("q", q, axis)
    try:
        return np.broadcast_arrays(p, q)
    except ValueError:
        raise ValueError(f"q: got shape {q.shape}, allowed: one that goes with p {p.shape}") from None


def _joint(given, axes):
    joint = _numbers("joint", given)
    if not (
        isinstance(axes, (tuple, list))
        and len(axes) == 2
        and all(-joint.ndim <= a < joint.ndim for a in axes)
        and (axes[0] - axes[1]) % joint.ndim
    ):
        raise ValueError(f"axes: got {axes!r}, allowed: two different axes of an array of {joint.ndim} dimensions")
    return _distribution("joint", given, tuple(axes))


def _counts(name, given):
    n = _numbers(name, given)
    wrong = ~((n >= 0) & (n <= MOST) & (n == np.floor(n)))
    if wrong.any():
        raise ValueError(f"{name}: got {_first(n, wrong)}, allowed: whole numbers from 0 to 2^53")
    return n


def _sample(counts, axis):
    n = _counts("counts", counts)
    total = n.sum(axis, keepdims=True)
    if (total == 0).any():
        raise ValueError(f"counts: got nothing but 0 along axis {axis}, allowed: at least one thing counted")
    return n, total


def _log(p):
    """log p, and 0 where p is 0: for terms that a factor p makes 0 anyway."""
    return np.log(np.where(p > 0, p, 1.0))


def _p_log_p(p):
    return p * _log(p)


def _relative(p, q):
    """Terms p log(p / q): 0 where p is 0, infinite where only q is."""
    return np.where((p > 0) & (q == 0), np.inf, p * (_log(p) - _log(q)))


def _tidy(value, base):
    """In units of `base`, with what rounding left below 0 put to 0."""
    return np.maximum(value, 0.0) / _log_base(base) + 0.0
