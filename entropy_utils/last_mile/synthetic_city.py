"""Synthetic delivery routes with the statistics of the 6,112 routes of the Amazon challenge (Merchan et al. 2024, table 2).

Five cities, their stations, routes of one to two hundred stops in a grid of zones, parcels per stop, the driven order and
the service times. The recipe is ours, fitted to published statistics; no real stop is in it.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import replace
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np
from numba import njit

from entropy_utils.lab.errors import ParameterError

from .distances import EARTH_KM, legs
from .route_table import NO_ZONE, RouteTable

ROUTES = 6112
COLUMNS, ROWS, SUPER_ZONES = 3, 8, 34  # zones across and along a super-zone, and super-zones of a letter
LETTERS, ROW_LETTERS = "ABCDEGHJKLMNP", "ABCDEGHJ"
SWAP = 0.08  # chance that two zones that follow each other are driven in the other order
STREETS, JITTER = 0.1, 0.012  # km between streets, and of a stop from its street
NO_ZONE_SHARE = 6515 / 898_415  # of the drop-offs


class Metro(NamedTuple):
    """A city: its share of the routes, mean drop-offs, median stem and side of a zone (km), centre, weights of stations."""

    routes: int
    stops: float
    stem: float
    side: float
    lat: float
    lng: float
    stations: dict[str, int]


METROS = {
    "DLA": Metro(2888, 142.5, 17, 0.47, 33.92, -117.93,
                 {"DLA3": 202, "DLA4": 202, "DLA5": 202, "DLA7": 1133, "DLA8": 448, "DLA9": 701}),
    "DSE": Metro(1079, 143.4, 15, 0.50, 47.61, -122.25, {"DSE2": 285, "DSE4": 286, "DSE5": 508}),
    "DCH": Metro(1002, 161.1, 16, 0.45, 41.93, -87.85, {"DCH1": 250, "DCH2": 251, "DCH3": 251, "DCH4": 250}),
    "DBO": Metro(929, 150.4, 14, 0.48, 42.36, -71.12, {"DBO1": 178, "DBO2": 178, "DBO3": 573}),
    "DAU": Metro(214, 145.1, 22, 0.60, 30.35, -97.78, {"DAU1": 214}),
}  # fmt: skip


def synthetic_almrrc(n_routes: int = ROUTES, seed: int = 0) -> RouteTable:
    """A `RouteTable` of `n_routes` synthetic routes; the same seed gives the same routes."""
    if not isinstance(n_routes, int) or n_routes < 1:
        raise ParameterError.of("n_routes", n_routes, "integer from 1")
    rng = np.random.default_rng(seed)
    metro, station = _stations(n_routes, rng)
    M, N = _sizes(metro, rng)
    ptr = _pointers(M)  # without the stations, which come last
    n = _loads(M, N, rng)
    rank, zones = _zone_ranks(M, rng)
    x, y, zone, zone_names = _stops(metro, M, rank, rng)
    from_x, from_y = _stems(metro, ptr, x, y, rng)
    turned, swapped = rng.random(n_routes) < 0.5, rng.random(zones.sum()) < SWAP
    order = drive(ptr, rank, _pointers(zones), turned, swapped, x, y, from_x, from_y)
    n, zone = n[order], zone[order]
    lat, lng, station_lat, station_lng = _places(metro, station, M, x[order], y[order], from_x, from_y, rng)
    dates = np.datetime64("2018-07-19") + rng.integers(0, 39, n_routes)
    table = RouteTable(
        ptr + np.arange(n_routes + 1),
        np.insert(n, ptr[:-1], 0),
        np.insert(lat, ptr[:-1], station_lat).round(6),
        np.insert(lng, ptr[:-1], station_lng).round(6),
        np.insert(zone, ptr[:-1], NO_ZONE),
        np.zeros(ptr[-1] + n_routes),
        _names(M + 1, rng),
        zone_names,
        [f"RouteID_{uuid.UUID(bytes=rng.bytes(16), version=4)}" for _ in range(n_routes)],
        np.array([code for city in METROS.values() for code in city.stations])[station],
        rng.choice(["High", "Medium", "Low"], n_routes, p=np.array([2718, 3292, 102]) / ROUTES),
        np.datetime_as_string(dates),
    )
    return replace(table, service=_service(table, rng))


def travel_seconds(km: np.ndarray) -> np.ndarray:
    """Driving time of legs of so many straight km: 20 s to start, then streets 1.36 times as long at 15 to 73 km/h."""
    return 20 + 3600 * 1.36 * km / (15 + 58 * (1 - np.exp(-km / 6)))


def transit_hours(table: RouteTable) -> np.ndarray:
    """(R,) driving time of every route in its driven order and back to the station, by `travel_seconds`."""
    return np.add.reduceat(travel_seconds(legs(table)), table.starts) / 3600


@njit(cache=True)
def drive(ptr, rank, zone_ptr, turned, swapped, x, y, from_x, from_y):
    """Row numbers of the stops in driven order: zone after zone, inside a zone always on to the nearest stop.

    The stops of route r are the rows ptr[r] to ptr[r + 1], sorted by `rank`, the number of their zone along the path. The
    zones are driven by rank, or backwards if `turned`; then the j-th changes places with the next where `swapped`.
    """
    order = np.empty(len(x), np.int64)
    for r in range(len(ptr) - 1):
        zones = np.arange(zone_ptr[r + 1] - zone_ptr[r])
        if turned[r]:
            zones = zones[::-1].copy()
        for j in range(len(zones) - 1):
            if swapped[zone_ptr[r] + j]:
                zones[j], zones[j + 1] = zones[j + 1], zones[j]
        rows, ranks = order[ptr[r] : ptr[r + 1]], rank[ptr[r] : ptr[r + 1]]
        here_x, here_y, done = from_x[r], from_y[r], 0
        for z in zones:
            first, last = np.searchsorted(ranks, z), np.searchsorted(ranks, z, side="right")
            left = np.arange(ptr[r] + first, ptr[r] + last)
            for size in range(len(left), 0, -1):
                nearest = np.argmin((x[left[:size]] - here_x) ** 2 + (y[left[:size]] - here_y) ** 2)
                rows[done] = left[nearest]
                here_x, here_y, done = x[left[nearest]], y[left[nearest]], done + 1
                left[nearest] = left[size - 1]
    return order


# The steps of the recipe


def _pointers(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])


def _of(metro: np.ndarray, field: str) -> np.ndarray:
    """A number of the metro of every route."""
    return np.array([getattr(city, field) for city in METROS.values()])[metro]


def _stations(n_routes: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the metro and of the station of every route."""
    weights = np.array([weight for city in METROS.values() for weight in city.stations.values()])
    metro_of = np.repeat(np.arange(len(METROS)), [len(city.stations) for city in METROS.values()])
    station = rng.choice(len(weights), n_routes, p=weights / weights.sum())
    return metro_of[station], station


def _sizes(metro: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Drop-offs M and parcels N: correlated 0.53, M skewed to the left."""
    z1, z2 = rng.standard_normal((2, len(metro)))
    z2 = 0.53 * z1 + math.sqrt(1 - 0.53**2) * z2
    M = (_of(metro, "stops") + 30.5 * (z1 - 0.09 * (z1**2 - 1))).round().clip(32, 237).astype(int)
    N = (238.4 + 31 * z2).round().clip(150, 304)
    return M, np.maximum(N, np.ceil(1.22 * M)).astype(int)


def _loads(M: np.ndarray, N: np.ndarray, rng) -> np.ndarray:
    """Parcels per stop: one each, and the other N - M by gamma weights (a shifted negative binomial)."""
    ends = np.cumsum(rng.gamma(0.62, size=M.sum()))
    last = ends[np.cumsum(M) - 1]
    first = np.insert(last[:-1], 0, 0.0)
    drawn = np.repeat(first, N - M) + rng.random((N - M).sum()) * np.repeat(last - first, N - M)
    got = np.minimum(np.searchsorted(ends, drawn), np.repeat(np.cumsum(M) - 1, N - M))
    return 1 + np.bincount(got, minlength=M.sum())


def _zone_ranks(M: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """The number of its zone along the path for every stop, and how many zones a route has.

    Sizes of zones are 1 + negative binomial (mean 6.1, size 6) until they cover the route.
    """
    ends = np.cumsum(1 + rng.negative_binomial(6, 6 / (6 + 6.1), (len(M), M.max())), axis=1)
    sizes = np.diff(np.minimum(ends, M[:, None]), prepend=0)
    ranks = np.broadcast_to(np.arange(M.max()), sizes.shape)
    return np.repeat(ranks.ravel(), sizes.ravel()), (sizes > 0).sum(1)


def _stops(metro: np.ndarray, M: np.ndarray, rank: np.ndarray, rng) -> tuple[np.ndarray, ...]:
    """Places of the stops (km), codes of their zones, and the zones' names.

    The zones of a route follow each other on a path that sweeps the 3 columns of one row of zones after the other, from one
    super-zone into the next. Stops are uniform in their zone, half of them drawn to streets along y, half along x.
    """
    z, aspect = rng.standard_normal((2, len(M)))
    side, aspect = _of(metro, "side") * np.exp(0.25 * z), np.exp(0.125 * aspect)
    per_super = COLUMNS * ROWS
    start = rng.integers(0, per_super * SUPER_ZONES, len(M))
    path = np.repeat(start, M) + rank
    row, column = path // COLUMNS, path % COLUMNS
    column = np.where(row % 2, COLUMNS - 1 - column, column)
    u, v = rng.random((2, len(path)))
    x = (column + u) * np.repeat(side * aspect, M)
    y = (row - np.repeat(start // COLUMNS, M) + v) * np.repeat(side / aspect, M)
    along_y = rng.random(len(path)) < 0.5
    x = np.where(along_y, STREETS * np.round(x / STREETS), x)
    y = np.where(along_y, y, STREETS * np.round(y / STREETS))
    x, y = np.stack([x, y]) + JITTER * rng.standard_normal((2, len(path)))
    letter = np.repeat(rng.integers(0, len(LETTERS), len(M)), M)
    code = ((letter * SUPER_ZONES + row // ROWS % SUPER_ZONES) * COLUMNS + column) * ROWS + row % ROWS
    code[rng.random(len(code)) < NO_ZONE_SHARE] = NO_ZONE
    return x, y, *_named(code)


def _named(code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zones numbered in the order of their names, as a reader would, and the names: letter-super-zone.column row."""
    codes = np.unique(code[code != NO_ZONE])
    shape = len(LETTERS), SUPER_ZONES, COLUMNS, ROWS
    parts = zip(*(part.tolist() for part in np.unravel_index(codes, shape)), strict=True)
    names = np.array([f"{LETTERS[a]}-{k + 1}.{c + 1}{ROW_LETTERS[r]}" for a, k, c, r in parts])
    number = np.full(math.prod(shape) + 1, NO_ZONE)  # the last one is where code -1 looks
    number[codes] = np.argsort(np.argsort(names))
    return number[code], np.sort(names)


def _stems(metro: np.ndarray, ptr: np.ndarray, x: np.ndarray, y: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Where the station is (km, by the coordinates of the stops): log-normally far from their centre, anywhere around it."""
    stem = _of(metro, "stem") * np.exp(0.38 * rng.standard_normal(len(metro)))
    angle = rng.uniform(0, 2 * np.pi, len(metro))
    middle_x, middle_y = (np.add.reduceat(one, ptr[:-1]) / np.diff(ptr) for one in (x, y))
    return middle_x + stem * np.cos(angle), middle_y + stem * np.sin(angle)


def _places(metro, station, M, x, y, from_x, from_y, rng) -> tuple[np.ndarray, ...]:
    """lat, lng of the stops and of their stations, each of which has one place about 8 km from the centre of its city."""
    shift = 8 * rng.standard_normal((2, station.max() + 1))
    north, east = shift[0, station], shift[1, station]
    lat, lng = _of(metro, "lat"), _of(metro, "lng")
    per_degree = math.radians(1) * EARTH_KM
    wide = per_degree * np.cos(np.radians(lat))
    stop_north, stop_east = y + np.repeat(north - from_y, M), x + np.repeat(east - from_x, M)
    return (
        np.repeat(lat, M) + stop_north / per_degree,
        np.repeat(lng, M) + stop_east / np.repeat(wide, M),
        lat + north / per_degree,
        lng + east / wide,
    )


def _service(table: RouteTable, rng) -> np.ndarray:
    """Planned seconds at the stops: log-normal per parcel, then scaled to the hours that go with the driving time."""
    hours = 4.5 - 0.673 * (transit_hours(table) - 3.6) + 0.767 * rng.standard_normal(len(table))
    each = np.exp(3.93 + 0.6 * rng.standard_normal(len(table.n)))
    scale = 3600 * hours.clip(2.13, 8.39) / np.add.reduceat(table.n * each, table.starts)
    return table.n * (each * scale[table.owner]).round(1).clip(0.1)


def _names(sizes: np.ndarray, rng) -> np.ndarray:
    """Two letters for every stop, no two alike within a route."""
    pairs = np.array([a + b for a in ascii_uppercase for b in ascii_uppercase])
    drawn = rng.permuted(np.tile(np.arange(len(pairs), dtype=np.int16), (len(sizes), 1)), axis=1)
    return pairs[drawn[np.arange(len(pairs)) < sizes[:, None]]]
