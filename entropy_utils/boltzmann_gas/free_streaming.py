"""Free motion between reflecting walls at x = 0 and x = 1, exact for any time; and the gas it starts from.

Units: m = k_B = T = 1, box length 1, time in L / v_th. Unfolded by its mirror images the box is a ring of length 2 on
which a free particle never turns: its right half is the box seen in the mirror.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from entropy_utils.lab.errors import ParameterError

PROFILES = ("step", "cosine")


def start(n: int, rng: np.random.Generator, profile: str = "step") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent particles x, vx, vy, (n,) each: Maxwellian velocities of temperature 1 and positions of a profile.

    profile: "step", the left half of the box filled evenly, or "cosine", of density 1 + cos(pi x). `ParameterError` for
    any other, and unless `n` is an integer from 1.
    """
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise ParameterError.of("n", n, "integer from 1")
    if profile not in PROFILES:
        raise ParameterError.of("profile", profile, " or ".join(map(repr, PROFILES)))
    x = rng.random(n)
    if profile == "step":
        x = x / 2
    else:  # both x and its mirror image come up: keep one of them in proportion to the density
        x = np.where(2 * rng.random(n) < 1 + np.cos(np.pi * x), x, 1 - x)
    return x, *rng.standard_normal((2, n))


def stream(x, vx, time) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities after free motion for a `time`, which may be negative, as new arrays.

    x in 0 to 1, vx finite and of the same shape; time: a finite number. `ParameterError` for anything else. vy, along
    the walls, does not change.
    """
    x, vx = particles(x=x, vx=vx)
    if np.ndim(time) or np.asarray(time).dtype.kind not in "iuf" or not np.isfinite(time):
        raise ParameterError.of("time", time, "finite number")
    ring = np.mod(x + vx * time, 2.0)
    mirrored = ring > 1
    return np.where(mirrored, 2 - ring, ring), np.where(mirrored, -vx, vx)


def particles(**columns: Any) -> list[np.ndarray]:
    """The columns of a set of particles as float64 arrays; `ParameterError` unless they have one shape, none is empty,
    `x` lies in 0 to 1, and all else is finite.
    """
    arrays = []
    for name, given in columns.items():
        column = np.asarray(given)
        if column.dtype.kind not in "iuf":
            raise ParameterError.of(name, given, "real numbers")
        if column.size == 0 or (arrays and column.shape != arrays[0].shape):
            raise ParameterError.of(name, column.shape, "one shape for all, not empty", "shape of field")
        low, high = (0.0, 1.0) if name == "x" else (-np.finfo(float).max, np.finfo(float).max)
        for value in (column.min().item(), column.max().item()):  # NaN is both
            if not low <= value <= high:
                raise ParameterError.of(name, value, "numbers from 0 to 1" if name == "x" else "finite numbers")
        arrays.append(column.astype(float, copy=False))
    return arrays
