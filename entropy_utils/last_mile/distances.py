"""Distances on the ground: great circles, the legs of driven routes, and a flat map of one route.

Straight lines between stops, in kilometres. Driving is about 1.4 times longer (whole routes in Los Angeles).
For notebook 02 (Gerrits and van Heeswijk, arXiv 2605.00008, is known by its abstract only).
"""

from __future__ import annotations

import numpy as np

from entropy_utils.lab.errors import ParameterError

EARTH_KM = 6371.0


def haversine(lat, lng, to_lat, to_lng):
    """Great-circle distance in km between points in degrees; arrays broadcast."""
    lat, lng, to_lat, to_lng = (_degrees(*pair) for pair in (("lat", lat, 90), ("lng", lng, 180), ("to_lat", to_lat, 90),
                                                             ("to_lng", to_lng, 180)))  # fmt: skip
    half = np.sin((to_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(to_lat) * np.sin((to_lng - lng) / 2) ** 2
    return 2 * EARTH_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def _degrees(name: str, value, most: float) -> np.ndarray:
    value = np.asarray(value, float)
    wrong = ~(np.abs(value) <= most)
    if wrong.any():
        raise ParameterError.of(name, float(value[wrong].flat[0]), f"degrees from -{most:g} to {most:g}")
    return np.radians(value)


def following_rows(table) -> np.ndarray:
    """For every row of a `RouteTable` the row that is driven to next; from a route's last stop back to its station."""
    following = np.arange(1, len(table.lat) + 1)
    following[table.ptr[1:] - 1] = table.starts
    return following


def legs(table) -> np.ndarray:
    """Straight km from every row of a `RouteTable` to the one driven to next, (rows,)."""
    following = following_rows(table)
    return haversine(table.lat, table.lng, table.lat[following], table.lng[following])


def route_distance(table) -> np.ndarray:
    """Straight km of every route in driven order, (routes,): station, all stops, and back to the station."""
    return np.add.reduceat(legs(table), table.starts)


def local_distance(table) -> np.ndarray:
    """Straight km from the first to the last delivery of every route, (routes,): without the way from and to the station."""
    legs_km = legs(table)
    return np.add.reduceat(legs_km, table.starts) - legs_km[table.starts] - legs_km[table.ptr[1:] - 1]


def plane(lat, lng) -> np.ndarray:
    """Points in degrees on a flat map, (n, 2): km east and north of their mean; right to 0.1 % over a city."""
    lat, lng = np.asarray(lat, float), np.asarray(lng, float)
    east = np.cos(np.radians(lat.mean())) * (lng - lng.mean())
    return EARTH_KM * np.radians(np.column_stack([east, lat - lat.mean()]))
