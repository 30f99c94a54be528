"""The observer: cells of position and velocity, how many particles each holds, and the entropy of these numbers.

Boltzmann's entropy of a microstate is the logarithm of the phase volume of all microstates with the same numbers N_a in
cells of volume D: S_B = sum_a (N_a ln D - ln N_a!). The cells are all alike and N is fixed, so only - sum_a ln N_a!
changes. Units: m = k_B = T = 1, box length 1; entropies in nats per particle.

Sources: the definition is that of Garrido, Goldstein, Huse and Lebowitz, arXiv 2403.07519, and of Goldstein and Lebowitz,
cond-mat/0304251; the rest is derived in notebook 01.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
from pydantic import Field, field_validator, model_validator

from entropy_utils import information
from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Parameters

from .free_streaming import particles
from .theory import hydrodynamic_entropy

MOST_CELLS = 10_000_000

ESTIMATORS = {
    "plug_in": information.plug_in_entropy,
    "miller_madow": information.miller_madow_entropy,
    "factorial": information.exact_factorial_entropy,
}


class Cells(Parameters):
    """Cells of one-particle phase space: `nx` in x, of velocity edges at the multiples of `dv` (x) and `dvy` (y).

    v = 0 is an edge, and so is x = 1/2, where the wall stood: with an odd `nx` entropy would rise at once for no reason.
    Velocity cells reach to the first edge at or beyond `largest`; what is faster counts in the outermost ones.
    """

    nx: int = Field(32, ge=2, le=100_000, description="position cells, an even number")
    dv: float = Field(0.5, ge=1e-6, description="width of the cells of v_x", json_schema_extra={"unit": "v_th"})
    dvy: float = Field(1.0, ge=1e-6, description="width of the cells of v_y", json_schema_extra={"unit": "v_th"})
    largest: float = Field(
        6.0, gt=0, le=1000, description="velocity up to which there are cells", json_schema_extra={"unit": "v_th"}
    )

    @field_validator("nx")
    @classmethod
    def _edge_at_the_wall(cls, nx: int) -> int:
        if nx % 2:
            raise ValueError("an even number, so that the wall at x = 1/2 is an edge")
        return nx

    @model_validator(mode="after")
    def _fits(self):
        if math.prod(self.shape) > MOST_CELLS:
            raise ValueError(f"nx, dv, dvy, largest make {math.prod(self.shape)} cells, allowed: at most {MOST_CELLS}")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of cells along x, v_x and v_y."""
        # 2.1 / 0.3 is a little above 7 in floating point
        return self.nx, *(2 * math.ceil(self.largest / width * (1 - 1e-12)) for width in (self.dv, self.dvy))

    def index(self, x, vx, vy) -> np.ndarray:
        """Number of the cell of each particle, in the order of the flat occupations. Arguments as of `occupations`."""
        x, vx, vy = particles(x=x, vx=vx, vy=vy)
        nx, nvx, nvy = self.shape
        return (_position(x, nx) * nvx + _velocity(vx, self.dv, nvx)) * nvy + _velocity(vy, self.dvy, nvy)

    def occupations(self, x, vx, vy) -> np.ndarray:
        """How many particles each cell holds, int64 of `shape`.

        x in 0 to 1, vx and vy finite, arrays of one shape; `ParameterError` names what is not.
        """
        cells = math.prod(self.shape)
        return np.bincount(self.index(x, vx, vy).ravel(), minlength=cells).reshape(self.shape).astype(np.int64, copy=False)


def entropy(counts, estimator: str = "miller_madow") -> float:
    """Entropy in nats per particle of occupations (any shape), up to a constant of the cells and of N.

    estimator: "factorial", ln(N! / prod N_a!) / N, changes exactly as Boltzmann's entropy S_B / N of this very
    microstate does; "plug_in", of the shares N_a / N, is its Stirling form; "miller_madow" adds (occupied cells - 1) / 2N
    to that, which takes off most of the bias against infinitely many particles. Only differences between states of the
    same N in the same cells mean anything. `ParameterError` for another estimator and for what are no counts.
    """
    if estimator not in ESTIMATORS:
        raise ParameterError.of("estimator", estimator, " or ".join(map(repr, ESTIMATORS)))
    try:
        return float(ESTIMATORS[estimator](counts, axis=None))
    except ValueError as error:
        raise ParameterError(f"field {error}") from None


def count_change(counts, leave: Iterable[int], enter: Iterable[int]) -> float:
    """Exact change of S_B = -sum ln N_a!, in nats (not per particle), when particles move between cells, as in a collision.

    counts: occupations before, of any shape, not changed; leave, enter: numbers of the cells, flat as from `Cells.index`,
    that lose and that get one particle each: first all leave, then all enter. `ParameterError` for more of one than of the
    other, a cell that does not exist, and a particle that leaves an empty cell.
    """
    counts, leave, enter = np.asarray(counts).ravel(), list(leave), list(enter)
    if len(leave) != len(enter):
        raise ParameterError.of("enter", enter, f"as many cells as leave, {len(leave)}")
    change, moved = 0.0, Counter()
    for field, cells, step in (("leave", leave, -1), ("enter", enter, 1)):
        for cell in cells:
            if not isinstance(cell, (int, np.integer)) or not 0 <= cell < len(counts):
                raise ParameterError.of(field, cell, f"integers from 0 to {len(counts) - 1}")
            before = int(counts[cell]) + moved[cell]
            moved[cell] += step
            if before + step < 0:
                raise ParameterError.of("leave", cell, "cells with a particle left in them")
            change += math.log(before) if step < 0 else -math.log(before + 1)
    return change


def hydrodynamic_entropy_of(x, vx, vy, nx: int) -> float:
    """Entropy per particle of the gas that is in local equilibrium with what a microstate shows in `nx` position cells.

    Density and temperature per cell; the temperature is half the unbiased variance of vx plus that of vy. Arguments as of
    `Cells.occupations`. Empty cells contribute 0; a particle alone in its cell, which has no temperature, is given that of
    the whole gas. Too low by about nx / N on average. Only differences at equal N and nx mean anything.
    """
    if not isinstance(nx, (int, np.integer)) or isinstance(nx, bool) or nx < 1:
        raise ParameterError.of("nx", nx, "integer from 1")
    x, vx, vy = (column.ravel() for column in particles(x=x, vx=vx, vy=vy))
    cell = _position(x, nx)
    n = np.bincount(cell, minlength=nx)
    squares = np.zeros(nx)
    for v in (vx, vy):
        mean = np.bincount(cell, v, nx) / np.maximum(n, 1)
        squares += np.bincount(cell, (v - mean[cell]) ** 2, nx)
    temperature = np.where(n > 1, squares / 2 / np.maximum(n - 1, 1), (vx.var() + vy.var()) / 2)
    return float(hydrodynamic_entropy(n / len(x), temperature, 1 / nx))


def _position(x: np.ndarray, nx: int) -> np.ndarray:
    return np.minimum((x * nx).astype(np.int64), nx - 1)  # x = 1 lies in the last cell


def _velocity(v: np.ndarray, width: float, cells: int) -> np.ndarray:
    return np.clip(np.floor(v / width), -cells // 2, cells // 2 - 1).astype(np.int64) + cells // 2
