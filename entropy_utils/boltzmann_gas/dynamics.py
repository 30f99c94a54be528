"""Event-driven hard discs: exact Newtonian motion of a gas between two walls, fast where the gas is dilute.

Equal discs of unit mass and diameter sigma move freely until two touch and exchange their velocities along the line of
their centres. The walls at x = 0 and x = 1 reflect the CENTRES of the discs; y is periodic with the given height.

The usual event-driven programs follow every disc from cell to cell; in a dilute gas that is 10 to 60 crossings per
collision. Here time is cut into windows instead (see `event_kernels`): within a window a disc belongs to all cells that
its path touches, and there are no crossings. `naive_dynamics` is the plain version.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from entropy_utils.lab.errors import ParameterError

from . import event_kernels as kernels
from .theory import packing_fraction

DENSEST = 0.7  # packing fraction; discs crystallise near 0.72
SORT_EVERY = 10  # windows
FEWEST, MEMBERS = 8, 24  # discs that a cell should hold on average, its visitors included ...
REACH = 0.7  # ... and mean distance per window in units of its side
MOST_PER_WINDOW = 0.25  # collisions per disc


class Collisions(NamedTuple):
    """The collisions of a run in order of time: times, and the two discs of each, as numbered at the start."""

    times: np.ndarray
    first: np.ndarray
    second: np.ndarray


class HardDiscs:
    """A gas of hard discs that can be run, stopped, turned around and run on.

    x, y, vx, vy: (N,) positions of the centres, 0 <= x <= 1 and 0 <= y < height, and velocities; sigma: diameter. Copies
    are taken. `ParameterError` for fewer than two discs, positions outside, velocities that are not finite, a packing
    fraction above 0.7 or discs that overlap, before any work.

    `x`, `y`, `vx`, `vy` are the present state, in the numbering of the start; `time`, `collisions` and `wall_hits` count
    from the start. Energy is conserved to rounding. An interrupted `run` stops between two windows and can go on.
    """

    def __init__(self, x, y, vx, vy, sigma: float, height: float = 1.0):
        columns = {
            name: np.asarray(column, float) for name, column in zip(("x", "y", "vx", "vy"), (x, y, vx, vy), strict=True)
        }
        check_discs(**columns, sigma=sigma, height=height)
        self.sigma, self.height = float(sigma), float(height)
        n = len(columns["x"])
        self._gas = np.column_stack(list(columns.values())), np.arange(n)  # one attribute: they change together
        self._saved, self._moved, self._count = np.empty((n, 4)), np.zeros(n), np.zeros(n, np.int32)
        self._numbers = np.zeros(5)
        self._numbers[kernels.FASTEST] = math.sqrt((self._discs[:, 2:] ** 2).sum(1).max())
        self._size_cells()
        self._size_buffers()
        self._sort()

    def __len__(self) -> int:
        return len(self._moved)

    @property
    def _discs(self) -> np.ndarray:
        return self._gas[0]

    @property
    def _names(self) -> np.ndarray:
        return self._gas[1]

    x, y, vx, vy = (property(lambda self, column=column: self._in_order(column)) for column in range(4))

    @property
    def time(self) -> float:
        return float(self._numbers[kernels.TIME])

    @property
    def collisions(self) -> int:
        return int(self._numbers[kernels.COLLISIONS])

    @property
    def wall_hits(self) -> int:
        return int(self._numbers[kernels.WALL_HITS])

    @property
    def energy(self) -> float:
        """Kinetic energy of all discs."""
        return 0.5 * float((self._discs[:, 2:] ** 2).sum())

    def reverse(self) -> None:
        """Turn all velocities around, as Loschmidt asks: in exact arithmetic the gas then runs back."""
        self._discs[:, 2:] *= -1

    def run(self, duration: float, log: bool = False) -> Collisions | None:
        """Move on by `duration`; with `log`, return its collisions."""
        if not (math.isfinite(duration) and duration >= 0):
            raise ParameterError.of("duration", duration, "a finite number from 0")
        log_times, pairs, logged = np.empty(len(self) * log), np.empty((len(self) * log, 2), np.int32), []
        end = self.time + duration
        while end - self.time > 1e-15 * max(1.0, end):
            before = self.time
            count = self._window(min(self._window_length(), end - before), log_times, pairs)
            if log:
                logged.append((before + log_times[:count], *self._names[pairs[:count].T]))
            if self._numbers[kernels.WINDOWS] % SORT_EVERY == 0:
                self._sort()
        if not log:
            return None
        empty = np.empty(0), np.empty(0, int), np.empty(0, int)
        return Collisions(*(np.concatenate(column) for column in zip(empty, *logged, strict=True)))

    def _window(self, dt: float, log_times: np.ndarray, log: np.ndarray) -> int:
        """One window of length `dt`, or of a half, a quarter ... if its events do not fit. Returns how many it logged."""
        fastest = self._numbers[kernels.FASTEST]
        while True:
            # rounding of dr.dv and dr x dv in single precision; collisions may double the largest speed
            slack = 1e-5 * (max(self._side) + fastest * dt) * fastest
            state, logged = kernels.window(
                self._discs, self._saved, self._moved, self._count, dt, self.sigma, self.height, slack, self._side,
                self._shape, self._filled, self._members, self._local, self._times, self._pairs,
                self._heap_times, self._heap, log_times, log, self._numbers,
            )  # fmt: skip
            if state == kernels.DONE:
                return logged
            if state == kernels.FULL_CELL and self._members.shape[1] < 2 * len(self):
                self._size_buffers(2 * self._members.shape[1] // self._room)
            else:
                dt /= 2

    def _window_length(self) -> float:
        """So long that a disc of mean speed crosses REACH of a cell, and that few discs collide twice."""
        thermal, fastest = math.sqrt(self.energy / len(self)), self._numbers[kernels.FASTEST]
        if fastest == 0:
            return math.inf
        frequency = 2 * self.sigma * len(self) / self.height * math.sqrt(math.pi) * thermal
        # the last one: the nearest image in y stays the nearest
        lengths = REACH * min(self._side) / thermal, MOST_PER_WINDOW / frequency, 0.2 * self.height / fastest
        return min(lengths)

    def _size_cells(self) -> None:
        """Cells of about equal sides that hold, with their visitors, MEMBERS discs, and fewer where collisions are many."""
        visited = (1 + 0.8 * REACH) ** 2  # cells that a path touches
        side = math.sqrt(MEMBERS / visited * self.height / len(self))
        met = 2 * self.sigma * len(self) / self.height * math.sqrt(math.pi) * REACH * side  # collisions per disc and window
        self._room = max(FEWEST, round(MEMBERS * min(1.0, math.sqrt(0.2 / met))))
        side *= math.sqrt(self._room / MEMBERS)
        shape = max(int(1 / side), 1), max(int(self.height / side), 4)
        self._shape, self._side = shape, (1 / shape[0], self.height / shape[1])

    def _size_buffers(self, times: int = 4) -> None:
        """Buffers for as many members per cell as `times` the mean, and for two events per disc."""
        cells, room, size = self._shape[0] * self._shape[1], times * self._room, 2 * len(self) + 1000
        self._filled = np.zeros(cells, np.int32)
        self._members = np.zeros((cells, room), np.int32)
        self._local = np.zeros((cells, 4, room), np.float32)
        self._times, self._pairs = np.empty(size), np.empty((size, 2), np.int32)
        self._heap_times, self._heap = np.empty(size), np.empty((size, 4), np.int32)

    def _sort(self) -> None:
        self._gas = kernels.sort_by_cell(*self._gas, self._side, self._shape)

    def _in_order(self, column: int) -> np.ndarray:
        ordered = np.empty(len(self))
        ordered[self._names] = self._discs[:, column]
        return ordered


def check_discs(x, y, vx, vy, sigma: float, height: float) -> None:
    """`ParameterError` unless these are at least two discs of finite velocity inside the box, not too many, and apart."""
    for name, value in (("sigma", sigma), ("height", height)):
        if not (math.isfinite(value) and value > 0):
            raise ParameterError.of(name, value, "a finite number above 0")
    if x.ndim != 1 or len(x) < 2:
        raise ParameterError.of("x", f"shape {x.shape}", "(N,) with at least 2 discs")
    for name, column, top in (("x", x, 1.0), ("y", y, height), ("vx", vx, math.inf), ("vy", vy, math.inf)):
        if column.shape != x.shape:
            raise ParameterError.of(name, f"shape {column.shape}", f"{x.shape} as x")
        wrong = ~np.isfinite(column) if name.startswith("v") else ~((column >= 0) & (column <= top))
        if wrong.any():
            allowed = "finite numbers" if name.startswith("v") else f"numbers from 0 to {top:g}"
            raise ParameterError.of(name, float(column[wrong][0]), allowed)
    check_density(len(x), sigma, height)
    tree = cKDTree(np.column_stack([x, y % height]), boxsize=[0.0, height])  # periodic in y only
    overlapping = tree.query_pairs(sigma * (1 - 1e-9), output_type="ndarray")  # rounding after a collision
    if len(overlapping):
        i, j = sorted(overlapping[0].tolist())
        raise ParameterError.of("x, y", f"discs {i} and {j}", f"centres at least sigma = {sigma:g} apart")


def check_density(n: int, sigma: float, area: float) -> None:
    """`ParameterError` for a packing fraction above 0.7."""
    eta = packing_fraction(n, sigma, area)
    if eta > DENSEST:
        raise ParameterError.of("sigma", sigma, f"a packing fraction up to {DENSEST}; {n} such discs have {eta:.3g}")


def place(n: int, sigma: float, rng: np.random.Generator, width: float = 1.0, height: float = 1.0) -> np.ndarray:
    """Centres (n, 2) of discs that do not overlap, in 0 < x < width and 0 <= y < height (periodic): uniform points, one
    after the other, each drawn anew until it is free. `ParameterError` for a packing fraction above 0.7, or if no place is
    left: chance alone fills up to about 0.5.
    """
    if n < 1:
        raise ParameterError.of("n", n, "integer from 1")
    check_density(n, sigma, width * height)
    centres, placed = kernels.place(n, sigma, width, height, 10_000, rng)
    if placed < n:
        raise ParameterError.of("n", n, f"about {placed} discs of diameter {sigma:g} at random places in {width} x {height}")
    return centres


def maxwellian(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Velocities vx, vy of n discs, normal, then shifted to momentum 0 and scaled to temperature 1: energy exactly n."""
    v = rng.normal(size=(2, n))
    v -= v.mean(1, keepdims=True)
    return tuple(v * math.sqrt(2 * n / (v**2).sum()))
