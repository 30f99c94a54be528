"""Merger rates against the brief's numbers and quadrature, and drawn mass ratios against their distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from entropy_utils.cool_cores import cosmology, merger_rate
from entropy_utils.lab.errors import ParameterError


@pytest.mark.parametrize(("xi_min", "value"), [(0.01, 406.2), (0.1, 93.55), (0.25, 47.23), (1 / 3, 35.83)])
def test_integrals(xi_min, value):
    assert merger_rate.integral(xi_min) == pytest.approx(value, rel=4e-3)  # the brief's sums lose part of an interval
    exact = quad(lambda xi: xi**-1.995 * np.exp((xi / 9.72e-3) ** 0.263), xi_min, 1, epsabs=0, epsrel=1e-10)[0]
    assert merger_rate.integral(xi_min) == pytest.approx(exact, rel=2e-6)


def test_rates_of_a_large_halo():
    rates = merger_rate.merger_rate(5e14, np.array([0, 0.5, 1, 2]), 0.1)
    np.testing.assert_allclose(rates, [0.154, 0.317, 0.587, 1.549], rtol=4.2e-3)


def test_chance_of_a_merger_in_the_previous_gyr():
    t = cosmology.age(np.array([0.1, 0.5, 1, 1.5, 2]))
    expected = merger_rate.expected_mergers(4.2e14, t - 1, t, 0.1)
    np.testing.assert_allclose(1 - np.exp(-expected), [0.17, 0.29, 0.49, 0.70, 0.87], atol=0.006)
    for end, number in zip(t, expected, strict=True):
        by_time = quad(lambda s: merger_rate.merger_rate(4.2e14, cosmology.redshift(s), 0.1), end - 1, end)[0]
        assert number == pytest.approx(by_time, rel=1e-6)


def test_drawn_mass_ratios_have_the_shape():
    xi = merger_rate.mass_ratios(np.random.default_rng(0).random(1500), 0.01)
    whole = merger_rate.integral(0.01)
    assert kstest(xi, lambda x: 1 - np.array([merger_rate.integral(min(v, 0.999999)) for v in x]) / whole).pvalue > 0.01
    assert merger_rate.mass_ratios([0, 1], 0.01).tolist() == pytest.approx([0.01, 1.0])
    assert np.mean(xi > 0.1) == pytest.approx(93.91 / 406.2, abs=0.035)


@pytest.mark.parametrize("xi_min", [0, 1, -0.1, 2])
def test_mass_ratios_out_of_range(xi_min):
    with pytest.raises(ParameterError, match="xi_min"):
        merger_rate.integral(xi_min)
