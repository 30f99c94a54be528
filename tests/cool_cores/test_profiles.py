"""The profile fit against scipy's curve_fit, against chi² itself, and at the border K0 = 0."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, curve_fit, minimize

from entropy_utils.cool_cores.profiles import ALPHAS, fit_profile, linear_part, profile
from entropy_utils.lab.errors import ParameterError

R = np.geomspace(5, 800, 25)


def noisy(seed: int, K0: float, K100: float, alpha: float):
    exact = profile(R, K0, K100, alpha)
    sigma = 0.06 * exact
    return exact + sigma * np.random.default_rng(seed).standard_normal(R.size), sigma


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("truth", [(16.1, 150, 1.2), (156, 107, 1.23), (72.9, 126, 0.6)])
def test_agrees_with_curve_fit(seed, truth):
    K, sigma = noisy(seed, *truth)
    best, cov = curve_fit(profile, R, K, p0=truth, sigma=sigma, absolute_sigma=True, xtol=1e-12, ftol=1e-12)
    fit = fit_profile(R, K, sigma)
    np.testing.assert_allclose([fit.K0, fit.K100, fit.alpha], best, rtol=1e-4)
    np.testing.assert_allclose([fit.K0_error, fit.K100_error, fit.alpha_error], np.sqrt(np.diag(cov)), rtol=1e-3)
    assert fit.chi2 == pytest.approx((((K - profile(R, *best)) / sigma) ** 2).sum(), rel=1e-7)
    assert fit.degrees == R.size - 3


def test_exact_profiles_come_back():
    fit = fit_profile(R, profile(R, 30, 140, 1.234), np.ones(R.size))
    assert (fit.K0, fit.K100, fit.alpha) == pytest.approx((30, 140, 1.234), rel=1e-6)
    assert fit.chi2 == pytest.approx(0, abs=1e-9)


def test_errors_are_where_chi2_has_risen_by_one():
    K, sigma = noisy(0, 72.9, 126, 1.21)
    sigma = sigma / 10  # so that chi² is a parabola over one error
    K = profile(R, 72.9, 126, 1.21) + (K - profile(R, 72.9, 126, 1.21)) / 10
    fit = fit_profile(R, K, sigma)
    above = brentq(lambda a: linear_part(R, K, sigma, a)[2] - fit.chi2 - 1, fit.alpha, fit.alpha + 1)
    assert above - fit.alpha == pytest.approx(fit.alpha_error, rel=0.01)

    def chi2(free, K0):
        return (((K - profile(R, K0, *free)) / sigma) ** 2).sum()

    risen = minimize(chi2, [fit.K100, fit.alpha], args=(fit.K0 + fit.K0_error,), method="Nelder-Mead", tol=1e-10).fun
    assert risen - fit.chi2 == pytest.approx(1, rel=0.01)


def test_no_negative_excess():
    exact = 140 * (R / 100) ** 1.2 - 4
    K = np.maximum(exact, 1)
    fit = fit_profile(R, K, 0.05 * K)
    assert fit.K0 == 0
    assert np.isnan(fit.K0_error)
    assert fit.degrees == R.size - 2
    best, cov = curve_fit(lambda r, *p: profile(r, 0, *p), R, K, p0=(140, 1.2), sigma=0.05 * K, absolute_sigma=True)
    assert (fit.K100, fit.alpha) == pytest.approx(tuple(best), rel=1e-3)
    assert (fit.K100_error, fit.alpha_error) == pytest.approx(tuple(np.sqrt(np.diag(cov))), rel=1e-2)


def test_a_flat_profile_and_the_ends_of_the_scan():
    flat = fit_profile(R, np.full(R.size, 50.0), np.ones(R.size))
    np.testing.assert_allclose(profile(R, flat.K0, flat.K100, flat.alpha), 50, rtol=1e-6)
    steep = fit_profile(R, profile(R, 10, 10, 4.0), np.ones(R.size))
    assert steep.alpha == ALPHAS[-1]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((R[:3], R[:3], R[:3]), "K"),
        ((R, R[:-1], R), "K"),
        ((R, R, 0 * R), "sigma"),
        ((R, -R, R), "K"),
        ((np.where(R > 700, np.nan, R), R, R), "r"),
    ],
)
def test_bad_profiles(arguments, name):
    with pytest.raises(ParameterError, match=f"'{name}'"):
        fit_profile(*arguments)
