"""Entropy of a monatomic ideal gas per particle, and K = kT n^(-2/3), what astrophysicists call entropy.

Entropies are in units of k_B per particle. Sources: Sackur 1911, Tetrode 1912; the constants are exact since the SI of
2019; for K, Voit 2005, Rev. Mod. Phys. 77, 207.
"""

from __future__ import annotations

import numpy as np

BOLTZMANN = 1.380649e-23  # J/K
PLANCK = 6.62607015e-34  # J s
AVOGADRO = 6.02214076e23  # 1/mol
DALTON = 1.66053906660e-27  # kg (CODATA 2018)
KEV = 1.602176634e-16  # J


def sackur_tetrode(temperature, density, mass):
    """S / (N k_B) = ln(V / N lambda^3) + 5/2 with lambda = h / sqrt(2 pi m k_B T), the thermal wavelength.

    `temperature` in K, `density` in particles per m^3, `mass` of a particle in kg. Holds while n lambda^3 is small.
    """
    temperature, density = _positive("temperature", temperature), _positive("density", density)
    wavelength = PLANCK / np.sqrt(2 * np.pi * _positive("mass", mass) * BOLTZMANN * temperature)
    return 2.5 - np.log(density * wavelength**3)


def adiabat(kt, density):
    """K = kT n^(-2/3) in keV cm^2, from kT in keV and the density in cm^-3: constant as long as no heat flows."""
    return _positive("kt", kt) * _positive("density", density) ** (-2 / 3)


def entropy_gain(k_before, k_after):
    """Change of entropy per particle, (3/2) ln(K_after / K_before), in units of k_B."""
    return 1.5 * np.log(_positive("k_after", k_after) / _positive("k_before", k_before))


def _positive(name, value):
    value = np.asarray(value, float)
    if not ((value > 0) & np.isfinite(value)).all():
        raise ValueError(f"{name}: got {value}, allowed: finite numbers above 0")
    return value[()]
