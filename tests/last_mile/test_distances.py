"""Kilometres and bearings on the sphere, legs of a table of routes, and the entropy of directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile import bearings, distances
from entropy_utils.last_mile.route_table import RouteTable

places = st.tuples(st.floats(-85, 85), st.floats(-179, 179))


def made_of(*routes) -> RouteTable:
    """A table of routes, each a list of (lat, lng), the station first."""
    lat, lng = np.concatenate(routes).T
    ptr = np.cumsum([0, *map(len, routes)])
    n = np.ones(len(lat), int)
    n[ptr[:-1]] = 0
    text, names = np.full(len(lat), "AA"), np.full(len(routes), "DLA1")
    return RouteTable(ptr, n, lat, lng, -np.ones(len(lat), int), np.zeros(len(lat)), text, ["A"], *[names] * 4)


SQUARE = [(0.0, 0.0), (0.0, 0.01), (0.01, 0.01), (0.01, 0.0)]  # station in the south-west corner, then against the clock
DEGREE = distances.EARTH_KM * math.pi / 180


def test_a_degree_and_half_the_globe():
    assert distances.haversine(0, 0, 0, 1) == pytest.approx(DEGREE)
    assert distances.haversine(60, 0, 60, 1e-3) == pytest.approx(DEGREE * 0.5e-3)
    assert distances.haversine(90, 0, -90, 77) == pytest.approx(180 * DEGREE)
    assert distances.haversine(0, 0, 0, 180) == pytest.approx(180 * DEGREE)


@given(places, places)
def test_against_the_angle_between_vectors(a, b):
    def vector(lat, lng):
        lat, lng = math.radians(lat), math.radians(lng)
        return np.array([math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat)])

    u, v = vector(*a), vector(*b)
    angle = math.atan2(np.linalg.norm(np.cross(u, v)), u @ v)
    assert distances.haversine(*a, *b) == pytest.approx(distances.EARTH_KM * angle, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "point"), [("lat", (91, 0, 0, 0)), ("to_lng", (0, 0, 0, 181)), ("lng", (0, np.nan, 0, 0))]
)
def test_no_place_on_earth(field, point):
    with pytest.raises(ParameterError, match=rf"'{field}'.*degrees"):
        distances.haversine(*point)


def test_legs_return_to_their_own_station():
    table = made_of(SQUARE, [(1.0, 1.0), (1.0, 1.02), (1.0, 1.05)])
    side = DEGREE / 100
    np.testing.assert_allclose(distances.legs(table)[:4], side, rtol=1e-7)
    assert distances.route_distance(table) == pytest.approx([4 * side, 10 * side * math.cos(math.radians(1))], rel=1e-6)
    assert distances.local_distance(table) == pytest.approx([2 * side, 3 * side * math.cos(math.radians(1))], rel=1e-6)


def test_the_plane_keeps_distances_over_a_city():
    rng = np.random.default_rng(1)
    lat, lng = 47.6 + 0.1 * rng.random(50), -122.3 + 0.1 * rng.random(50)
    xy = distances.plane(lat, lng)
    flat = np.hypot(*(xy[1:] - xy[0]).T)
    np.testing.assert_allclose(flat, distances.haversine(lat[0], lng[0], lat[1:], lng[1:]), rtol=1e-3)


@pytest.mark.parametrize(("to", "degrees"), [((0.1, 0), 0), ((0, 0.1), 90), ((-0.1, 0), 180), ((0, -0.1), 270)])
def test_compass(to, degrees):
    assert bearings.bearing(0, 0, *to) == pytest.approx(degrees)


def test_sector_0_is_centred_on_north():
    counts = bearings.bearing_counts([355.1, 359.9, 0, 4.9, 5.1, 14.9, 354.9], both_ways=False)
    assert counts[[0, 1, 35]].tolist() == [4, 2, 1]
    assert counts.sum() == 7


def test_both_ways_counts_each_leg_twice():
    counts = bearings.bearing_counts([0, 90, 90])
    assert {i: int(c) for i, c in enumerate(counts) if c} == {0: 1, 9: 2, 18: 1, 27: 2}


def test_grid_and_no_order():
    grid = bearings.bearing_entropy([0.0, 90.0])
    assert grid == pytest.approx(math.log(4))
    assert bearings.order_indicator(grid) == pytest.approx(1)
    even = bearings.bearing_entropy(np.arange(0, 360, 10.0))
    assert even == pytest.approx(math.log(36))
    assert bearings.order_indicator(even) == pytest.approx(0)
    assert bearings.order_indicator(2.08) == pytest.approx(0.90, abs=0.005)  # Chicago's streets, as published


def test_legs_without_length_and_the_stem_are_left_out():
    table = made_of([*SQUARE, SQUARE[-1]])
    np.testing.assert_allclose(bearings.leg_bearings(table) % 360, [0, 270], atol=1e-2)
    np.testing.assert_allclose(bearings.leg_bearings(table, stem=True) % 360, [90, 0, 270, 180], atol=1e-2)


def test_no_leg_at_all_is_an_error():
    with pytest.raises(ValueError, match="nothing but 0"):
        bearings.bearing_entropy([])
    with pytest.raises(ParameterError, match="bins"):
        bearings.bearing_counts([1.0], bins=35)
    with pytest.raises(ParameterError, match=r"'bearings': .*finite"):
        bearings.bearing_counts([1.0, np.nan])
