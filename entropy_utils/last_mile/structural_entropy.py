"""Structural entropy of a route: the log of the number of ways in which its parcels can be dealt to its stops.

N labelled parcels, M labelled stops, n_i parcels at stop i: W = N! / prod n_i! ways, S = ln W nats (eq. 1 of notebook 02).
That is a reconstruction: the paper's own definition is not known, so the other candidates stand beside it in `DEFINITIONS`.
It is not the structural entropy of graphs (Li and Pan 2016), which has the same name.

Functions of `n` take whole numbers (M,); a stop with 0 parcels adds nothing and is not counted in M.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from entropy_utils.information import log_factorial, log_multiplicity, plug_in_entropy
from entropy_utils.lab.errors import ParameterError

from .route_table import NO_ZONE, Route, RouteTable


def boltzmann_entropy(n) -> float:
    """S = ln N! - sum ln n_i! in nats: the burden, which grows with N (eq. 1)."""
    return float(log_multiplicity(n))


def normalised_entropy(n) -> float:
    """eta = S / ln N!, from 0 to 1: how fragmented the parcels are. 1: one parcel per stop. Below two parcels it is 0."""
    return _ratio(boltzmann_entropy(n), log_factorial(np.sum(n)))


def evenness(n) -> float:
    """J = H / ln M, from 0 to 1: how equal the loads are, H being Shannon's entropy of n_i / N. With one stop it is 1."""
    boltzmann_entropy(n)  # refuses what is no load
    stops = np.count_nonzero(n)
    return float(plug_in_entropy(n)) / math.log(stops) if stops > 1 else 1.0


def bounds(N: int, M: int) -> tuple[float, float]:
    """Least and largest S of N parcels on M stops that get at least one each (T1).

    Least: one stop takes all that is left over, (N - M + 1, 1, ..., 1). Largest: floor or ceiling of N / M everywhere.
    """
    if M < 1:
        raise ParameterError.of("M", M, "integer from 1")
    if N < M:
        raise ParameterError.of("N", N, f"integer from M = {M}")
    each, over = divmod(N, M)
    balanced = [each + 1] * over + [each] * (M - over)
    return boltzmann_entropy([N - M + 1] + [1] * (M - 1)), boltzmann_entropy(balanced)


def shannon_bounds(n) -> tuple[float, float]:
    """N H - M ln(N + 1) and N H, between which S lies (eq. 3; method of types, Cover and Thomas theorem 11.1.3)."""
    N, stops = float(np.sum(n)), np.count_nonzero(n)
    high = N * float(plug_in_entropy(n))
    return high - stops * math.log(N + 1), high


class Stirling(NamedTuple):
    """Stirling's series for S in nats up to 1/(12 n), and how much it exceeds the exact S."""

    value: float
    error: float


def stirling(n) -> Stirling:
    """S ~ N H + ln(2 pi N) / 2 - sum ln(2 pi n_i) / 2 + 1/(12 N) - sum 1/(12 n_i) (eq. 2): the duality S ~ N H.

    Good only where the loads are large. Parcels per stop are 1 or 2 on real routes, and there N H alone is 15 % off.
    """
    exact, n = boltzmann_entropy(n), np.asarray(n, float)
    n, N = n[n > 0], n.sum()
    value = N * float(plug_in_entropy(n)) + 0.5 * (np.log(2 * np.pi * N) - np.log(2 * np.pi * n).sum())
    value += 1 / (12 * N) - (1 / (12 * n)).sum()
    return Stirling(float(value), float(value - exact))


def chain_split(n, group) -> tuple[float, float]:
    """S = between + within for stops in groups (eq. 4, exact): which group gets a parcel, then which stop of the group.

    `group` (M,): a code from 0 for every stop, such as its zone, its pick-up point, or its route.
    """
    n, group = np.asarray(n), np.asarray(group)
    if group.shape != n.shape:
        raise ParameterError.of("group", f"shape {group.shape}", f"{n.shape} as n")
    if not np.issubdtype(group.dtype, np.integer) or group.min() < 0:
        raise ParameterError.of("group", f"{group.dtype} from {group.min()}", "integers from 0")
    between = boltzmann_entropy(np.bincount(group, weights=n))
    return between, boltzmann_entropy(n) - between


# What the paper might mean instead


class Definition(NamedTuple):
    """A candidate: its entropy and the largest value that it is divided by, both of (n, zone) of one route, in nats."""

    title: str
    entropy: Callable[[np.ndarray, np.ndarray], float]
    ceiling: Callable[[np.ndarray, np.ndarray], float]


def _zone_sizes(zone) -> np.ndarray:
    """Stops in each zone; those without a zone are left out."""
    zone = np.asarray(zone)
    return np.unique(zone[zone != NO_ZONE], return_counts=True)[1]


def _ln_parcels(n, zone):
    return log_factorial(np.sum(n))


def _ln_zoned_stops(n, zone):
    return log_factorial(_zone_sizes(zone).sum())


DEFINITIONS: dict[str, Definition] = {
    "R1": Definition("parcels to stops: ln N!/∏ n!, of ln N!", lambda n, zone: log_multiplicity(n), _ln_parcels),
    "R2": Definition(
        "orders of the stops: ln M!, of ln N!", lambda n, zone: log_factorial(np.count_nonzero(n)), _ln_parcels
    ),
    "R3": Definition(
        "stops to zones: ln M!/∏ m!, of ln M!", lambda n, zone: log_multiplicity(_zone_sizes(zone)), _ln_zoned_stops
    ),
    "R4": Definition("Shannon alone: H, of ln N", lambda n, zone: plug_in_entropy(n), lambda n, zone: np.log(np.sum(n))),
    "R5": Definition(
        "orders zone by zone: ln Z! + Σ ln m!, of ln M!",
        lambda n, zone: log_factorial(len(_zone_sizes(zone))) + log_factorial(_zone_sizes(zone)).sum(),
        _ln_zoned_stops,
    ),
}


def entropy(route: Route, kind: str = "R1") -> float:
    """Entropy of a route in nats by one of `DEFINITIONS`. R3 and R5 are over the stops that have a zone."""
    return float(_definition(kind).entropy(route.n, route.zone))


def normalised(route: Route, kind: str = "R1") -> float:
    """`entropy` over the ceiling of its definition, from 0 to 1; 0 where the ceiling is 0."""
    return _ratio(entropy(route, kind), _definition(kind).ceiling(route.n, route.zone))


def _definition(kind: str) -> Definition:
    if kind not in DEFINITIONS:
        raise ParameterError.of("kind", kind, ", ".join(DEFINITIONS))
    return DEFINITIONS[kind]


def _ratio(value, ceiling) -> float:
    return float(value / ceiling) if ceiling > 0 else 0.0


# Of all routes at once


def route_entropies(table: RouteTable, kind: str = "R1") -> pd.DataFrame:
    """One row per route: N parcels, M stops, S (nats) and eta by definition `kind`, H (nats) of the parcels, J = H / ln M.

    Sums per route of tabulated ln k! and k ln k: 895 000 stops in about a tenth of a second.
    """
    _definition(kind)
    n, starts, M = table.n, table.starts, table.sizes
    k = np.arange(n.max() + 1)
    N = np.add.reduceat(n, starts, dtype=np.int64)
    H = np.log(N) - np.add.reduceat((k * np.log(np.maximum(k, 1)))[n], starts) / N
    if kind == "R1":
        ceiling = log_factorial(N)
        S = ceiling - np.add.reduceat(log_factorial(k)[n], starts)
    elif kind == "R2":
        S, ceiling = log_factorial(M), log_factorial(N)
    elif kind == "R4":
        S, ceiling = H, np.log(N)
    else:
        zones, stops, ln_inside = _zones(table)
        ceiling = log_factorial(stops)
        S = ceiling - ln_inside if kind == "R3" else log_factorial(zones) + ln_inside
    S, H = (np.where(abs(x) < 1e-9, 0.0, x) for x in (S, H))  # what rounding leaves of 0
    eta = np.divide(S, ceiling, out=np.zeros(len(table)), where=ceiling > 0)
    return pd.DataFrame({"N": N, "M": M, "S": S, "eta": eta, "H": H, "J": H / np.log(M)})


def _zones(table: RouteTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per route: zones, stops that have one, and sum ln m_z! over its zones."""
    has_zone = (table.zone != NO_ZONE) & (table.n > 0)
    key = table.owner[has_zone] * len(table.zone_names) + table.zone[has_zone]
    key, sizes = np.unique(key, return_counts=True)
    owner = key // max(len(table.zone_names), 1)
    weights = np.ones(len(sizes)), sizes, log_factorial(sizes)
    zones, stops, ln_inside = (np.bincount(owner, weights=w, minlength=len(table)) for w in weights)
    return zones, stops, ln_inside
