"""How often haloes merge: the mean rate of Fakhouri, Ma & Boylan-Kolchin (2010), and mass ratios drawn from it (3.7)."""

from __future__ import annotations

from functools import cache

import numpy as np

from entropy_utils.lab.errors import ParameterError

from . import cosmology

A, XI0, a, b, c, e = 0.0104, 9.72e-3, 0.133, -1.995, 0.263, 0.0993
GRID = 4001  # of the table of the shape; 1e-6 of its integral


def shape(xi):
    """Mergers by mass ratio, d²N/dxi dz up to a factor: xi^b exp((xi / XI0)^c)."""
    return np.power(xi, b) * np.exp((np.asarray(xi, float) / XI0) ** c)


@cache
def ratio_table(xi_min: float) -> tuple[np.ndarray, np.ndarray]:
    """ln xi from xi_min to 1, and the integral of the shape from xi_min up to each (trapezoids in ln xi)."""
    if not 0 < xi_min < 1:
        raise ParameterError.of("xi_min", xi_min, "above 0 and below 1")
    ln_xi = np.linspace(np.log(xi_min), 0, GRID)
    density = shape(np.exp(ln_xi)) * np.exp(ln_xi)
    steps = (density[1:] + density[:-1]) / 2 * np.diff(ln_xi)
    return ln_xi, np.concatenate([[0.0], np.cumsum(steps)])


def integral(xi_min: float) -> float:
    """I(xi_min): the integral of the shape from xi_min to 1."""
    return float(ratio_table(xi_min)[1][-1])


def merger_rate(mass, z, xi_min: float):
    """Mergers above xi_min per Gyr of a halo of this mass (Msun, as it is at z)."""
    per_redshift = A * (np.asarray(mass, float) / 1e12) ** a * integral(xi_min) * (1 + np.asarray(z, float)) ** e
    return per_redshift * cosmology.redshift_rate(z)


def expected_mergers(mass, t_from, t_to, xi_min: float):
    """Mean number of mergers above xi_min between two ages (Gyr) at constant mass: the integral of `merger_rate`."""
    early, late = (1 + cosmology.redshift(t) for t in (t_from, t_to))
    return A * (np.asarray(mass, float) / 1e12) ** a * integral(xi_min) * (early ** (1 + e) - late ** (1 + e)) / (1 + e)


def mass_ratios(u, xi_min: float) -> np.ndarray:
    """Mass ratios from uniform numbers u in [0, 1]: the inverse of the cumulative shape above xi_min."""
    ln_xi, cumulative = ratio_table(xi_min)
    return np.exp(np.interp(np.asarray(u, float) * cumulative[-1], cumulative, ln_xi))
