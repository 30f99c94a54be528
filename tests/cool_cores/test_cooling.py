"""Cooling times of the brief, the exact collapse against an integrator, and what they have in common."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants
from scipy.integrate import solve_ivp

from entropy_utils.cool_cores import cooling


@pytest.mark.parametrize(("K", "kT", "t"), [(30, 5, 0.604), (100, 5, 3.677), (150, 5, 6.756), (10, 5, 0.1163)])
def test_cooling_times(K, kT, t):
    assert cooling.cooling_time(K, kT) == pytest.approx(t, rel=1e-3)


def test_cooling_time_from_the_energy_in_a_volume():
    """Energy per cm³ over losses per cm³ and s, in SI constants."""
    kT, n_e = 3.0, 0.02
    energy = 1.5 * n_e * 1.92 * kT * 1e10 * constants.e  # erg: 1 keV is 1e10 e in erg
    losses = n_e * 0.92 * n_e * 1e-22 * (8.6e-3 * kT**-1.7 + 5.8e-2 * kT**0.5 + 6.3e-2)
    gyr = 1e9 * constants.Julian_year
    assert cooling.cooling_time(kT * n_e ** (-2 / 3), kT) == pytest.approx(energy / losses / gyr, rel=1e-6)


def test_cooling_time_goes_as_k_to_three_halves():
    K = np.array([5.0, 20, 80])
    np.testing.assert_allclose(cooling.cooling_time(K, 4.0) / K**1.5, cooling.cooling_time(1.0, 4.0))


def test_the_energy_equation_gives_the_same_rate_on_every_path():
    """d ln K/dt from d(energy) + p dV = -losses dt, at constant density and at constant pressure."""
    kT, n_e = 5.0, 0.01
    t_cool = cooling.cooling_time(kT * n_e ** (-2 / 3), kT)
    ln_T, ln_n = -1 / t_cool, 0.0  # constant volume: (3/2) d ln T/dt is the loss
    assert ln_T - 2 / 3 * ln_n == pytest.approx(-1 / t_cool)
    ln_T = -3 / 5 / t_cool  # constant pressure: the loss is of the enthalpy, (5/2) k_B T
    assert ln_T - 2 / 3 * (-ln_T) == pytest.approx(-1 / t_cool)


def test_collapse():
    assert cooling.bremsstrahlung_entropy(1, 50, 2) == pytest.approx(19.8425, abs=5e-5)
    assert cooling.bremsstrahlung_entropy(4 / 3, 50, 2) == pytest.approx(0, abs=1e-6)
    assert cooling.bremsstrahlung_entropy(2, 50, 2) == 0

    def t_cool(K):
        return 2 * (K / 50) ** 1.5

    euler = cooling.entropy_track(50, np.linspace(0, 1, 10_001), t_cool)
    assert euler[-1] == pytest.approx(19.845, abs=6e-4)
    exact = solve_ivp(lambda _, y: -1 / t_cool(np.exp(y)), (0, 1), [np.log(50)], rtol=1e-10, atol=1e-12)
    assert cooling.bremsstrahlung_entropy(1, 50, 2) == pytest.approx(np.exp(exact.y[0, -1]), rel=1e-8)


def test_heating_holds_and_raises():
    times = np.linspace(0, 1, 101)
    np.testing.assert_allclose(cooling.entropy_track(50, times, lambda K: 2.0, heating=1), 50)
    np.testing.assert_allclose(cooling.entropy_track(50, times, lambda K: 2.0, heating=3), 50 * np.exp(times))
