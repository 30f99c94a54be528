"""The tour heuristic against exhaustive search and against its plain version."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile import tours


def distances_of(points):
    return np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 12, 25])
def test_compiled_is_plain(n):
    for seed in range(4):
        d = distances_of(np.random.default_rng(seed).random((n, 2)))
        start = tours.nearest_neighbour(d, seed % n)
        found = tours.improve(d, start)
        assert sorted(found) == list(range(n))
        plain = tours.plain_improve(d, start.tolist())
        np.testing.assert_array_equal(found, plain)


def test_nearest_neighbour_walks_a_line():
    x = np.array([0.0, 5.0, 1.0, 2.5])
    assert tours.nearest_neighbour(np.abs(x[:, None] - x), 0).tolist() == [0, 2, 3, 1]


def test_eight_stops_against_every_order():
    for seed in range(3):
        points = np.random.default_rng(seed).random((8, 2))
        best = min(tours.tour_length(points, (0, *rest)) for rest in itertools.permutations(range(1, 8)))
        assert tours.tour_length(points, tours.shortest_tour(points, starts=8)) == pytest.approx(best, rel=0.02)
        assert tours.tour_length(points, tours.shortest_tour(points, starts=8)) >= best - 1e-12


def test_a_circle_is_solved():
    angle = np.random.default_rng(3).permutation(40) * 2 * np.pi / 40
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    assert tours.tour_length(points, tours.shortest_tour(points)) == pytest.approx(80 * np.sin(np.pi / 40))


def test_constant_of_the_continuum():
    """L / sqrt(n A) falls to 0.7124 from above; local search with 8 starts: 0.79 at 100 stops, 0.78 at 200."""
    rng, found = np.random.default_rng(0), {}
    for n in (25, 100, 200):
        areas = [rng.random((n, 2)) * 3 for _ in range(8)]
        found[n] = np.mean([tours.tour_length(x, tours.shortest_tour(x)) / np.sqrt(9 * n) for x in areas])
    assert found[25] > found[100] > found[200] > tours.CONTINUUM
    assert found[100] == pytest.approx(0.787, rel=0.03)
    assert found[200] == pytest.approx(0.776, rel=0.03)
    assert tours.continuum_length(200, 9.0) == pytest.approx(0.7124 * np.sqrt(1800))


def test_more_starts_are_never_worse():
    points = np.random.default_rng(2).random((60, 2))
    lengths = [tours.tour_length(points, tours.shortest_tour(points, starts)) for starts in (1, 4, 16)]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("points", [[[0, 0]], [[0, 0], [np.nan, 1]], [1.0, 2.0]])
def test_bad_points(points):
    with pytest.raises(ParameterError, match="points"):
        tours.shortest_tour(points)
    with pytest.raises(ParameterError, match="starts"):
        tours.shortest_tour([[0, 0], [1, 1]], starts=0)
