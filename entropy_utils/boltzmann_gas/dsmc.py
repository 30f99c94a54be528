"""Direct simulation Monte Carlo of the Boltzmann equation: a dilute gas of hard discs between two reflecting walls.

Units: m = k_B = T = 1, walls at x = 0 and x = 1, time in L / v_th; the gas is homogeneous in y, so y is not stored.
The collision frequency of a particle at the final density and T = 1 is nu = kappa sqrt(pi), kappa = 2 sigma n =
1 / (sqrt(2) Kn); Kn is the mean free path at that density, in box lengths, and Kn = inf means no collisions.

A step is half of its free motion, its collisions, and the other half (Strang 1968, SIAM J. Numer. Anal. 5, 506): the
error is of second order in the step. Collisions are drawn cell by cell in Bird's no-time-counter scheme: of the pairs
of a cell a number proportional to a bound on the relative speed is tried, and each collides with probability relative
speed / bound. The particles are stored sorted by cell, so that the pairs of a cell lie close together in memory; hence
a particle has no lasting index.

Source: G. A. Bird, Molecular Gas Dynamics and the Direct Simulation of Gas Flows, Oxford 1994. The random numbers are
SplitMix64: Steele, Lea and Flood 2014, OOPSLA.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numba import njit

from entropy_utils.lab.errors import ParameterError

SMALLEST_KN = 1e-6
FEWEST_CELLS = 64  # however long the mean free path: they must resolve the profile of the gas, too
GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the stride of the counter
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S27, S30, S31 = (np.uint64(shift) for shift in (11, 27, 30, 31))  # an int would turn the product into a float


@njit(cache=True)
def uniform(counter):
    """SplitMix64: the number in [0, 1) at a 64-bit counter; a stream adds GAMMA before every draw."""
    z = (counter ^ (counter >> S30)) * MIX_1
    z = (z ^ (z >> S27)) * MIX_2
    return ((z ^ (z >> S31)) >> S11) * 2.0**-53


@njit(cache=True)
def scatter(gx, gy, b):
    """What a collision of two hard discs takes from the first velocity and gives to the second: (g . k) k.

    `gx`, `gy`: relative velocity g, first minus second; `b`: impact parameter in units of sigma, in (-1, 1), uniform
    in a gas. With k = sqrt(1 - b^2) g / |g| + b (g / |g| turned by 90 degrees) the relative velocity turns by chi,
    b = cos(chi / 2): chi is distributed as sin(chi / 2) / 4 on (0, 2 pi), not uniformly. Numbers or arrays.
    """
    along = 1.0 - b * b
    across = b * np.sqrt(along)
    return along * gx - across * gy, along * gy + across * gx


@njit(cache=True)
def stream_particles(x, vx, dt):
    """Free motion for a time dt of any length, in place, exact: unfolded by its mirror images the box is a ring of 2."""
    for i in range(x.size):
        z = x[i] + vx[i] * dt
        z -= 2.0 * np.floor(0.5 * z)
        back = z > 1.0
        x[i] = 2.0 - z if back else z
        vx[i] = -vx[i] if back else vx[i]


@njit(cache=True)
def sort_by_cell(x, vx, vy, sorted_x, sorted_vx, sorted_vy, start):
    """Counting sort; cell c ends up at start[c] .. start[c + 1] - 1 (`start` has one entry more than there are cells)."""
    cells = start.size - 1
    start[:] = 0
    for i in range(x.size):
        start[min(int(x[i] * cells), cells - 1) + 1] += 1
    for c in range(cells):
        start[c + 1] += start[c]
    free = start[:-1].copy()
    for i in range(x.size):
        c = min(int(x[i] * cells), cells - 1)
        to = free[c]
        free[c] += 1
        sorted_x[to], sorted_vx[to], sorted_vy[to] = x[i], vx[i], vy[i]


@njit(cache=True, fastmath=True)  # a maximum is the same in any order, and in any order it vectorises
def largest_square(vx, vy):
    """The square of the largest speed."""
    largest = 0.0
    for i in range(vx.size):
        largest = max(largest, vx[i] * vx[i] + vy[i] * vy[i])
    return largest


@njit(cache=True)
def collide_cells(vx, vy, start, rate, state):
    """Collisions within the cells, in place; a pair collides `rate` times its relative speed times. Returns how many."""
    counter, collisions = state[0], 0
    for c in range(start.size - 1):
        ux, uy = vx[start[c] : start[c + 1]], vy[start[c] : start[c + 1]]
        n = ux.size
        if n < 2:
            continue
        # No two particles are faster to each other than twice the fastest. A collision of this step may exceed that a
        # little, with a chance that falls with the tail of the velocities: such a pair then collides with certainty.
        bound = 4.0 * largest_square(ux, uy)
        counter += GAMMA
        tries = int(0.5 * n * (n - 1) * rate * math.sqrt(bound) + uniform(counter))
        for _ in range(tries):
            i = int(uniform(counter + GAMMA) * n)
            j = int(uniform(counter + GAMMA + GAMMA) * (n - 1))
            j += j >= i
            counter += GAMMA + GAMMA + GAMMA
            threshold = uniform(counter)
            gx, gy = ux[i] - ux[j], uy[i] - uy[j]
            if threshold * threshold * bound < gx * gx + gy * gy:
                counter += GAMMA
                dx, dy = scatter(gx, gy, 2.0 * uniform(counter) - 1.0)
                ux[i] -= dx
                uy[i] -= dy
                ux[j] += dx
                uy[j] += dy
                collisions += 1
    state[0] = counter
    return collisions


class Simulation(ABC):
    """What the two forms of the simulation share: parameters, clock and the order of motion and collisions.

    kn: mean free path at the final density in box lengths, 1e-6 or more, inf for no collisions. cells: even number of
    collision cells, so that x = 1/2 is an edge; by default the fewest that are no wider than kn / 3 and 1 / 64, but no
    more than one per ten particles. dt: longest step; by default min(0.1, 0.1 / nu). Wrong input: `ParameterError`.

    `time` is how long the particles have moved, `collisions` how many there were, `kappa` and `nu` as in the module.
    """

    def __init__(self, n: int, kn: float, cells: int | None, dt: float | None):
        if not is_number(kn) or not kn >= SMALLEST_KN:
            raise ParameterError.of("kn", kn, f"number from {SMALLEST_KN:g}, inf for no collisions")
        self.kn = float(kn)
        self.kappa = 1 / (math.sqrt(2) * self.kn)
        self.nu = self.kappa * math.sqrt(math.pi)
        most = max(2, n)
        if cells is None:
            wanted = max(FEWEST_CELLS, 3 / self.kn)
            cells = 2 * max(1, min(math.ceil(wanted / 2 - 1e-9), n // 20))
        elif not is_number(cells) or cells % 2 != 0 or not 2 <= cells <= most:
            raise ParameterError.of("cells", cells, f"even integer from 2 to {most}, the number of particles")
        self.cells = int(cells)
        self.dt = min(0.1, 0.1 / self.nu if self.nu else 0.1) if dt is None else check_duration("dt", dt)
        self.time, self.collisions = 0.0, 0

    def __len__(self) -> int:
        return len(self.x)

    def stream(self, dt: float) -> None:
        """Free motion with reflection for a time `dt`, exact for any length."""
        dt = check_duration("dt", dt)
        self._move(dt)
        self.time += dt

    def collide(self, dt: float) -> int:
        """The collisions of a time `dt`, positions held; returns how many. Accurate for `dt` well below 1 / nu."""
        dt = check_duration("dt", dt)
        found = self._scatter(dt) if self.kappa else 0
        self.collisions += found
        return found

    def step(self, dt: float | None = None) -> int:
        """Half the free motion of a time `dt` (default: `self.dt`), its collisions, the other half; returns how many."""
        dt = self.dt if dt is None else check_duration("dt", dt)
        self.stream(dt / 2)
        found = self.collide(dt)
        self.stream(dt / 2)
        return found

    def run(self, duration: float) -> int:
        """Advance by a duration >= 0 in equal steps no longer than the step; returns the number of collisions."""
        duration = check_duration("duration", duration, zero=True)
        end, steps = self.time + duration, math.ceil(duration / self.dt - 1e-9)
        found = sum(self.step(duration / steps) for _ in range(steps))
        self.time = end  # not the sum of the steps, which carries their rounding
        return found

    @abstractmethod
    def _move(self, dt: float) -> None:
        """Free motion of all particles."""

    @abstractmethod
    def _scatter(self, dt: float) -> int:
        """Collisions of all cells, kappa > 0."""


class DSMC(Simulation):
    """The simulation on one core, in numba, reproducible from `seed` whatever else draws random numbers.

    x: positions in [0, 1]; vx, vy: velocities; one-dimensional, of one length >= 2, copied. `x`, `vx`, `vy` hold the
    particles as they are now (float64), in an order that changes with every `collide`, and in arrays that the next
    step writes to: copy what is to be kept. The other parameters are those of `Simulation`.
    """

    def __init__(self, x, vx, vy, kn: float, *, cells: int | None = None, dt: float | None = None, seed: int = 0):
        self.x, self.vx, self.vy = (owned(name, given) for name, given in (("x", x), ("vx", vx), ("vy", vy)))
        check_particles(self.x, self.vx, self.vy)
        super().__init__(len(self.x), kn, cells, dt)
        self._state = hashed(seed)
        self._spare = [np.empty_like(self.x) for _ in range(3)]
        self._start = np.zeros(self.cells + 1, dtype=np.int64)

    def _move(self, dt: float) -> None:
        stream_particles(self.x, self.vx, dt)

    def _scatter(self, dt: float) -> int:
        unsorted = [self.x, self.vx, self.vy]
        sort_by_cell(*unsorted, *self._spare, self._start)
        (self.x, self.vx, self.vy), self._spare = self._spare, unsorted
        rate = self.kappa * dt * self.cells / len(self)  # of a pair, per unit of its relative speed
        return collide_cells(self.vx, self.vy, self._start, rate, self._state)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_duration(field: str, value: Any, zero: bool = False) -> float:
    if not is_number(value) or not (0 < value < math.inf or (zero and value == 0)):
        raise ParameterError.of(field, value, f"finite number {'>=' if zero else '>'} 0")
    return float(value)


def hashed(seed: Any) -> np.ndarray:
    """One 64-bit word; drawing the first state of a gas from the same seed does no harm then."""
    if not is_number(seed) or seed % 1 != 0 or not 0 <= seed < 2**63:
        raise ParameterError.of("seed", seed, "integer from 0 to 2^63 - 1")
    return np.random.SeedSequence(int(seed)).generate_state(1, np.uint64)


def owned(name: str, given: Any) -> np.ndarray:
    """A float64 copy."""
    try:
        return np.asarray(given, dtype=np.float64).copy()
    except (TypeError, ValueError):
        raise ParameterError.of(name, given, "array of real numbers") from None


def check_particles(x, vx, vy) -> None:
    """`ParameterError` for arrays (numpy or torch) that are no state of a gas; the least and the largest entry tell."""
    for name, a in (("x", x), ("vx", vx), ("vy", vy)):
        if a.ndim != 1 or len(a) != len(x) or len(a) < 2:
            allowed = "one dimension, the same length for x, vx and vy, at least 2"
            raise ParameterError.of(name, tuple(a.shape), allowed, "shape of")
        low, high = (0.0, 1.0) if name == "x" else (-math.inf, math.inf)
        for value in (float(a.min()), float(a.max())):
            if not (math.isfinite(value) and low <= value <= high):
                raise ParameterError.of(name, value, "numbers from 0 to 1" if name == "x" else "finite numbers")
