"""The flat universe of TNG: age and redshift in closed form (brief 3.7)."""

from __future__ import annotations

import numpy as np

h, Om, OL = 0.6774, 0.3089, 0.6911  # Hubble constant / (100 km/s/Mpc), matter, cosmological constant
H0 = 100 * h / 977.8  # per Gyr


def E(z):
    """H(z) / H0."""
    return np.sqrt(Om * (1 + np.asarray(z, float)) ** 3 + OL)


def age(z):
    """Age of the universe at redshift z, Gyr: the solution of dt = -dz / ((1 + z) H(z)) for a flat universe."""
    return 2 / (3 * H0 * np.sqrt(OL)) * np.arcsinh(np.sqrt(OL / Om) * (1 + np.asarray(z, float)) ** -1.5)


def redshift(t):
    """Redshift at the age t (Gyr): the inverse of `age`."""
    return (np.sqrt(OL / Om) / np.sinh(1.5 * H0 * np.sqrt(OL) * np.asarray(t, float))) ** (2 / 3) - 1


def redshift_rate(z):
    """-dz/dt, per Gyr: (1 + z) H(z)."""
    return (1 + np.asarray(z, float)) * H0 * E(z)
