"""One core after another through time: the step of the `population` model, plainly in numpy and compiled.

A core is ln K, its central entropy (K in keV cm²). In a time dt radiation takes dt / t_cool from it, mergers add what was
planned for them, and the AGN adds discrete pulses whose mean is g dt / t_cool: g > 1 heats more than is lost, g < 1 less.
Both forms use the same random numbers, so they follow the same paths, except that a core that cools amplifies what rounding
does to its last digit, by exp(1.5 t / t_cool): a few of many part in the end. The model is our choice, not the paper's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import stats

from .cooling import C1, C2, C3, IONS, cooling_time
from .core_entropy import KEV, YEAR
from .cosmology import E

COOLING_UNIT = 1.5 * (1 + IONS) / IONS * KEV / 1e-22 / (1e9 * YEAR)  # of t_cool in Gyr
MOST_PULSES = 200.0  # mean number in a step; a core at the floor has about 60 in 0.01 Gyr


class Rules(NamedTuple):
    """What the steps need of a `Population`, under the same names."""

    dt: float
    cooling: bool
    agn: bool
    g_on: float
    g_off: float
    K_floor: float
    pulse: float
    rate_on: float
    tau_on: float
    boost_rate: float
    ceiling: float
    K_min: float


class Planned(NamedTuple):
    """What is drawn before the steps, for n clusters and s steps: heat (n, s) that mergers add to ln K in a step, boosted
    (n, s) whether an AGN-boost window is open, switch and pulses (n, s) uniform random numbers."""

    heat: np.ndarray
    boosted: np.ndarray
    switch: np.ndarray
    pulses: np.ndarray


def core_temperature(mass, K):
    """k T in keV of a core of entropy K (keV cm²) in a cluster of M500c = `mass` (Msun): a fit at z = 0."""
    return 6.74 * (mass / 10**14.6) ** 0.48 * (K / 100) ** 0.10


def virial_entropy(mass, z):
    """The self-similar scale K500 in keV cm² of a cluster of M500c = `mass` (Msun); here only a ceiling of heating."""
    return 375 * (mass / 1e14) ** (2 / 3) * E(z) ** (-2 / 3)


def follow_plain(lnK, on, mass, growth, z, planned: Planned, rules: Rules, at) -> tuple[np.ndarray, np.ndarray]:
    """ln K (n, m) at the steps `at`, and pulses (n, m - 1) between them, of n cores through s steps.

    lnK, on: (n,) at the start, entropy and whether the AGN's switch is on; mass, growth: (n,) M500c = mass exp(-growth z);
    z: (s,) redshift of each step; at: (m,) steps, increasing, up to s: the state before that step.
    """
    seen = np.empty((len(lnK), len(at)))
    pulses = np.zeros((len(lnK), len(at) - 1), np.int64)
    q, interval = rules, -1
    for step in range(at[-1] + 1):
        if step == at[interval + 1]:
            interval += 1
            seen[:, interval] = lnK
        if step == at[-1]:
            return seen, pulses
        K, M = np.exp(lnK), mass * np.exp(-growth * z[step])
        t_cool = cooling_time(K, core_temperature(M, K))
        free = np.clip(1 - K / (q.ceiling * virial_entropy(M, z[step])), 0, 1)
        change = planned.heat[:, step] * free
        if q.cooling:
            change = change - q.dt / t_cool
        if q.agn:
            rate, u = q.rate_on + q.boost_rate * planned.boosted[:, step], planned.switch[:, step]
            on = np.where(on, u >= q.dt / q.tau_on, u < rate * q.dt)
            g = np.where(on, q.g_on, q.g_off) + (K / q.K_floor) ** -1.5
            mean = np.minimum(g * q.dt / (q.pulse * t_cool), MOST_PULSES)
            count = stats.poisson.ppf(planned.pulses[:, step], mean)
            change = change + q.pulse * count * free
            pulses[:, max(interval, 0)] += count.astype(np.int64)
        lnK = np.maximum(lnK + change, math.log(q.K_min))
    raise AssertionError("unreachable: the last of `at` is the last step")


def follow(lnK, on, mass, growth, z, planned: Planned, rules: Rules, at) -> tuple[np.ndarray, np.ndarray]:
    """The same as `follow_plain`, compiled."""
    seen = np.empty((len(lnK), len(at)))
    pulses = np.zeros((len(lnK), len(at) - 1), np.int64)
    scale = np.log(375.0) - (2 / 3) * np.log(E(z))
    _follow(lnK, on, np.log(mass), growth, z, scale, *planned, rules, at, seen, pulses)
    return seen, pulses


@njit(cache=True)
def _cooling_time(lnK, ln_kT):
    """`cooling.cooling_time`, Gyr."""
    kT = math.exp(ln_kT)
    cooling_function = C1 * math.exp(-1.7 * ln_kT) + C2 * math.sqrt(kT) + C3  # 1e-22 erg cm³ / s
    return COOLING_UNIT * kT * math.exp(1.5 * (lnK - ln_kT)) / cooling_function


@njit(cache=True)
def _poisson(u, mean):
    """The number whose cumulative Poisson probability first reaches u."""
    p = math.exp(-mean)
    total, k = p, 0
    while u > total and k < 5 * MOST_PULSES:
        k += 1
        p *= mean / k
        total += p
    return k


@njit(cache=True)
def _follow(start, start_on, ln_mass, growth, z, scale, heat, boosted, switch, pulse, q, at, seen, pulses):
    for i in range(start.size):
        lnK, on, interval = start[i], start_on[i], 0
        seen[i, 0] = lnK
        for step in range(at[0], at[-1]):
            if step == at[interval + 1]:
                interval += 1
                seen[i, interval] = lnK
            lnM = ln_mass[i] - growth[i] * z[step]
            ln_kT = math.log(6.74) + 0.48 * (lnM - 14.6 * math.log(10.0)) + 0.10 * (lnK - math.log(100.0))
            t_cool = _cooling_time(lnK, ln_kT)
            most = q.ceiling * math.exp(scale[step] + (2 / 3) * (lnM - 14.0 * math.log(10.0)))
            free = min(max(1.0 - math.exp(lnK) / most, 0.0), 1.0)
            change = heat[i, step] * free
            if q.cooling:
                change -= q.dt / t_cool
            if q.agn:
                u = switch[i, step]
                on = u >= q.dt / q.tau_on if on else u < (q.rate_on + q.boost_rate * boosted[i, step]) * q.dt
                g = (q.g_on if on else q.g_off) + math.exp(-1.5 * (lnK - math.log(q.K_floor)))
                count = _poisson(pulse[i, step], min(g * q.dt / (q.pulse * t_cool), MOST_PULSES))
                change += q.pulse * count * free
                pulses[i, interval] += count
            lnK = max(lnK + change, math.log(q.K_min))
        seen[i, at.size - 1] = lnK
