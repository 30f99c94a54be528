"""A small travelling-salesman heuristic to compare driven tours with: nearest neighbour, then 2-opt and Or-opt.

Every start is a different first stop; full passes of 2-opt (turn a piece of the tour round) and of Or-opt (move up to three
neighbouring stops elsewhere, either way round) take turns until neither finds a shorter tour. `improve` is the compiled
version, `plain_improve` the readable one that it is tested against. Tours are closed; points (n, 2) in km on a plane.
Also here: the continuum approximation, L = k sqrt(n A) with k -> 0.7124 for optimal tours (Beardwood, Halton and
Hammersley 1959; the number is numerical).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from entropy_utils.lab.errors import ParameterError

CONTINUUM = 0.7124
GAIN = 1e-10  # a shorter tour is at least this much shorter, so that rounding never goes round in circles


def tour_length(points, order) -> float:
    """Length of the closed tour that visits `points` (n, 2) in this order."""
    visited = np.asarray(points, float)[np.asarray(order)]
    return float(np.hypot(*(visited - np.roll(visited, -1, 0)).T).sum())


def continuum_length(n, area):
    """Length of an optimal tour through many uniform points, 0.7124 sqrt(n area), in the root of the area's unit."""
    return CONTINUUM * np.sqrt(np.asarray(n, float) * area)


def shortest_tour(points, starts: int = 8, rng: np.random.Generator | int = 0) -> np.ndarray:
    """The best order (n,) that local search finds from `starts` nearest-neighbour tours with random first stops."""
    points = np.ascontiguousarray(points, float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise ParameterError.of("points", points.shape, "at least 2 finite points (n, 2)")
    if type(starts) is not int or starts < 1:
        raise ParameterError.of("starts", starts, "integer from 1")
    first = np.random.default_rng(rng).permutation(len(points))[:starts]
    d = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    tours = [improve(d, nearest_neighbour(d, start)) for start in first]
    return min(tours, key=lambda order: tour_length(points, order))


@njit(cache=True)
def nearest_neighbour(d, start):
    """The tour from `start` that always goes on to the nearest stop not visited; d (n, n) are distances."""
    n = len(d)
    order, left = np.empty(n, np.int64), np.ones(n, np.bool_)
    order[0] = start
    left[start] = False
    for k in range(1, n):
        best = -1
        for j in range(n):
            if left[j] and (best < 0 or d[order[k - 1], j] < d[order[k - 1], best]):
                best = j
        order[k] = best
        left[best] = False
    return order


@njit(cache=True)
def improve(d, order):
    """Passes of 2-opt and Or-opt over a tour until none helps; d (n, n) are symmetric distances. Returns a new order."""
    order = order.copy()
    while True:
        turned = _two_opt(d, order)
        moved = _or_opt(d, order)
        if not (turned or moved):
            return order


@njit(cache=True)
def _two_opt(d, order):
    """Turn order[i + 1 .. j] round wherever that makes the tour shorter."""
    n, found = len(order), False
    for i in range(n - 1):
        for j in range(i + 2, n):
            a, b, c, e = order[i], order[i + 1], order[j], order[(j + 1) % n]
            if a != e and d[a, c] + d[b, e] < d[a, b] + d[c, e] - GAIN:
                order[i + 1 : j + 1] = order[i + 1 : j + 1][::-1].copy()
                found = True
    return found


@njit(cache=True)
def _or_opt(d, order):
    """Put pieces of 1 to 3 stops between two other neighbours, either way round: always to the best place."""
    n, found = len(order), False
    rest, piece = np.empty(n, np.int64), np.empty(3, np.int64)
    for size in range(1, 4):
        if n < size + 3:
            break
        for i in range(n):
            left = n - size
            for k in range(size):
                piece[k] = order[(i + k) % n]
            for k in range(left):  # rest[0] follows the piece, rest[-1] precedes it
                rest[k] = order[(i + size + k) % n]
            first, last = piece[0], piece[size - 1]
            saved = d[rest[left - 1], first] + d[last, rest[0]] - d[rest[left - 1], rest[0]]
            best, at, back = saved - GAIN, -1, False
            for k in range(left - 1):
                a, b = rest[k], rest[k + 1]
                ahead = d[a, first] + d[last, b] - d[a, b]
                behind = d[a, last] + d[first, b] - d[a, b]
                if ahead < best:
                    best, at, back = ahead, k, False
                if behind < best:
                    best, at, back = behind, k, True
            if at >= 0:
                order[: at + 1] = rest[: at + 1]
                for k in range(size):
                    order[at + 1 + k] = piece[size - 1 - k] if back else piece[k]
                order[at + 1 + size :] = rest[at + 1 : left]
                found = True
    return found


def plain_improve(d, order) -> np.ndarray:
    """`improve` in plain Python, by the lengths of whole tours."""
    tour, before = list(order), math.inf

    def length(stops):
        return sum(d[a, b] for a, b in zip(stops, stops[1:] + stops[:1], strict=True))

    n = len(tour)
    while length(tour) < before:
        before = length(tour)
        for i in range(n - 1):
            for j in range(i + 2, n):
                turned = tour[: i + 1] + tour[i + 1 : j + 1][::-1] + tour[j + 1 :]
                if length(turned) < length(tour) - GAIN:
                    tour = turned
        for size in range(1, 4):
            for i in range(n if n >= size + 3 else 0):
                ring = tour[i:] + tour[:i]
                piece, rest = ring[:size], ring[size:]
                places = [rest[: k + 1] + way + rest[k + 1 :] for k in range(len(rest) - 1) for way in (piece, piece[::-1])]
                best = min(places, key=length)
                if length(best) < length(tour) - GAIN:
                    tour = best
    return np.array(tour)
