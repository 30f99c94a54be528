"""K against Sackur-Tetrode, heat and Bondi rates from first principles, ACCEPT's rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import constants

from entropy_utils.cool_cores import core_entropy

temperature = st.floats(0.1, 30)
density = st.floats(1e-5, 1)


@given(temperature, density, temperature, density)
def test_k_is_thermodynamic_entropy(kT1, n1, kT2, n2):
    by_K = core_entropy.entropy_change(core_entropy.xray_entropy(kT1, n1), core_entropy.xray_entropy(kT2, n2))
    by_states = core_entropy.sackur_tetrode(kT2, n2) - core_entropy.sackur_tetrode(kT1, n1)
    assert by_K == pytest.approx(by_states, abs=1e-12)


def test_sackur_tetrode_has_the_value_of_its_species():
    """Electrons alone, from SI constants: ln(2 / (n lambda³)) + 5/2 at 5 keV and 0.01 per cm³."""
    wave = constants.h / np.sqrt(2 * np.pi * constants.m_e * 5e3 * constants.e)
    electrons = np.log(2 / (1e4 * wave**3)) + 2.5
    parts = core_entropy.SPECIES
    heavy = sum(n * (1.5 * np.log(m / parts[0][1]) - np.log(n) + np.log(g / 2)) for n, m, g in parts)
    expected = electrons + heavy / sum(n for n, _, _ in parts)
    assert core_entropy.sackur_tetrode(5, 0.01) == pytest.approx(expected, rel=1e-7)


def test_composition_is_neutral_and_has_the_mean_masses():
    (e, _, _), (p, _, _), (he, _, _) = core_entropy.SPECIES
    assert p + 2 * he == pytest.approx(e, abs=1e-9)
    assert (p * 1 + he * 4) / e == pytest.approx(core_entropy.MU_E, abs=1e-3)
    assert (p + 4 * he) / (e + p + he) == pytest.approx(core_entropy.MU, abs=1e-3)


@given(temperature, density, st.floats(0.1, 10))
def test_adiabats_and_inverse(kT, n_e, factor):
    K = core_entropy.xray_entropy(kT, n_e)
    assert core_entropy.xray_entropy(kT * factor ** (2 / 3), n_e * factor) == pytest.approx(K)
    assert core_entropy.electron_density(kT, K) == pytest.approx(n_e)


def test_heat_of_a_core():
    assert core_entropy.particles(1e11) == pytest.approx(2.02e68, rel=2e-3)
    change = core_entropy.particles(1e11) * core_entropy.entropy_change(30, 150)
    assert change == pytest.approx(4.9e68, rel=6e-3)
    assert core_entropy.heat(1e11, 5, 30, 150) == pytest.approx(3.9e60, rel=6e-3)
    assert core_entropy.entropy_change(20, 150) == pytest.approx(3.02, abs=5e-3)


@pytest.mark.parametrize(("mass", "K", "rate"), [(1e9, 2, 0.0167), (3e9, 10, 0.0134), (1e10, 30, 0.0287)])
def test_bondi_rates(mass, K, rate):
    assert core_entropy.bondi_rate(mass, K) == pytest.approx(rate, abs=6e-5)


@given(temperature, density)
def test_bondi_rate_of_the_gas_itself(kT, n_e):
    """4 pi G² M² rho / c_s³ in SI from temperature and density."""
    rho = 1.136 * constants.m_p * n_e * 1e6
    sound = np.sqrt(5 / 3 * kT * 1e3 * constants.e / (0.588 * constants.m_p))
    rate = 4 * np.pi * (constants.G * 2e9 * 1.98841e30) ** 2 * rho / sound**3
    K = core_entropy.xray_entropy(kT, n_e)
    assert core_entropy.bondi_rate(2e9, K) == pytest.approx(rate * constants.Julian_year / 1.98841e30, rel=1e-5)


def test_power_of_a_fed_black_hole():
    rate = core_entropy.bondi_rate(1e10, 30) * core_entropy.MSUN / core_entropy.YEAR
    assert 0.2 * rate * (100 * constants.c) ** 2 == pytest.approx(3.3e44, rel=0.02)


def test_accepts_rule():
    assert core_entropy.accept_entropy(1, 5) == pytest.approx(46.4, abs=0.05)
    assert core_entropy.accept_entropy(7.7, 5) == pytest.approx(181, abs=0.5)
    assert core_entropy.accept_cooling_time(20, 4) == pytest.approx(0.354, abs=5e-4)
    K, kT = np.array([3.0, 40, 300]), np.array([2.0, 5, 12])
    np.testing.assert_allclose(core_entropy.accept_entropy(core_entropy.accept_cooling_time(K, kT), kT), K)
