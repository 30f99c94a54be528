"""Cool cores: populations, the finder with the merger test, and a hundred thousand clusters; ours against plain numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entropy_utils.cool_cores import population, population_steps
from entropy_utils.cool_cores.merger_control import merger_control
from entropy_utils.cool_cores.population import Population
from entropy_utils.cool_cores.transformations import find_transformations, smooth
from tests.bench.timing import alternate, row, seconds

MANY = 100_000


def plainly(call: Callable[[], object]) -> Callable[[], object]:
    """The same population with the steps that are not compiled."""

    def run() -> object:
        population.follow = population_steps.follow_plain
        try:
            return call()
        finally:
            population.follow = population_steps.follow

    return run


def looped(histories) -> dict[str, float]:
    """The peer of finder and test: as they are told, cluster by cluster and control by control; returns z by direction."""
    smoothed, events = smooth(histories), []
    for i, (y, slope) in enumerate(zip(smoothed.y, smoothed.slope, strict=True)):
        for sign in (1, -1):
            edges = np.diff((sign * slope > 0.10).astype(int), prepend=0, append=0)
            runs: list[list[int]] = []
            for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True):
                if runs and (a - runs[-1][1]) * 0.05 < 0.20 - 1e-9:
                    runs[-1][1] = b
                else:
                    runs.append([a, b])
            for a, b in runs:
                if sign * (y[b] - y[a]) >= 0.20 and (b - a) * 0.05 >= 0.30 - 1e-9:
                    events.append((i, sign, smoothed.t[a + np.argmax(sign * slope[a : b + 1])]))
    mergers = histories.mergers[histories.mergers.xi >= 0.1]
    times = [np.sort(mergers.t[mergers.cluster == i]) for i in range(len(histories))]

    def merged(i: int, t: float) -> bool:
        before = np.searchsorted(times[i], t, side="right")
        return before > 0 and times[i][before - 1] > t - 1

    rng, found = np.random.default_rng(1), {}
    for name, sign in (("up", 1), ("down", -1)):
        own = [(i, t) for i, direction, t in events if direction == sign]
        observed = np.mean([merged(i, t) for i, t in own])
        drawn = rng.integers(len(histories), size=(300, len(own)))
        controls = [np.mean([merged(i, t) for i, (_, t) in zip(line, own, strict=True)]) for line in drawn]
        found[name] = (observed - np.mean(controls)) / np.std(controls)
    return found


def bench_cool_cores() -> list[dict]:
    """Seconds for one population of 352, for finder and merger test of 8 of them, and for 100000 clusters."""
    model = Population()
    ours, peer = model.simulate, plainly(model.simulate)
    apart = np.abs(np.log(ours().K0 / peer().K0))
    if not np.median(apart) < 1e-9 or not (apart > 1e-3).mean() < 0.1:  # some cores amplify the rounding
        raise RuntimeError("the compiled population is another than the plain one")
    times = alternate(ours, peer, 3)
    found = [row("352 clusters, 11 Gyr at dt = 0.01", *times, "plain numpy steps", "s", "<= 1 s", times[0] <= 1)]
    populations = model.populations()

    def test() -> list[dict]:
        return [merger_control(find_transformations(one), one) for one in populations]

    theirs = looped(populations[0])
    for direction, excess in test()[0].items():
        if not abs(excess.z - theirs[direction]) < 1e-9:
            raise RuntimeError(f"z of {direction}: {excess.z:.3f}, the loop has {theirs[direction]:.3f}")
    pair = seconds(test), 8 * seconds(lambda: looped(populations[0]))
    found.append(row("finder and merger test, 8 populations", *pair, "loops, 8 x one", "s", "<= 2 s", pair[0] <= 2))
    large = Population(clusters=MANY)
    long = seconds(large.simulate)
    few = seconds(plainly(large.replace(clusters=1024).simulate)) * MANY / 1024
    found.append(row(f"{MANY:,} clusters, dt = 0.01", long, few, "plain numpy steps, from 1024", "s", "<= 60 s", long <= 60))
    return found
