"""Entropy profiles K(r) = K0 + K100 (r / 100 kpc)^alpha, and their fit by variable projection (4.2).

For a given alpha the model is linear in K0 and K100, so that only alpha has to be searched. K0 is the excess over a power
law: neither the entropy at the centre, nor the mean within an aperture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from entropy_utils.lab.errors import ParameterError

ALPHAS = np.arange(0, 301) / 100


@dataclass(frozen=True)
class ProfileFit:
    """K0, K100 (keV cm²) and alpha with their errors (Delta chi² = 1), chi² and degrees of freedom.

    K0 is held at 0 where it would be negative; it then has no error (NaN).
    """

    K0: float
    K100: float
    alpha: float
    K0_error: float
    K100_error: float
    alpha_error: float
    chi2: float
    degrees: int


def profile(r, K0, K100, alpha):
    """K(r) in keV cm² at the radii r (kpc)."""
    return K0 + K100 * (np.asarray(r, float) / 100) ** alpha


def fit_profile(r, K, sigma) -> ProfileFit:
    """Fit the profile to entropies K with errors sigma (keV cm²) at the radii r (kpc).

    Scans alpha from 0 to 3, then narrows the minimum of chi² by parabolas. Raises `ParameterError` unless there are at
    least four points, finite and above 0.
    """
    r, K, sigma = (np.asarray(values, float) for values in (r, K, sigma))
    if r.ndim != 1 or r.size < 4 or K.shape != r.shape or sigma.shape != r.shape:
        raise ParameterError.of("K", K.shape, f"as many values as r {r.shape} and sigma {sigma.shape}, at least 4")
    for name, values in (("r", r), ("K", K), ("sigma", sigma)):
        if not (np.isfinite(values) & (values > 0)).all():
            bad = values[~(np.isfinite(values) & (values > 0))][0]
            raise ParameterError.of(name, float(bad), "finite numbers above 0")
    alpha = float(ALPHAS[np.argmin([linear_part(r, K, sigma, one)[2] for one in ALPHAS])])
    for step in (1e-2, 1e-3, 1e-4):
        alpha = min(max(alpha, ALPHAS[0] + step), ALPHAS[-1] - step)
        below, here, above = (linear_part(r, K, sigma, alpha + shift)[2] for shift in (-step, 0, step))
        if (bend := below - 2 * here + above) > 0:
            alpha = float(np.clip(alpha + step * (below - above) / (2 * bend), ALPHAS[0], ALPHAS[-1]))
    K0, K100, chi2 = linear_part(r, K, sigma, alpha)
    errors = parameter_errors(r, sigma, K0, K100, alpha)
    return ProfileFit(float(K0), float(K100), alpha, *errors, float(chi2), r.size - 3 + (K0 == 0))


def linear_part(r, K, sigma, alpha: float) -> tuple[float, float, float]:
    """The best K0 >= 0 and K100 for this alpha, and chi²: two normal equations."""
    w, x = 1 / sigma**2, (r / 100) ** alpha
    s, sx, sxx, sy, sxy = w.sum(), (w * x).sum(), (w * x * x).sum(), (w * K).sum(), (w * x * K).sum()
    det = s * sxx - sx * sx
    K0 = (sxx * sy - sx * sxy) / det if det > 1e-12 * s * sxx else 0.0
    K0 = max(K0, 0.0)
    K100 = (sxy - K0 * sx) / sxx
    return K0, K100, (w * (K - K0 - K100 * x) ** 2).sum()


def parameter_errors(r, sigma, K0: float, K100: float, alpha: float) -> tuple[float, float, float]:
    """Errors of K0, K100 and alpha where chi² has risen by 1, the others being refitted: from the curvature of chi²."""
    x = (r / 100) ** alpha
    slopes = np.stack([np.ones_like(x), x, K100 * x * np.log(r / 100)]) / sigma
    free = slopes[1:] if K0 == 0 else slopes
    errors = np.sqrt(np.diag(np.linalg.pinv(free @ free.T)))
    return (np.nan, *map(float, errors)) if K0 == 0 else tuple(map(float, errors))
