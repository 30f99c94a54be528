"""Where the legs of a route point: the entropy of their compass bearings, as it is taken of street networks.

Boeing (Urban spatial order, Applied Network Science 4:67, 2019): 36 bins of 10 degrees, natural logarithm; bin 0 holds 355
to 5 degrees, so that a street that runs due north is not split between two bins. Here the "streets" are straight legs
between stops, which scatter far more.
"""

from __future__ import annotations

import numpy as np

from entropy_utils.information import plug_in_entropy
from entropy_utils.lab.errors import ParameterError

from .distances import following_rows, legs

GRID = 4  # directions of a perfect grid
SHORTEST_KM = 1e-4  # legs below 10 cm have no direction


def bearing(lat, lng, to_lat, to_lng):
    """Initial compass bearing of the great circle between points, in degrees from 0 (north) clockwise to 360."""
    lat, lng, to_lat, to_lng = (np.radians(np.asarray(x, float)) for x in (lat, lng, to_lat, to_lng))
    east = np.sin(to_lng - lng) * np.cos(to_lat)
    north = np.cos(lat) * np.sin(to_lat) - np.sin(lat) * np.cos(to_lat) * np.cos(to_lng - lng)
    return np.degrees(np.arctan2(east, north)) % 360


def leg_bearings(table, stem: bool = False) -> np.ndarray:
    """Bearings of all legs of a `RouteTable` that have a length; with `stem` also those from and to the stations."""
    following = following_rows(table)
    used = legs(table) > SHORTEST_KM
    if not stem:
        used[table.starts] = used[table.ptr[1:] - 1] = False
    at, to = np.flatnonzero(used), following[used]
    return bearing(table.lat[at], table.lng[at], table.lat[to], table.lng[to])


def bearing_counts(bearings, bins: int = 36, both_ways: bool = True) -> np.ndarray:
    """How many bearings (degrees) point into each of `bins` sectors, (bins,); sector 0 is centred on north.

    `both_ways` counts every leg in its opposite direction, too, as for an undirected street.
    """
    if type(bins) is not int or bins < 2 or (both_ways and bins % 2):
        raise ParameterError.of("bins", bins, "an even integer of at least 2" if both_ways else "integer from 2")
    bearings = np.asarray(bearings, float)
    if not np.isfinite(bearings).all():
        raise ParameterError.of("bearings", bearings, "finite degrees")
    if both_ways:
        bearings = np.concatenate([bearings, bearings + 180])
    sector = np.floor(bearings % 360 / 360 * 2 * bins).astype(int) % (2 * bins)
    return np.roll(np.bincount(sector, minlength=2 * bins), 1).reshape(bins, 2).sum(1)


def bearing_entropy(bearings, bins: int = 36, both_ways: bool = True) -> float:
    """Shannon entropy of the bearings' sectors, in nats: ln 4 for a perfect grid, ln `bins` for none."""
    return float(plug_in_entropy(bearing_counts(bearings, bins, both_ways)))


def order_indicator(entropy, bins: int = 36):
    """Boeing's phi = 1 - ((H - ln 4) / (ln bins - ln 4))^2: 1 for a perfect grid, 0 for bearings without any order."""
    grid = np.log(GRID)
    return 1 - ((entropy - grid) / (np.log(bins) - grid)) ** 2
