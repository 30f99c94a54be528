"""The X-ray entropy K = k_B T n_e^(-2/3), what it has to do with thermodynamic entropy, and black-hole feeding (3.2, 3.4).

Units: temperatures kT in keV, densities in cm^-3, K in keV cm², times in Gyr, masses in Msun.
"""

from __future__ import annotations

import numpy as np

KEV, K_B, M_P, M_E = 1.602176634e-9, 1.380649e-16, 1.67262192e-24, 9.1093837e-28  # erg; erg/K; g; g
G, H_P, MSUN, YEAR = 6.6743e-8, 6.62607015e-27, 1.98841e33, 3.15576e7  # cgs; erg s; g; s
MU, MU_E = 0.588, 1.136  # mass per particle and per electron (proton masses) of ionised gas with 76 % hydrogen
SPECIES = ((1.0, M_E, 2), (0.8636, M_P, 2), (0.0682, 3.9726 * M_P, 1))  # e, H+, He++: number per electron, mass, spin states


def xray_entropy(kT, n_e):
    """K = k_B T n_e^(-2/3), keV cm²."""
    return np.asarray(kT, float) * np.asarray(n_e, float) ** (-2 / 3)


def electron_density(kT, K):
    """The density (cm^-3) that gas of this temperature and entropy has: (k_B T / K)^(3/2)."""
    return (np.asarray(kT, float) / K) ** 1.5


def entropy_change(K1, K2):
    """Change of the thermodynamic entropy per particle, in k_B: (3/2) ln(K2 / K1) at fixed composition."""
    return 1.5 * np.log(np.asarray(K2, float) / K1)


def sackur_tetrode(kT, n_e):
    """Entropy per particle (k_B) of ionised hydrogen and helium at this state, summed over electrons and ions.

    Each species of density n has ln(states / (n lambda³)) + 5/2 per particle, lambda its thermal wave length. This is
    the definition that K stands for: differences are those of `entropy_change`.
    """
    total, particles = 0.0, 0.0
    for share, mass, states in SPECIES:
        wave = H_P / np.sqrt(2 * np.pi * mass * np.asarray(kT, float) * KEV)
        total = total + share * (np.log(states / (share * np.asarray(n_e, float) * wave**3)) + 2.5)
        particles += share
    return total / particles


def particles(gas_mass):
    """Number of electrons and ions in a mass of gas (Msun)."""
    return np.asarray(gas_mass, float) * MSUN / (MU * M_P)


def heat(gas_mass, kT, K1, K2):
    """Heat (erg) that raises this gas from K1 to K2 at the temperature kT: k_B T times the change of entropy."""
    return particles(gas_mass) * np.asarray(kT, float) * KEV * entropy_change(K1, K2)


def bondi_rate(black_hole, K):
    """Bondi accretion (Msun / yr) of a black hole (Msun): it depends on the gas through K^(-3/2) alone.

    4 pi G² M² rho / c_s³ with rho = mu_e m_p n_e and c_s² = (5/3) k_B T / (mu m_p).
    """
    per_entropy = MU_E * M_P * (5 / (3 * MU * M_P)) ** -1.5
    rate = 4 * np.pi * (G * np.asarray(black_hole, float) * MSUN) ** 2 * per_entropy * (np.asarray(K, float) * KEV) ** -1.5
    return rate * YEAR / MSUN


def accept_cooling_time(K0, kT):
    """ACCEPT's rule of thumb for the central cooling time, Gyr: 0.1 (K0 / 10)^(3/2) (kT / 5)^(-1)."""
    return 0.1 * (np.asarray(K0, float) / 10) ** 1.5 * 5 / np.asarray(kT, float)


def accept_entropy(t_cool, kT):
    """The entropy that has this cooling time (Gyr) by ACCEPT's rule: its inverse."""
    return 10 * (10 * np.asarray(t_cool, float) * np.asarray(kT, float) / 5) ** (2 / 3)
