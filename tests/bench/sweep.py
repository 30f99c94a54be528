"""What a sweep costs beyond its runs: many very short experiments on two workers, against other ways to run them."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor

from entropy_utils import lab
from entropy_utils.policy_entropy.tabular import TabularAscent
from tests.bench.timing import row, seconds

RUNS, WORKERS, REPEATS = 200, 2, 5
EXPERIMENTS = lab.experiment_grid(TabularAscent, seeds=range(RUNS), states=4, actions=4, steps=10)


def ours(experiments: dict) -> dict:
    """The sweep, its lines not shown."""
    with contextlib.redirect_stdout(io.StringIO()):
        return lab.sweep(experiments, workers=WORKERS)


def pool(experiments: dict) -> list:
    """The same with fresh processes of the standard library."""
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as processes:
        return list(processes.map(lab.collect, experiments.values(), [False] * len(experiments)))


def loop(experiments: dict) -> list:
    """One after the other in this process."""
    return [lab.collect(experiment, progress=False) for experiment in experiments.values()]


def bench_sweep() -> list[dict]:
    """Two workers with one run each, `RUNS` runs, and from the difference the cost of one more; all take turns."""
    few = dict(list(EXPERIMENTS.items())[:WORKERS])
    calls = [(call, size) for size in (few, EXPERIMENTS) for call in (ours, pool)]
    times = [[seconds(lambda c=call, n=size: c(n)) for call, size in calls] for _ in range(REPEATS)]
    start, pool_start, whole, pool_whole = (statistics.median(column) for column in zip(*times, strict=True))
    further = statistics.median(turn[2] - turn[0] for turn in times) / (RUNS - WORKERS)
    alone = statistics.median(seconds(lambda: loop(EXPERIMENTS)) for _ in range(REPEATS)) / RUNS
    peer, size = f"ProcessPoolExecutor, {WORKERS} spawned processes", f"{WORKERS} workers"
    return [
        row(f"sweep of {WORKERS} very short runs, start and end included", start, pool_start, peer, "s", "< 3 s", start < 3),
        row(f"sweep of {RUNS} very short runs, {size}", whole, pool_whole, peer, "s", "reported", True),
        row(f"sweep, {size}, each further run", further, alone, "plain loop", "s", "< 0.05 s", further < 0.05),
    ]
