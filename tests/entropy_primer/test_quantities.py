"""Cells and gases against scipy, tables and their own laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import constants, stats

from entropy_utils import information
from entropy_utils.entropy_primer import ideal_gas
from entropy_utils.entropy_primer.coarse_graining import gaussian_cells, occupations

shares = st.lists(st.floats(0, 1e3), min_size=1, max_size=12).filter(lambda p: sum(p) > 0.1)


@given(shares, st.integers(0, 10_000))
def test_occupations_are_the_nearest_whole_numbers_of_the_right_sum(p, balls):
    n = occupations(p, balls)
    assert n.sum() == balls
    assert (np.abs(n - balls * np.array(p) / sum(p)) < 1 + 1e-6).all()


@pytest.mark.parametrize(("p", "balls"), [([0.5, -0.1], 3), ([0, 0], 3), ([1.0], -1)])
def test_occupations_refuse_what_is_no_distribution(p, balls):
    with pytest.raises(ValueError, match="shares: got"):
        occupations(p, balls)


@pytest.mark.parametrize("shift", [0, 0.3, 1])
@pytest.mark.parametrize("width", [0.1, 1, 8])
@pytest.mark.parametrize("sd", [0.5, 2])
def test_gaussian_cells_are_those_of_scipy(width, sd, shift):
    left, p = gaussian_cells(width, sd, shift)
    expected = stats.norm(scale=sd).cdf(left + width) - stats.norm(scale=sd).cdf(left)
    np.testing.assert_allclose(p, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(np.diff(left), width)
    assert p.sum() == pytest.approx(1)


def test_fine_cells_see_the_differential_entropy_up_to_their_width_squared():
    for width in (0.2, 0.1):
        seen = information.shannon_entropy(gaussian_cells(width, 2.0)[1])
        left = seen + np.log(width) - information.gaussian_differential_entropy(4.0)
        assert left == pytest.approx(width**2 / 24 / 4, rel=0.01)  # the density's Fisher information 1/4 over 24


@pytest.mark.parametrize(("width", "sd"), [(0, 1), (1, 0), (-1, 1), (1, float("nan")), (float("inf"), 1)])
def test_cells_need_a_width(width, sd):
    with pytest.raises(ValueError, match="width, sd: got"):
        gaussian_cells(width, sd)


@pytest.mark.parametrize(
    ("mass", "entropy"),
    [(4.002602, 126.153), (20.1797, 146.328), (39.948, 154.846), (83.798, 164.085), (131.293, 169.685)],
)
def test_noble_gases_have_the_entropy_of_the_tables(mass, entropy):
    density = 1e5 / (constants.k * 298.15)
    ours = ideal_gas.sackur_tetrode(298.15, density, mass * ideal_gas.DALTON) * constants.R
    assert ours == pytest.approx(entropy, abs=0.003)


def test_the_constants_are_those_of_scipy():
    ours = (ideal_gas.BOLTZMANN, ideal_gas.PLANCK, ideal_gas.AVOGADRO, ideal_gas.KEV)
    assert ours == pytest.approx((constants.k, constants.h, constants.N_A, constants.e * 1000), rel=1e-12)
    assert abs(ideal_gas.DALTON / constants.m_u - 1) < 1e-8


@given(st.floats(0.01, 100), st.floats(1e-5, 10), st.floats(0.01, 100))
def test_k_stays_in_a_squeeze_and_is_the_entropy_otherwise(kt, n, factor):
    k = ideal_gas.adiabat(kt, n)
    assert ideal_gas.adiabat(kt * factor ** (2 / 3), n * factor) == pytest.approx(k)
    states = [(kt, n), (kt * factor, n / factor)]
    s = [ideal_gas.sackur_tetrode(t * ideal_gas.KEV / ideal_gas.BOLTZMANN, m * 1e6, 1e-26) for t, m in states]
    gain = ideal_gas.entropy_gain(k, ideal_gas.adiabat(*states[1]))
    assert s[1] - s[0] == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_states_are_positive_and_finite(bad):
    with pytest.raises(ValueError, match="kt: got"):
        ideal_gas.adiabat(bad, 1)
    with pytest.raises(ValueError, match="density: got"):
        ideal_gas.adiabat(1, bad)
    with pytest.raises(ValueError, match="mass: got"):
        ideal_gas.sackur_tetrode(1, 1, bad)
