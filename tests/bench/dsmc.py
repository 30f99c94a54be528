"""A particle-step of the direct simulation: CPU time of ours on one core against the same equation in plain numpy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from entropy_utils.boltzmann_gas.dsmc import DSMC
from tests.bench.timing import row

N, TURNS, STEPS, GOAL = 1_000_000, 7, 3, 50  # STEPS of ours and one of the peer in a turn


class Vectorised:
    """The peer: random disjoint pairs of every cell, as in the torch form but in numpy and one round in a step."""

    def __init__(self, x: np.ndarray, vx: np.ndarray, vy: np.ndarray, ours: DSMC):
        self.x, self.vx, self.vy = x.copy(), vx.copy(), vy.copy()
        self.cells, self.kappa, self.dt, self.collisions = ours.cells, ours.kappa, ours.dt, 0
        self.rng = np.random.default_rng(1)  # not the seed of the first state

    def move(self, dt: float) -> None:
        self.x += self.vx * dt
        out = (self.x < 0) | (self.x > 1)
        self.vx[out] *= -1
        np.abs(self.x, out=self.x)
        np.subtract(2, self.x, out=self.x, where=self.x > 1)

    def step(self) -> None:
        self.move(self.dt / 2)
        cell = np.minimum((self.x * self.cells).astype(np.int64), self.cells - 1)
        order = np.argsort(cell + self.rng.random(len(cell)))
        count = np.bincount(cell, minlength=self.cells)
        pairs = count // 2
        rate = count * (count - 1) / (2 * pairs) * self.kappa * self.dt * self.cells / len(cell)
        pair_cell = np.repeat(np.arange(self.cells), pairs)
        place = 2 * np.arange(len(pair_cell)) + (np.cumsum(count % 2) - count % 2)[pair_cell]
        i, j = order[place], order[place + 1]
        gx, gy = self.vx[i] - self.vx[j], self.vy[i] - self.vy[j]
        hit = self.rng.random(len(gx)) < rate[pair_cell] * np.hypot(gx, gy)
        i, j, gx, gy = i[hit], j[hit], gx[hit], gy[hit]
        b = self.rng.uniform(-1, 1, len(gx))
        along, across = 1 - b * b, b * np.sqrt(1 - b * b)
        dx, dy = along * gx - across * gy, along * gy + across * gx
        self.vx[i] -= dx
        self.vy[i] -= dy
        self.vx[j] += dx
        self.vy[j] += dy
        self.collisions += len(gx)
        self.move(self.dt / 2)


def cpu_seconds(call: Callable[[], object], times: int) -> float:
    """CPU time of one of several calls in a row: what other jobs on the machine take is not counted."""
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def bench_dsmc() -> list[dict]:
    """Nanoseconds of a particle-step of a uniform gas in equilibrium at three mean free paths; both must collide alike."""
    rng = np.random.default_rng(0)
    start = rng.random(N), *rng.standard_normal((2, N))
    found = []
    for kn in (0.1, 1.0, 10.0):
        ours = DSMC(*start, kn)
        peer = Vectorised(*start, ours)
        ours.step()  # compiled, and sorted once
        pairs = [(cpu_seconds(ours.step, STEPS), cpu_seconds(peer.step, 1)) for _ in range(TURNS)]
        times = [1e9 / N * statistics.median(side) for side in zip(*pairs, strict=True)]
        expected = N * ours.nu * ours.dt / 2  # collisions in a step
        for done, steps in ((ours.collisions, TURNS * STEPS + 1), (peer.collisions, TURNS)):
            if not abs(done / (steps * expected) - 1) < 0.03:
                raise RuntimeError(f"{done} collisions in {steps} steps at Kn = {kn:g}, expected {steps * expected:.0f}")
        name = f"DSMC, a step of a particle, Kn = {kn:g}, N = {N:,}"
        found.append(row(name, *times, "vectorised numpy", "ns of CPU", f"<= {GOAL} ns", times[0] <= GOAL))
    return found
