"""Power-law fits against exact laws, scipy's regression, and statistics known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import linregress

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile.power_law import decile_means, fit_power_law, one_slope_for_all


def noisy(n=400, exponent=0.4, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    S = np.exp(rng.normal(6, 0.5, n))
    return S, 3 * S**exponent * np.exp(noise * rng.normal(size=n))


def test_an_exact_law():
    S = np.array([1.0, 2.0, 5.0, 9.0])
    law = fit_power_law(S, 2.5 * S**-0.7)
    assert law[:5] == pytest.approx((-0.7, -0.7, -0.7, 2.5, 1.0))
    assert law(4.0) == pytest.approx(2.5 * 4**-0.7)


def test_against_scipy():
    S, D = noisy()
    law, line = fit_power_law(S, D), linregress(np.log(S), np.log(D))
    assert law.exponent == pytest.approx(line.slope)
    assert law.r_squared == pytest.approx(line.rvalue**2)
    assert law.factor == pytest.approx(np.exp(line.intercept))
    half = 1.96 * line.stderr  # a bootstrap interval of many routes is the normal one
    assert (law.low, law.high) == pytest.approx((line.slope - half, line.slope + half), abs=0.25 * half)


def test_the_interval_covers_as_often_as_it_says():
    covered = sum(law.low <= 0.4 <= law.high for law in (fit_power_law(*noisy(150, seed=s), 200, s) for s in range(60)))
    assert 52 <= covered <= 60


def test_f_test_against_regressions_of_every_group():
    rng = np.random.default_rng(1)
    S, D = noisy(300)
    group = rng.choice(["DBO", "DLA", "DSE"], 300)
    D = D * np.where(group == "DBO", 2.0, 1.0)
    test = one_slope_for_all(S, D, group)
    x, y = np.log(S), np.log(D)
    design = np.array([group == name for name in ("DBO", "DLA", "DSE")], float).T
    full, reduced = np.hstack([design, design * x[:, None]]), np.hstack([design, x[:, None]])
    rss = [np.linalg.lstsq(X, y, rcond=None)[1][0] for X in (full, reduced)]
    F = (rss[1] - rss[0]) / 2 / (rss[0] / 294)
    assert pytest.approx(F) == test.F
    assert test.p == pytest.approx(f_distribution.sf(F, 2, 294))
    assert test.exponents["DLA"] == pytest.approx(linregress(x[group == "DLA"], y[group == "DLA"]).slope)


def test_f_test_sees_a_bent_city_and_not_a_longer_one():
    S, D = noisy(600)
    group = np.arange(600) % 3
    assert one_slope_for_all(S, D * (1.0 + group), group).p > 0.01
    assert one_slope_for_all(S, D * S ** (0.2 * (group == 1)), group).p < 1e-6


def test_decile_means():
    S = np.random.default_rng(0).permutation(100) + 1.0
    means = decile_means(S, 2 * S)
    np.testing.assert_allclose(means[0], np.arange(5.5, 100, 10))
    np.testing.assert_allclose(means[1], 2 * means[0])


@pytest.mark.parametrize(
    ("S", "D", "word"),
    [
        ([1, 2, 0.0], [1, 2, 3], "above 0"),
        ([1, 2, 3], [1, 2, np.inf], "'D'"),
        ([1, 2], [1, 2], "at least 3"),
        ([2, 2, 2], [1, 2, 3], "more than one value"),
    ],
)
def test_bad_input(S, D, word):
    with pytest.raises(ParameterError, match=word):
        fit_power_law(S, D)


def test_groups_too_small():
    with pytest.raises(ParameterError, match="group"):
        one_slope_for_all([1, 2, 3, 4], [1, 2, 3, 4], [0, 0, 0, 1])
