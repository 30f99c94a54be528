"""Made-up tables and gas cells in the form of the real ones, for readers who do not have these. Nothing is a real cluster.

The tables are drawn from a summary of the real ones (means, spreads, a few laws), so that figures look alike; class counts
and mixture fits that come out of them test nothing about the real clusters.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import cosmology
from .classes import by_cooling_time
from .core_entropy import KEV, M_P, electron_density
from .gas_cells import UNIT_LENGTH, UNIT_MASS, X
from .population import catalogue_like
from .profiles import profile

LAW = (-1.86, 1.40, -0.64, 0.062)  # log10 t_cool (Gyr) = a + b log10 K0 + c log10 kT, and the scatter: fit to the real table


def tng_stand_in(seed: int = 0, n: int = 352) -> pd.DataFrame:
    """n made-up cores at z = 0 with the columns of `catalogues.read_tng_catalogue` that the figures use.

    log10 K0 is normal (1.97, 0.41) and rises with mass and falls with z_form as in the real table; the temperature follows
    mass and K0, the cooling time K0 and temperature, each with its scatter.
    """
    rng = np.random.default_rng(seed)
    table = catalogue_like(n, rng)
    mass, z_form = table["log10_m500c_msun"], table["z_form"]
    log_K = 1.97 + 0.22 * 0.41 * (mass - 14.636) / 0.267 - 0.33 * 0.41 * (z_form - 0.477) / 0.217
    log_K += np.sqrt(1 - 0.22**2 - 0.33**2) * 0.41 * rng.standard_normal(n)
    log_kT = np.log10(6.74) + 0.48 * (mass - 14.6) + 0.10 * (log_K - 2) + 0.107 * rng.standard_normal(n)
    a, b, c, scatter = LAW
    t_cool = 10 ** (a + b * log_K + c * log_kT + scatter * rng.standard_normal(n))
    number = by_cooling_time(t_cool)
    return table.assign(
        halo_id=np.arange(n),
        k0_kev_cm2=10**log_K,
        kT_kev=10**log_kT,
        log10_ne0_cm3=1.5 * (log_kT - log_K),
        t_cool0_gyr=t_cool,
        cc_class=number,
        cc_flag=np.array(["CC", "WCC", "NCC"])[number],
    )


def accept_stand_in(seed: int = 0, n: int = 240) -> pd.DataFrame:
    """n made-up profiles with the columns of `catalogues.read_accept` that the figures use.

    log10 K0 comes from two normals around 15.3 and 134 keV cm², the fit to the real table.
    """
    rng = np.random.default_rng(seed)
    low = rng.random(n) < 0.41
    log_K = np.where(low, rng.normal(np.log10(15.3), 0.19, n), rng.normal(np.log10(134), 0.29, n))
    return pd.DataFrame(
        {
            "cluster": [f"made_up_{number}" for number in range(n)],
            "r_max_mpc": rng.uniform(0.1, 0.6, n),
            "k0_flat": 10**log_K,
            "k100_flat": 10 ** rng.normal(np.log10(120), 0.15, n),
            "alpha_flat": np.clip(rng.normal(1.21, 0.3, n), 0.4, 2.8),
            "k0_extr": 10**log_K * rng.uniform(0.6, 1.0, n),
        }
    )


def gas_stand_in(
    K0: float, K100: float, alpha: float, kT: float, box: float, seed: int = 0, n: int = 40_000, z: float = 0.0
) -> dict[str, np.ndarray]:
    """n made-up gas cells of equal mass within 500 kpc of the corner of a periodic box (ckpc/h), as fields of PartType0.

    Their entropies are the profile's with a scatter of 0.3 in ln K, at one temperature (keV). One cell in a hundred is cold
    and forms stars, which a reader of such cells has to leave out.
    """
    rng = np.random.default_rng(seed)
    edges = np.geomspace(0.5, 500, 400)  # kpc
    middle = np.sqrt(edges[1:] * edges[:-1])
    mass = electron_density(kT, profile(middle, K0, K100, alpha)) * np.diff(edges**3)
    share = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
    r = np.interp(rng.random(n), share, edges)
    way = rng.standard_normal((n, 3))
    n_e = electron_density(kT, profile(r, K0, K100, alpha) * np.exp(0.3 * rng.standard_normal(n)))
    x_e = 1.158
    u = kT * KEV / (2 / 3 * M_P * 4 / (1 + 3 * X + 4 * X * x_e)) / 1e10
    cell = (UNIT_LENGTH / (1 + z)) ** 3 / UNIT_MASS / cosmology.h**2  # code density per g / cm³
    forming = rng.random(n) < 0.01
    return {
        "Coordinates": way / np.linalg.norm(way, axis=1, keepdims=True) * r[:, None] * (1 + z) * cosmology.h % box,
        "InternalEnergy": np.where(forming, 1e2, u),
        "ElectronAbundance": np.full(n, x_e),
        "Density": n_e * M_P / (X * x_e) * cell,
        "Masses": np.full(n, 1e-3),
        "StarFormationRate": np.where(forming, 0.1, 0.0),
    }
