"""From the gas cells of a TNG snapshot to the central entropy of a cluster (4.1).

The fields are those of PartType0 in code units, as a mapping by name: an h5py group, or what illustris_python returns.
InternalEnergy in (km/s)², ElectronAbundance n_e / n_H, Density in (1e10 Msun/h) / (ckpc/h)³, Coordinates and the box in
ckpc/h, Masses in 1e10 Msun/h, StarFormationRate in Msun/yr, GFM_CoolingRate in erg cm³/s, negative where gas cools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from entropy_utils.lab.errors import ParameterError

from . import cosmology
from .core_entropy import K_B, KEV, M_P, YEAR, xray_entropy
from .histories import PLAUSIBLE, warn_if_implausible

STATE = ("InternalEnergy", "ElectronAbundance", "Density", "GFM_CoolingRate")
X = 0.76  # hydrogen by mass
UNIT_MASS, UNIT_LENGTH = 1.989e43, 3.085678e21  # of the simulation's code, without h: g, cm
APERTURE, T_MIN = 0.012, 1e6  # of r500c; K
EXPECTED = {**PLAUSIBLE, "r500c": (0.05, 5.0, "Mpc"), "kT": (0.02, 100.0, "keV"), "n_e": (5e-4, 2.0, "cm^-3")}  # of a core


@dataclass(frozen=True)
class GasState:
    """Each cell's mean particle mass mu (proton masses), T (K), kT (keV), n_e (cm^-3), K (keV cm²) and t_cool (Gyr).

    t_cool is NaN where the gas does not cool, and everywhere if the cooling rate was not given.
    """

    mu: np.ndarray
    T: np.ndarray
    kT: np.ndarray
    n_e: np.ndarray
    K: np.ndarray
    t_cool: np.ndarray


@dataclass(frozen=True)
class Core:
    """The gas in the aperture: K0 and `arithmetic_K` (keV cm²), t_cool (Gyr), gas mass (Msun), cells used and left out.

    K0 is the exponential of the mass-weighted mean of ln K, so that its logarithm is the mean specific entropy;
    `arithmetic_K` is the mean of K itself, which a few hot cells dominate. t_cool is averaged like K0 over the cells
    that cool.
    """

    K0: float
    arithmetic_K: float
    t_cool: float
    gas_mass: float
    cells: int
    left_out: int


def gas_state(gas: Mapping, z: float = 0.0) -> GasState:
    """Temperature, density, entropy and cooling time of gas cells at redshift z.

    Needs InternalEnergy, ElectronAbundance, Density; uses GFM_CoolingRate if it is there. Star-forming cells are on an
    effective equation of state: what comes out for them means nothing. Raises `ParameterError` for a missing field and
    for values that are not above 0.
    """
    u, x_e, density = (values(gas, name) for name in ("InternalEnergy", "ElectronAbundance", "Density"))
    mu = 4 / (1 + 3 * X + 4 * X * x_e)
    T = 2 / 3 * u * 1e10 * mu * M_P / K_B
    rho = density * UNIT_MASS / cosmology.h / (UNIT_LENGTH / (1 + z) / cosmology.h) ** 3  # physical, g / cm³
    n_e = X * x_e * rho / M_P
    kT = T * K_B / KEV
    rate = np.asarray(gas["GFM_CoolingRate"], float) if "GFM_CoolingRate" in gas else np.zeros_like(u)
    losses = np.where(rate < 0, -rate, np.nan) * X**2 * rho / M_P**2  # erg / g / s
    return GasState(mu, T, kT, n_e, xray_entropy(kT, n_e), u * 1e10 / losses / (1e9 * YEAR))


def radii(coordinates, centre, box: float, z: float = 0.0) -> np.ndarray:
    """Distance of points from the centre in physical kpc, the shortest one through the periodic box; all in ckpc/h."""
    offset = np.asarray(coordinates, float) - np.asarray(centre, float)
    offset -= box * np.round(offset / box)
    return np.linalg.norm(offset, axis=-1) / (1 + z) / cosmology.h


def central_entropy(
    gas: Mapping, centre, r500c: float, box: float, z: float = 0.0, aperture: float = APERTURE, T_min: float = T_MIN
) -> Core:
    """The core of a cluster: hot cells (T > T_min) that form no stars, within aperture * r500c (Mpc) of the centre.

    `centre` is the potential minimum. Our choice of weights: the paper's are not known. Raises `ParameterError` if no
    cell is left; warns if r500c, temperature, density or entropy looks like another unit.
    """
    warn_if_implausible("r500c", r500c, EXPECTED)
    inside = radii(values(gas, "Coordinates", above=None), centre, box, z) < aperture * 1000 * r500c
    if not inside.any():
        raise ParameterError.of("r500c", r500c, f"Mpc, with a cell within {aperture:g} of it; are centre and box in ckpc/h?")
    state = gas_state({name: np.asarray(gas[name])[inside] for name in STATE if name in gas}, z)
    forming = values(gas, "StarFormationRate", above=None)[inside] > 0
    for name in ("kT", "n_e"):
        if not forming.all():
            warn_if_implausible(name, getattr(state, name)[~forming], EXPECTED)
    used = (T_min < state.T) & ~forming
    if not used.any():
        allowed = f"K, with one of the {inside.sum()} cells in the aperture hotter and starless"
        raise ParameterError.of("T_min", T_min, allowed)
    mass, K, t_cool = values(gas, "Masses")[inside][used], state.K[used], state.t_cool[used]
    cools = np.isfinite(t_cool)
    K0 = np.exp(np.average(np.log(K), weights=mass))
    warn_if_implausible("K0", K0, EXPECTED)
    return Core(
        K0=float(K0),
        arithmetic_K=float(np.average(K, weights=mass)),
        t_cool=float(np.exp(np.average(np.log(t_cool[cools]), weights=mass[cools]))) if cools.any() else np.nan,
        gas_mass=float(mass.sum() * 1e10 / cosmology.h),
        cells=int(used.sum()),
        left_out=int(inside.sum() - used.sum()),
    )


def entropy_profile(
    gas: Mapping, centre, box: float, edges, z: float = 0.0, T_min: float = T_MIN
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radius (kpc), entropy and its error (keV cm²) of shells between the edges (kpc), as `profiles.fit_profile` wants them.

    Cells as in `central_entropy`; K is the exponential of the mass-weighted mean of ln K, its error that of the mean. The
    radius of a shell is the geometric mean of its edges. Shells with fewer than 10 cells are left out.
    """
    distance = radii(values(gas, "Coordinates", above=None), centre, box, z)
    state, mass = gas_state(gas, z), values(gas, "Masses")
    used = (T_min < state.T) & (values(gas, "StarFormationRate", above=None) <= 0)
    shell, points = np.digitize(distance, edges) - 1, []
    for number, (inner, outer) in enumerate(pairwise(edges)):
        inside = used & (shell == number)
        if inside.sum() < 10:
            continue
        w, ln_K = mass[inside] / mass[inside].sum(), np.log(state.K[inside])
        mean = w @ ln_K
        error = np.sqrt(w @ (ln_K - mean) ** 2 * (w @ w))
        points.append((np.sqrt(inner * outer), np.exp(mean), np.exp(mean) * error))
    if not points:
        raise ParameterError.of("edges", list(edges), "kpc, with a shell of at least 10 hot cells that form no stars")
    return tuple(np.array(points).T)


def values(gas: Mapping, name: str, above: float | None = 0.0) -> np.ndarray:
    """One field as floats; `ParameterError` if it is missing, not finite, or not above a bound."""
    if name not in gas:
        raise ParameterError.of("gas", sorted(gas), f"fields with {name} among them")
    found = np.asarray(gas[name], float)
    wrong = ~np.isfinite(found) if above is None else ~(found > above) | ~np.isfinite(found)
    if wrong.any():
        allowed = "finite numbers" if above is None else f"finite numbers above {above:g}"
        raise ParameterError.of(name, float(found[wrong][0]), f"{allowed}; {wrong.sum()} of {found.size} are not")
    return found
