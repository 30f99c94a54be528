"""Normal mixtures against scikit-learn and against closed forms; one hill is called one, two are called two."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from entropy_utils.cool_cores.mixture import compare, fit_mixture
from entropy_utils.lab.errors import ParameterError


def two_hills(n: int = 300, apart: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(1.2, 0.2, n // 3), rng.normal(1.2 + apart, 0.3, n - n // 3)])


def test_one_component_is_the_normal_distribution():
    x = two_hills()
    one = fit_mixture(x, 1)
    assert one.log_likelihood == pytest.approx(norm.logpdf(x, x.mean(), x.std()).sum())
    assert one.bic == pytest.approx(2 * np.log(300) - 2 * one.log_likelihood)


@pytest.mark.parametrize("apart", [1.0, 0.7])
def test_two_components_agree_with_scikit_learn(apart):
    x = two_hills(apart=apart)
    theirs = GaussianMixture(2, n_init=4, tol=1e-9, max_iter=2000, reg_covar=1e-10, random_state=0).fit(x[:, None])
    ours = fit_mixture(x, 2)
    order = np.argsort(theirs.means_[:, 0])
    assert ours.log_likelihood == pytest.approx(theirs.score(x[:, None]) * x.size, abs=1e-3)
    assert ours.bic == pytest.approx(theirs.bic(x[:, None]), abs=2e-3)
    np.testing.assert_allclose(ours.means, theirs.means_[order, 0], atol=2e-3)
    np.testing.assert_allclose(ours.sds, np.sqrt(theirs.covariances_[order, 0, 0]), atol=2e-3)
    np.testing.assert_allclose(ours.weights, theirs.weights_[order], atol=2e-3)


def test_density_integrates_to_one_and_is_the_likelihood():
    x = two_hills()
    two = fit_mixture(x, 2)
    grid = np.linspace(-2, 6, 8001)
    np.testing.assert_allclose(np.trapezoid(two.density(grid), grid, axis=0), two.weights, atol=1e-9)
    assert np.log(two.density(x).sum(axis=-1)).sum() == pytest.approx(two.log_likelihood)


def test_comparison():
    one, two, difference = compare(two_hills(apart=1.5))
    assert difference == two.bic - one.bic
    assert difference < -40
    assert compare(np.random.default_rng(0).normal(2, 0.4, 300))[2] > 0


def test_scale_and_shift_of_the_values_move_the_fit_along():
    x = two_hills()
    a, b = fit_mixture(x, 2), fit_mixture(5 - 2 * x, 2)
    np.testing.assert_allclose(b.means, 5 - 2 * a.means[::-1], atol=1e-3)
    np.testing.assert_allclose(b.sds, 2 * a.sds[::-1], atol=1e-3)


@pytest.mark.parametrize("x", [np.ones(9), np.full(20, np.nan), np.ones((5, 4))])
def test_bad_values(x):
    with pytest.raises(ParameterError, match="'x'"):
        fit_mixture(x, 2)
    with pytest.raises(ParameterError, match="components"):
        fit_mixture(np.arange(20.0), 3)
