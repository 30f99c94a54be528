"""Timing for the benchmarks: ours and a peer take turns, so that a busy machine slows both; medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call, in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternate(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall times in seconds (ours, peer) over `repeats` alternating calls, after one uncounted call of each."""
    ours()
    peer()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def row(name: str, ours: float, peer: float, peer_name: str, unit: str, goal: str, met: bool) -> dict:
    """One line of the benchmark table. `ratio` is ours / peer; `goal` says in words what `met` was judged by."""
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ours / peer,
        "goal": goal,
        "met": bool(met),
    }
