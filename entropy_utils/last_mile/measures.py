"""What notebook 02 measures of tables of routes and of random scenarios, beside the experiments of `scenarios`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entropy_utils.information import log_factorial

from .distances import plane
from .route_table import RouteTable
from .scenarios import Consolidation
from .spatial import ACCOUNTINGS, TRIPS, consolidate, spatial_consolidation
from .structural_entropy import boltzmann_entropy, bounds, chain_split, route_entropies, shannon_bounds
from .synthetic_city import transit_hours
from .tours import shortest_tour, tour_length

PUBLISHED = pd.DataFrame(  # training routes, Merchan et al. 2024, table 2; times in hours, stops with the station
    {"stops": (105, 148.0, 186, 31.0), "packages": (197, 238.5, 278, 31.0), "transit": (2.6, 3.6, 4.6, 0.7),
     "service": (3.4, 4.5, 5.6, 0.9), "total": (7.1, 8.1, 9.1, 0.8)}, index=["P10", "mean", "P90", "sd"],
)  # fmt: skip

COUNTED = 6112, 898_415, 1_457_175  # its routes, drop-offs and packages, counted by others on the files


def statistics(table: RouteTable) -> pd.DataFrame:
    """What `PUBLISHED` has of the real routes, of a table of routes; driving times are those of the synthetic city."""
    transit, service = transit_hours(table), np.add.reduceat(table.service, table.starts, dtype=float) / 3600
    packages = np.add.reduceat(table.n, table.starts, dtype=int)
    columns = dict(zip(PUBLISHED, (table.sizes + 1, packages, transit, service, transit + service), strict=True))
    rows = {name: (*np.percentile(x, [10, 90]), x.mean(), x.std()) for name, x in columns.items()}
    return pd.DataFrame(rows, index=["P10", "P90", "mean", "sd"]).reindex(PUBLISHED.index)


def random_loads(count: int, seed: int) -> list[np.ndarray]:
    """Loads of `count` made-up routes: 2 to 40 stops with at least one parcel, evenly or very unevenly spread."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 41, count)
    return [1 + rng.multinomial(rng.integers(0, 200), rng.dirichlet(np.full(M, rng.choice([0.1, 1, 10])))) for M in sizes]


def outside(count: int, seed: int) -> tuple[int, int]:
    """How many of `random_loads` have an S outside its bounds for N and M (T1), and outside Shannon's (eq. 3)."""
    misses = [0, 0]
    for n in random_loads(count, seed):
        S = boltzmann_entropy(n)
        for which, (low, high) in enumerate((bounds(n.sum(), len(n)), shannon_bounds(n))):
            misses[which] += not low - 1e-9 <= S <= high + 1e-9
    return misses[0], misses[1]


def conservation_error(count: int, seed: int) -> float:
    """Largest |carrier + customer - before| / before of random scenarios on `random_loads`: T4 has it 0."""
    rng, worst = np.random.default_rng([seed, 1]), 0.0
    for n in random_loads(count, seed):
        K = int(rng.integers(1, min(len(n), 10) + 1))
        found = spatial_consolidation(n, rng.random((len(n), 2)), rng.random(), K, rng.random(), rng=rng)
        worst = max(worst, abs(found.carrier + found.customer - found.before) / (1 + found.before))
    return worst


def one_locker_error(count: int, seed: int) -> float:
    """Largest error of ln C(N + a, a), the rise when a of N single-parcel customers drive to one locker."""
    rng, worst = np.random.default_rng(seed), 0.0
    for _ in range(count):
        N = int(rng.integers(2, 400))
        a = int(rng.integers(1, N + 1))
        n, adopts = np.ones(N, int), np.arange(N) < a
        found = consolidate(n, np.zeros(N, int), adopts, adopts.astype(int))
        rise = log_factorial(N + a) - log_factorial(N) - log_factorial(a)
        worst = max(worst, abs(found.total - found.before - float(rise)))
    return worst


def accountings(table: RouteTable, alpha: float, K: int, chi: float, draws: int, seed: int = 0) -> pd.DataFrame:
    """Mean change of carrier and total in one scenario, a row for every way to count the customers' trips."""
    rows = {}
    for accounting in ACCOUNTINGS:
        for trips in TRIPS:
            one = {"alphas": (alpha,), "points": (K,), "chis": (chi,), "draws": draws, "seed": seed}
            (record,) = Consolidation(**one, accounting=accounting, trips=trips).sweep(table)
            rows[accounting, f"one per {trips}"] = {name: record[f"{name}_change"] for name in ("carrier", "total")}
    return pd.DataFrame(rows).T


def crossing(records: pd.DataFrame, K: int, change: float = -0.4) -> float:
    """The adoption at which the carrier's mean entropy has changed by `change` with K points; NaN outside the sweep."""
    part = records[(records.points == K) & (records.chi == records.chi.min())].sort_values("alpha")
    return float(np.interp(-change, -part.carrier_change, part.alpha, left=np.nan, right=np.nan))


def between_zones(table: RouteTable) -> float:
    """The share of all routes' S that lies between zones (eq. 4); stops without a zone are a group of their own."""
    parts = [chain_split(route.n, np.unique(route.zone, return_inverse=True)[1]) for route in table]
    return float(np.mean([between / (between + within) for between, within in parts]))


def full_data(table: RouteTable) -> dict[str, float]:
    """Of the whole training split, by claim: the largest miss of its `COUNTED`, and the range of the metros' mean eta."""
    eta = route_entropies(table).eta.groupby(table.metro).mean()
    misses = np.abs(np.subtract((len(table), table.sizes.sum(), table.n.sum(dtype=int)), COUNTED))
    return {"02.amazon-counts": float(misses.max()), "02.amazon-persistent": float(np.ptp(eta))}


def driven_over_short(table: RouteTable, starts: int = 4) -> np.ndarray:
    """Straight km driven over those of the tour that local search finds, (routes,); both from the station and back."""
    ratios = []
    for route in table:
        xy = plane(np.append(route.station_lat, route.lat), np.append(route.station_lng, route.lng))
        ratios.append(tour_length(xy, np.arange(len(xy))) / tour_length(xy, shortest_tour(xy, starts)))
    return np.array(ratios)


def zone_runs(stops: pd.DataFrame) -> tuple[float, float]:
    """Zones and runs of zones per route (means) of stops in driven order with `route` and `zone_id`."""
    zoned = stops.dropna(subset="zone_id")
    changes = zoned.zone_id.ne(zoned.zone_id.shift()) | zoned.route.ne(zoned.route.shift())
    return float(zoned.groupby("route").zone_id.nunique().mean()), float(changes.groupby(zoned.route).sum().mean())
