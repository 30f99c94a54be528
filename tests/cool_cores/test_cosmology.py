"""Ages against the numbers of the brief and against an integral, and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from entropy_utils.cool_cores import cosmology


@pytest.mark.parametrize(("z", "t"), [(2.44, 2.689), (2, 3.288), (1, 5.867), (0.5, 8.609), (0, 13.803)])
def test_ages_of_the_brief(z, t):
    assert cosmology.age(z) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("z", [0.0, 0.3, 2.58])
def test_age_is_the_integral_of_the_expansion(z):
    H = 100 * 0.6774 / 977.8
    integral = quad(lambda x: 1 / ((1 + x) * H * np.sqrt(0.3089 * (1 + x) ** 3 + 0.6911)), z, np.inf)[0]
    assert cosmology.age(z) == pytest.approx(integral, rel=1e-7)


def test_redshift_is_the_inverse_and_its_rate_the_slope():
    z = np.linspace(0, 4, 41)
    t = cosmology.age(z)
    np.testing.assert_allclose(cosmology.redshift(t), z, atol=1e-12)
    slope = (cosmology.redshift(t + 1e-5) - cosmology.redshift(t - 1e-5)) / 2e-5
    np.testing.assert_allclose(-slope, cosmology.redshift_rate(z), rtol=1e-6)
    assert cosmology.E(0) == pytest.approx(1)
