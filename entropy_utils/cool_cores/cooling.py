"""How fast hot gas cools, and what that does to its entropy: d ln K / dt = -1 / t_cool + heating (3.3).

Units as in `core_entropy`: keV, keV cm², Gyr.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .core_entropy import KEV, YEAR, electron_density

C1, C2, C3 = 8.6e-3, 5.8e-2, 6.3e-2  # lines, bremsstrahlung, constant; fit for 0.3 solar metals
IONS = 0.92  # per electron


def cooling_function(kT):
    """Lambda(T), erg cm³ / s, normalised to n_e n_i: the fit of Tozzi & Norman (2001) for 0.3 solar metals."""
    kT = np.asarray(kT, float)
    return 1e-22 * (C1 * kT**-1.7 + C2 * kT**0.5 + C3)


def cooling_time(K, kT):
    """t_cool = (3/2) (n_e + n_i) k_B T / (n_e n_i Lambda), Gyr, of gas with this entropy and temperature.

    It is the time scale of ln K on every path, at constant pressure too.
    """
    n_e = electron_density(kT, K)
    seconds = 1.5 * (1 + IONS) * np.asarray(kT, float) * KEV / (IONS * n_e * cooling_function(kT))
    return seconds / (1e9 * YEAR)


def bremsstrahlung_entropy(t, K_start, t_cool):
    """K after the time t of cooling by bremsstrahlung alone at fixed temperature, from K_start with t_cool: exact.

    There t_cool goes as K^(3/2), so that K = K_start (1 - (3/2) t / t_cool)^(2/3): nothing is left after (2/3) t_cool.
    """
    return K_start * np.maximum(1 - 1.5 * np.asarray(t, float) / t_cool, 0) ** (2 / 3)


def entropy_track(K_start: float, times, cooling_time: Callable[[float], float], heating: float = 0.0) -> np.ndarray:
    """K at each of the times (Gyr), from K_start at the first: d ln K / dt = (heating - 1) / t_cool(K), explicit Euler.

    `heating` is in units of the cooling: 1 holds K, 0 lets it collapse. `cooling_time` maps K to Gyr.
    """
    ln_K = [np.log(K_start)]
    for step in np.diff(times):
        ln_K.append(ln_K[-1] + step * (heating - 1) / cooling_time(np.exp(ln_K[-1])))
    return np.exp(ln_K)
