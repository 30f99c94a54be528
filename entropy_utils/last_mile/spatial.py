"""Spatial consolidation: some customers of a route fetch their parcels at pick-up points. Who carries the entropy then?

Our reconstruction (Gerrits and van Heeswijk, arXiv 2605.00008, is known by its abstract only): parcels are particles, the
places where the carrier stops are cells, S = ln N!/prod n!. Equation numbers are those of notebook 02. All in nats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.optimize import brentq
from scipy.special import gammaln

from entropy_utils.information import log_factorial
from entropy_utils.lab.errors import ParameterError

ACCOUNTINGS, TRIPS = ("pooled", "separate"), ("customer", "parcel")
ROUNDS = 25  # of k-means, at most


class Outcome(NamedTuple):
    """Entropies of a consolidated route. carrier + customer == before, exactly (T4); total = carrier + trips + mixing.

    `carrier`: the shorter route; `customer`: handing out the parcels at the points; `trips`: the customers' dedicated trips;
    `mixing`: ln C(N + T, T), the two streams of movements pooled (0 if accounted separately); `before`: the old route.
    """

    carrier: float
    customer: float
    trips: float
    mixing: float
    total: float
    before: float


def spatial_consolidation(n, xy, alpha: float, K: int, chi: float, accounting: str = "pooled", trips: str = "customer",
                          rng: np.random.Generator | int = 0) -> Outcome:  # fmt: skip
    """Draw a scenario for one route: n (stops,) parcels, xy (stops, 2) places in km.

    Each stop adopts with probability `alpha` and goes to its nearest of `K` points (k-means over all stops). A customer
    makes one dedicated trip (`trips` "customer") or one per parcel ("parcel") with probability 1 - `chi`, else none: then
    parcels are fetched on a way that is made anyway.
    """
    for name, value in (("alpha", alpha), ("chi", chi)):
        if not 0 <= value <= 1:
            raise ParameterError.of(name, value, "share from 0 to 1")
    if trips not in TRIPS:
        raise ParameterError.of("trips", trips, " or ".join(TRIPS))
    n, rng = _parcels(n), np.random.default_rng(rng)
    point = pick_up_points(xy, K, rng)
    if len(point) != len(n):
        raise ParameterError.of("xy", len(point), f"as many places as stops, {len(n)}")
    adopts, dedicated = rng.random(len(n)) < alpha, rng.random(len(n)) >= chi
    return consolidate(n, point, adopts, np.where(dedicated, n if trips == "parcel" else 1, 0), accounting)


def consolidate(n, point, adopts, trips, accounting: str = "pooled") -> Outcome:
    """Entropies when the stops that adopt fetch their parcels at their `point` in `trips` trips; all arrays are (stops,).

    `accounting` "pooled": all movements, carriages and trips, are one pool (eq. 6); "separate": the trips to each point are
    a pool of their own, and nothing is mixed. Trips of stops that do not adopt are not counted.
    """
    if accounting not in ACCOUNTINGS:
        raise ParameterError.of("accounting", accounting, " or ".join(ACCOUNTINGS))
    n = _parcels(n)
    point, trips = _whole("point", point, n.shape), _whole("trips", trips, n.shape)
    adopts = _whole("adopts", adopts, n.shape, most=1).astype(bool)
    point, trips = point[adopts], trips[adopts]
    fetched = n[adopts]
    delivered, handed_out = log_factorial(n[~adopts]).sum(), log_factorial(fetched).sum()
    loads = log_factorial(np.bincount(point, fetched)).sum()
    every, T = log_factorial(n.sum()), trips.sum()
    carrier, customer = every - delivered - loads, loads - handed_out
    journeys = log_factorial(np.bincount(point, trips)).sum() if accounting == "separate" else log_factorial(T)
    walked = journeys - log_factorial(trips).sum()
    mixing = log_factorial(n.sum() + T) - every - log_factorial(T) if accounting == "pooled" else 0.0
    before = every - delivered - handed_out
    return Outcome(*map(float, (carrier, customer, walked, mixing, carrier + walked + mixing, before)))


def break_even_chaining(parcels, adopters, customer) -> np.ndarray:
    """The share chi* of chained trips at which the pooled total is what it was (one trip per customer; eq. 7 set to 0).

    `parcels` N of a route, its `adopters` (one dedicated trip each at chi = 0), its `customer` entropy; arrays broadcast.
    0: the total never rises; 1: only full chaining brings it back, since nothing was saved.
    """
    for name, value in (("parcels", parcels), ("adopters", adopters), ("customer", customer)):
        if not (np.isfinite(value) & (np.asarray(value) > -1e-9)).all():  # rounding leaves an entropy a little below 0
            raise ParameterError.of(name, value, "finite, from 0")
    parcels, adopters, customer = np.broadcast_arrays(*(np.asarray(x, float) for x in (parcels, adopters, customer)))

    def rise(chi, N, a, saved):
        return gammaln(N + (1 - chi) * a + 1) - gammaln(N + 1) - saved

    found = [
        0.0 if rise(0.0, *case) <= 0 else brentq(rise, 0.0, 1.0, case)
        for case in zip(parcels.flat, adopters.flat, customer.flat, strict=True)
    ]
    return np.reshape(found, parcels.shape)[()]


def pick_up_points(xy, K: int, rng: np.random.Generator | int = 0) -> np.ndarray:
    """Which of `K` pick-up points serves each place, (stops,): k-means from K random stops. xy (stops, 2) in km."""
    xy = np.ascontiguousarray(xy, float)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise ParameterError.of("xy", xy.shape, "finite places (stops, 2)")
    if isinstance(K, bool) or not isinstance(K, (int, np.integer)) or not 1 <= K <= len(xy):
        raise ParameterError.of("K", K, f"integer from 1 to the number of stops, {len(xy)}")
    return k_means(xy, xy[np.random.default_rng(rng).permutation(len(xy))[:K]])


@njit(cache=True)
def k_means(xy, centres):
    """Lloyd's rounds from these centres (K, 2), at most ROUNDS; a centre without stops stays. Returns labels (stops,)."""
    labels, centres = np.zeros(len(xy), np.int64), centres.copy()
    for turn in range(ROUNDS):
        changed = turn == 0
        for i in range(len(xy)):
            best, least = 0, np.inf
            for k in range(len(centres)):
                away = (xy[i, 0] - centres[k, 0]) ** 2 + (xy[i, 1] - centres[k, 1]) ** 2
                if away < least:
                    best, least = k, away
            changed |= best != labels[i]
            labels[i] = best
        if not changed:
            break
        sums = np.zeros((len(centres), 3))
        for i in range(len(xy)):
            sums[labels[i], 0] += xy[i, 0]
            sums[labels[i], 1] += xy[i, 1]
            sums[labels[i], 2] += 1
        for k in range(len(centres)):
            if sums[k, 2]:
                centres[k] = sums[k, :2] / sums[k, 2]
    return labels


def plain_k_means(xy, centres) -> np.ndarray:
    """`k_means` in plain numpy, which it is tested against."""
    centres = np.array(centres, float)
    for _ in range(ROUNDS):
        labels = ((xy[:, None] - centres) ** 2).sum(-1).argmin(1)
        for k in set(labels):
            centres[k] = xy[labels == k].mean(0)
    return labels


def _parcels(n) -> np.ndarray:
    n = np.asarray(n)
    if n.ndim != 1 or not len(n) or not np.issubdtype(n.dtype, np.integer) or (n < 0).any():
        raise ParameterError.of("n", n, "parcels per stop, whole numbers from 0, one axis")
    return n.astype(np.int64)


def _whole(name: str, value, shape: tuple, most: float = np.inf) -> np.ndarray:
    value = np.asarray(value)
    if value.shape != shape:
        raise ParameterError.of(name, f"shape {value.shape}", f"{shape} as n")
    if value.dtype.kind not in "bui" or (value < 0).any() or (value > most).any():
        raise ParameterError.of(name, value, "whole numbers from 0" + (f" to {most}" if most < np.inf else ""))
    return value
