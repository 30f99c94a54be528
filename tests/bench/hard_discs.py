"""Collisions per second of CPU time: the windowed engine against the classical one, from the same gas in a filled box.

The peer is `calendar_dynamics`, in numba like ours: the faster one in a dense gas, where discs collide more often than they
change cells. For comparison, measured earlier on this kind of machine and so in no
row: the cell-list engine of Smallenburg's EDMD code (C, arXiv 2201.01100), cut down to one layer, reached 1.07e5
collisions per second at N = 20 000, Kn = 0.1; 1.8e4 at N = 100 000, Kn = 0.1; and 1.2e6 at N = 4000, Kn = 0.01, a dense gas.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from entropy_utils.boltzmann_gas.calendar_dynamics import CalendarDiscs
from entropy_utils.boltzmann_gas.dynamics import HardDiscs, maxwellian, place
from entropy_utils.boltzmann_gas.theory import collision_frequency, diameter
from tests.bench.timing import row

TURNS, WARM = 5, 0.3  # the first share of a turn's time, run beforehand, is not counted
CASES = (  # N, Kn, collisions in a turn: 20 windows of ours, about; goal; rate of the C code, measured earlier
    (20_000, 0.1, 40_000, "2.5e5", ""),
    (100_000, 0.1, 80_000, "1.2e5", ""),
    (4000, 0.01, 20_000, "5e5", ""),
    (4000, 0.1, 10_000, "", "3.3e5"),
    (100_000, 0.02, 200_000, "", "8.2e4"),
    (100_000, 1.0, 9_000, "", ""),
)
SIZES = {10_000: 30_000, 100_000: 60_000, 1_000_000: 40_000}  # N at Kn = 0.1, collisions in a turn


class Race:
    """The same gas in both engines."""

    def __init__(self, n: int, kn: float, collisions: int):
        rng, sigma = np.random.default_rng(0), float(diameter(n, kn))
        start = (*place(n, sigma, rng).T, *maxwellian(n, rng), sigma)
        self.engines = HardDiscs(*start), CalendarDiscs(*start)
        self.duration = 2 * collisions / n / float(collision_frequency(kn))
        self.times: tuple[list[float], list[float]] = [], []
        for engine in self.engines:
            engine.run(WARM * self.duration)

    def turn(self) -> None:
        """The same stretch of time for both: CPU seconds per collision."""
        for engine, times in zip(self.engines, self.times, strict=True):
            before, start = engine.collisions, time.process_time()
            engine.run(self.duration)
            times.append((time.process_time() - start) / (engine.collisions - before))

    def result(self) -> list[float]:
        """Median CPU seconds per collision, (ours, peer); both must have had as many collisions."""
        ours, peer = (engine.collisions for engine in self.engines)
        if not abs(ours / peer - 1) < 0.03:
            raise RuntimeError(f"{ours} and {peer} collisions of {len(self.engines[0])} discs in the same time")
        return [statistics.median(times) for times in self.times]


def bench_hard_discs() -> list[dict]:
    """Collisions per second of CPU time."""
    found = []
    for n, kn, collisions, goal, c_code in CASES:
        race = Race(n, kn, collisions)
        for _ in range(TURNS):
            race.turn()
        ours, peer = (1 / seconds for seconds in race.result())
        words = f">= {goal}" if goal else f"reported (C code earlier: {c_code})" if c_code else "reported"
        name = f"Hard discs, N = {n:,}, Kn = {kn:g}"
        found.append(
            row(name, ours, peer, "calendar engine, numba", "collisions/s of CPU", words, not goal or ours >= float(goal))
        )
    return found


def bench_growth_with_size() -> list[dict]:
    """Microseconds of a collision at Kn = 0.1 by the number of discs: against the peer, and against few discs."""
    races = {n: Race(n, 0.1, collisions) for n, collisions in SIZES.items()}
    for _ in range(TURNS - 2):
        for race in races.values():
            race.turn()
    cost = {n: [1e6 * seconds for seconds in race.result()] for n, race in races.items()}
    name, unit, least = "A collision of hard discs, Kn = 0.1, N = {:,}", "us of CPU", min(SIZES)
    found = [row(name.format(n), *cost[n], "calendar engine, numba", unit, "reported", True) for n in SIZES]
    peer = f"ours, N = {least:,}"
    return found + [
        row(name.format(n), cost[n][0], cost[least][0], peer, unit, "reported", True) for n in SIZES if n > least
    ]
