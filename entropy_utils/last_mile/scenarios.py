"""The experiments of notebook 02: pick-up points swept over adoption, number and chaining; entropy against distance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from numba import njit
from pydantic import Field

from entropy_utils.information import log_factorial, log_multiplicity
from entropy_utils.lab.experiment import Experiment, Record

from .almrrc import load_almrrc
from .distances import plane
from .route_table import RouteTable
from .spatial import k_means
from .synthetic_city import synthetic_almrrc
from .tours import shortest_tour, tour_length

Share = Annotated[float, Field(ge=0, le=1)]
PARCELS_PER_STOP = 1.62  # of the challenge's training routes
UNEVEN = 0.62  # shape of the gamma weights that spread the parcels: as the synthetic city's


class Consolidation(Experiment):
    """What pick-up points do to the entropies of many routes, for every adoption, number of points and chaining share.

    Records, one per scenario, means over routes and draws, relative to the entropy of the route before: `carrier_change` and
    `total_change`, with `_low` and `_high`, their 10th and 90th percentile; `trips` and `mixing`, parts of the new total;
    `rises`, the share of routes whose total rises; `break_even`, the chaining share at which the pooled total is what it was
    (one trip each); `cases`, routes times draws; `skipped`, routes that were broken. Adopters are nested: who adopts at 0.3
    also does at 0.4.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"routes": 40, "draws": 1},
        "laptop": {},
        "gpu": {"routes": 6112, "draws": 20},
    }

    routes: int = Field(1500, ge=1, le=100_000, description="synthetic routes", json_schema_extra={"scale": "log"})
    directory: str = Field("", description="folder with the challenge's JSON files to use instead; empty: synthetic routes")
    split: Literal["training", "apply", "evaluation"] = Field("training", description="which part of that folder")
    on_error: Literal["raise", "skip"] = Field("raise", description="what a broken route of that folder does")
    cache: str = Field("", description="npz file to keep the table of that folder in; empty: its JSON is read every time")
    alphas: tuple[Share, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1, description="shares of the stops that adopt"
    )
    points: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field(
        (1, 3, 5, 10), min_length=1, description="pick-up points per route; at most one per stop"
    )
    chis: tuple[Share, ...] = Field((0.0, 0.5, 1.0), min_length=1, description="shares of collections on a trip made anyway")
    accounting: Literal["pooled", "separate"] = Field("pooled", description="one pool of movements, or one for each point")
    trips: Literal["customer", "parcel"] = Field("customer", description="what a dedicated trip fetches: all, or one parcel")
    draws: int = Field(3, ge=1, le=1000, description="draws of the adopters and their trips for every route")

    def length(self) -> int:
        return len(self.points) * len(self.alphas) * len(self.chis)

    def table(self) -> RouteTable:
        """The routes: of the folder, or synthetic."""
        if self.directory:
            return load_almrrc(self.directory, self.split, self.on_error, self.cache or None)
        return synthetic_almrrc(self.routes, self.seed)

    def run(self) -> Iterator[Record]:
        yield from self.sweep(self.table())

    def sweep(self, table: RouteTable) -> Iterator[Record]:
        """The records of `run` for the routes of a table."""
        skipped = len(table.skipped)
        most = int(np.add.reduceat(table.n.astype(np.int64), table.starts).max())
        lf = log_factorial(np.arange(2 * most + int(table.sizes.max()) + 1))
        for K in self.points:
            labels = route_labels(table, K, self.seed)
            for alpha in self.alphas:
                draws = [self._entropies(table, labels, lf, alpha, draw) for draw in range(self.draws)]
                found, even = (np.concatenate(parts) for parts in zip(*draws, strict=True))
                for c, chi in enumerate(self.chis):
                    yield {"alpha": alpha, "points": K, "chi": chi} | _summary(found[:, c], even) | {"skipped": skipped}

    def _entropies(self, table, labels, lf, alpha, draw):
        adopting, chaining = np.random.default_rng([self.seed, draw]).random((2, len(table.n)))
        options = self.trips == "parcel", self.accounting == "pooled"
        return scenario(table.n, table.ptr, labels, adopting, chaining, alpha, np.array(self.chis), *options, lf)


def _summary(found: np.ndarray, even: np.ndarray) -> Record:
    """Means over routes of what `scenario` found at one chi, relative to the entropy before."""
    carrier, _, trips, mixing, before = found.T
    carrier, trips, mixing = carrier / before, trips / before, mixing / before
    changes, record = {"carrier": carrier - 1, "total": carrier + trips + mixing - 1}, {}
    for name, change in changes.items():
        low, high = np.percentile(change, [10, 90])
        record |= {f"{name}_change": change.mean(), f"{name}_low": low, f"{name}_high": high}
    parts = {"trips": trips.mean(), "mixing": mixing.mean(), "rises": (changes["total"] > 1e-12).mean()}
    return record | parts | {"break_even": even.mean(), "cases": len(even)}


def route_labels(table: RouteTable, K: int, seed: int = 0) -> np.ndarray:
    """The pick-up point of every row of the table, (rows,), from 0 within each route (k-means from K random stops)."""
    rng, labels = np.random.default_rng([seed, K]), np.zeros(len(table.n), np.int64)
    for first, last in zip(table.starts + 1, table.ptr[1:], strict=True):
        xy = plane(table.lat[first:last], table.lng[first:last])
        labels[first:last] = k_means(xy, xy[rng.permutation(len(xy))[:K]])
    return labels


@njit(cache=True)
def scenario(n, ptr, labels, adopting, chaining, alpha, chis, per_parcel, pooled, lf):
    """`spatial.consolidate` for every route of a table and every chaining share at once.

    A row adopts where `adopting` < alpha, and travels for it where `chaining` >= chi. `lf` is a table of ln k!. Returns
    carrier, customer, trips, mixing and before, (routes, chis, 5) in nats, and the break-even chaining share, (routes,).
    """
    routes, C, K = len(ptr) - 1, len(chis), labels.max() + 1
    found, even = np.empty((routes, C, 5)), np.empty(routes)
    for r in range(routes):
        N, adopters, delivered, handed_out = 0, 0, 0.0, 0.0
        load, T, batched, to_point = np.zeros(K, np.int64), np.zeros(C, np.int64), np.zeros(C), np.zeros((C, K), np.int64)
        for i in range(ptr[r] + 1, ptr[r + 1]):
            N += n[i]
            if adopting[i] >= alpha:
                delivered += lf[n[i]]
                continue
            adopters += 1
            handed_out += lf[n[i]]
            load[labels[i]] += n[i]
            for c in range(C):
                if chaining[i] >= chis[c]:
                    trips = n[i] if per_parcel else 1
                    T[c] += trips
                    batched[c] += lf[trips]
                    to_point[c, labels[i]] += trips
        loads = 0.0
        for k in range(K):
            loads += lf[load[k]]
        even[r] = _break_even(N, adopters, loads - handed_out)
        for c in range(C):
            journeys = lf[T[c]]
            if not pooled:
                journeys = 0.0
                for k in range(K):
                    journeys += lf[to_point[c, k]]
            found[r, c, 0] = lf[N] - delivered - loads
            found[r, c, 1] = loads - handed_out
            found[r, c, 2] = journeys - batched[c]
            found[r, c, 3] = lf[N + T[c]] - lf[N] - lf[T[c]] if pooled else 0.0
            found[r, c, 4] = lf[N] - delivered - handed_out
    return found, even


@njit(cache=True)
def _break_even(N, adopters, customer):
    """`spatial.break_even_chaining` by halving, to 1e-9."""
    level = math.lgamma(N + 1) + customer
    if math.lgamma(N + adopters + 1) <= level:
        return 0.0
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        chi = (low + high) / 2
        if math.lgamma(N + (1 - chi) * adopters + 1) > level:
            low = chi
        else:
            high = chi
    return (low + high) / 2


class Distances(Experiment):
    """Entropy against the length of a short tour through uniform stops: the same area for all, or the same density.

    Records, two per tour (`setting` "area" and "density", the same tour, scaled): `stops`, `parcels`; `entropy`, the S of
    `structural_entropy`, and `order`, ln M!, in nats; `local`, the closed tour in km; `distance`, that and the stem twice.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"tours": 24, "starts": 2},
        "laptop": {},
        "gpu": {"tours": 400, "starts": 8},
    }

    tours: int = Field(120, ge=3, le=100_000, description="tours, with evenly spaced ln M")
    fewest: int = Field(40, ge=4, le=1000, description="stops of the smallest tour")
    most: int = Field(240, ge=4, le=1000, description="stops of the largest tour")
    starts: int = Field(4, ge=1, le=100, description="starts of the tour heuristic; the best counts")
    area: float = Field(
        60.0, gt=0, le=1e6, description="area of a tour; at fixed density that of a tour with 148 stops",
        json_schema_extra={"unit": "km²", "scale": "log"},
    )  # fmt: skip
    stem: float = Field(0.0, ge=0, le=1000, description="way from the station to the area", json_schema_extra={"unit": "km"})

    def length(self) -> int:
        return 2 * self.tours

    def run(self) -> Iterator[Record]:
        rng = np.random.default_rng(self.seed)
        for M in np.geomspace(self.fewest, self.most, self.tours).round().astype(int):
            points, weights = rng.random((M, 2)), rng.gamma(UNEVEN, size=M)
            n = 1 + rng.multinomial(round((PARCELS_PER_STOP - 1) * M), weights / weights.sum())
            unit = tour_length(points, shortest_tour(points, self.starts, rng))
            same = {"stops": M, "parcels": n.sum(), "entropy": log_multiplicity(n), "order": log_factorial(M)}
            for setting, area in (("area", self.area), ("density", self.area * M / 148)):
                local = unit * math.sqrt(area)
                yield {"setting": setting, **same, "local": local, "distance": local + 2 * self.stem}
