"""Pick-up points: 9 x 4 x 3 scenarios on 6,112 synthetic routes, against the plain equations route by route.

The plain version (numpy k-means once for every K, then `spatial.consolidate`) does a few routes; its time is scaled to all.
"""

from __future__ import annotations

import itertools

import numpy as np

from entropy_utils.last_mile.distances import plane
from entropy_utils.last_mile.scenarios import Consolidation
from entropy_utils.last_mile.spatial import consolidate, plain_k_means
from entropy_utils.last_mile.synthetic_city import synthetic_almrrc
from tests.bench.timing import alternate, row

ROUTES, FEW, SECONDS = 6112, 4, 60


def bench_consolidation() -> list[dict]:
    """Seconds for all scenarios of all routes, one draw each; on one core."""
    table, experiment = synthetic_almrrc(ROUTES, 0), Consolidation(routes=ROUTES, draws=1)

    def plain():
        rng = np.random.default_rng(0)
        for route in itertools.islice(table, FEW):
            xy = plane(route.lat, route.lng)
            adopting, chaining = rng.random((2, len(xy)))
            for K in experiment.points:
                point = plain_k_means(xy, xy[rng.permutation(len(xy))[:K]])
                for alpha, chi in itertools.product(experiment.alphas, experiment.chis):
                    consolidate(route.n, point, adopting < alpha, (chaining >= chi).astype(int))

    ours, peer = alternate(lambda: list(experiment.sweep(table)), plain, 3)
    name = f"{experiment.length()} scenarios of pick-up points on {ROUTES:,} routes"
    return [row(name, ours, peer * ROUTES / FEW, "numpy, route by route (scaled)", "s", f"<= {SECONDS} s", ours <= SECONDS)]
