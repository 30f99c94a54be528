"""Pick-up points: what moves from carrier to customer, exactly; the total against counting and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile import spatial
from entropy_utils.last_mile.structural_entropy import boltzmann_entropy

scenarios = st.tuples(
    st.lists(st.integers(1, 9), min_size=2, max_size=60),
    st.floats(0, 1),
    st.integers(1, 12),
    st.floats(0, 1),
    st.integers(0, 10**6),
)


def drawn(case, **options) -> spatial.Outcome:
    n, alpha, K, chi, seed = case
    xy = np.random.default_rng(seed).random((len(n), 2))
    return spatial.spatial_consolidation(n, xy, alpha, min(K, len(n)), chi, rng=seed, **options)


def ln_binomial(n, k):
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


@settings(max_examples=250, deadline=None)
@given(scenarios)
def test_conservation_is_exact(case):
    before = boltzmann_entropy(case[0])
    for accounting, trips in itertools.product(spatial.ACCOUNTINGS, spatial.TRIPS):
        found = drawn(case, accounting=accounting, trips=trips)
        assert found.before == pytest.approx(before, rel=1e-12, abs=1e-9)
        assert abs(found.carrier + found.customer - found.before) < 1e-9 * (1 + found.before)
        assert found.total == pytest.approx(found.carrier + found.trips + found.mixing)
        assert min(found) > -1e-9
        assert found.carrier <= found.before + 1e-9


@settings(deadline=None)
@given(scenarios)
def test_full_chaining_only_saves(case):
    n, alpha, K, _, seed = case
    found = drawn((n, alpha, K, 1.0, seed))
    assert found.trips == 0
    assert found.mixing == pytest.approx(0, abs=1e-9)
    assert found.total - found.before == pytest.approx(-found.customer, abs=1e-8)


@settings(deadline=None)
@given(scenarios)
def test_one_for_one_accounted_separately_is_conserved(case):
    n, alpha, K, _, seed = case
    found = drawn((n, alpha, K, 0.0, seed), accounting="separate", trips="parcel")
    assert found.total == pytest.approx(found.before, abs=1e-8)


@pytest.mark.parametrize(("N", "a"), [(4, 2), (30, 30), (240, 168)])
def test_one_locker_raises_the_total_by_a_binomial(N, a):
    adopts = np.arange(N) < a
    found = spatial.consolidate(np.ones(N, int), np.zeros(N, int), adopts, np.ones(N, int))
    assert found.total - found.before == pytest.approx(ln_binomial(N + a, a), abs=1e-9)
    assert found.customer == pytest.approx(gammaln(a + 1), abs=1e-9)
    more = spatial.consolidate(np.ones(N, int), np.arange(N) % 3, adopts, np.ones(N, int))
    assert more.total >= found.total - 1e-9


def test_against_counting_all_configurations():
    """Stops with 2 and 1 parcels stay; customers of 2 and 1 parcels share a point, and make one trip each."""
    n, adopts, trips = np.array([2, 1, 2, 1]), np.array([False, False, True, True]), np.array([0, 0, 1, 1])
    found = spatial.consolidate(n, np.zeros(4, int), adopts, trips)

    def ways(loads):
        labelled = [cell for cell, load in enumerate(loads) for _ in range(load)]
        return len(set(itertools.permutations(labelled)))

    assert found.carrier == pytest.approx(math.log(ways([2, 1, 3])))
    assert found.before == pytest.approx(math.log(ways(n)))
    assert found.total == pytest.approx(math.log(ways([2, 1, 3, 1, 1])))
    assert found.mixing == pytest.approx(math.log(math.comb(8, 2)))


def test_batching_can_lower_the_total_without_chaining():
    n = np.array([5] * 4 + [1] * 2)
    found = spatial.consolidate(n, np.zeros(6, int), n == 5, np.ones(6, int))
    assert found.total < found.before
    assert spatial.break_even_chaining(n.sum(), 4, found.customer) == 0


def test_trips_of_those_who_do_not_adopt_do_not_count():
    n = np.array([1, 2, 3])
    assert spatial.consolidate(n, [0, 0, 0], [True, False, False], [1, 9, 9]) == spatial.consolidate(
        n, [0, 5, 5], [True, False, False], [1, 0, 0]
    )


def test_nobody_adopts_nothing_changes():
    found = spatial.spatial_consolidation([1, 2, 3], np.eye(3, 2), 0.0, 2, 0.0)
    assert found.total == found.carrier == found.before
    assert found.customer == found.trips == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 400), st.floats(0.05, 1), st.floats(0.01, 1))
def test_break_even_returns_the_total(N, share, saved):
    a = max(1, int(share * N))
    customer = saved * (gammaln(N + a + 1) - gammaln(N + 1))
    chi = spatial.break_even_chaining(N, a, customer)
    assert 0 <= chi <= 1
    assert gammaln(N + (1 - chi) * a + 1) - gammaln(N + 1) == pytest.approx(customer, abs=1e-6)


def test_break_even_edges_and_shapes():
    assert spatial.break_even_chaining(100, 10, 0.0) == pytest.approx(1)
    assert spatial.break_even_chaining(100, 10, 1e6) == 0
    assert spatial.break_even_chaining([100, 200], 50, [[100.0], [150.0]]).shape == (2, 2)


@pytest.mark.parametrize("K", [1, 3, 8, 30])
def test_compiled_k_means_is_plain(K):
    rng = np.random.default_rng(K)
    xy = rng.random((120, 2))
    centres = np.concatenate([xy[rng.permutation(120)[: K - 1]], [[9.0, 9.0]]])  # nobody is near the last one: it stays
    np.testing.assert_array_equal(spatial.k_means(xy, centres), spatial.plain_k_means(xy, centres))


def test_points_are_places_nearby():
    xy = np.concatenate([np.random.default_rng(k).normal(10 * k, 0.1, (20, 2)) for k in range(3)])
    first = spatial.k_means(xy, xy[[0, 20, 40]])
    assert first.tolist() == [0] * 20 + [1] * 20 + [2] * 20


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"alpha": 1.5}, "'alpha'"),
        ({"chi": float("nan")}, "'chi'"),
        ({"K": 0}, "'K'"),
        ({"K": 4}, "number of stops, 3"),
        ({"n": [1, -1, 2]}, "'n'"),
        ({"n": [1.0, 1.0, 1.0]}, "'n'"),
        ({"n": [1, 2]}, "'xy'"),
        ({"accounting": "both"}, "pooled or separate"),
        ({"trips": "day"}, "customer or parcel"),
        ({"xy": [[0, 0], [1, np.inf], [2, 2]]}, "'xy'"),
    ],
)
def test_bad_input(change, word):
    good = {"n": [1, 2, 3], "xy": np.eye(3, 2), "alpha": 0.5, "K": 2, "chi": 0.0}
    with pytest.raises(ParameterError, match=word):
        spatial.spatial_consolidation(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point": [0, 0]}, r"'point': got 'shape \(2,\)'.*\(3,\) as n"),
        ({"point": [0, 0.5, 1]}, "'point': .*whole numbers from 0"),
        ({"point": [0, -1, 1]}, "'point': .*whole numbers from 0"),
        ({"adopts": [True]}, "'adopts': got 'shape"),
        ({"adopts": [0, 1, 2]}, "'adopts': .*from 0 to 1"),
        ({"adopts": [0, 1, np.nan]}, "'adopts': .*from 0 to 1"),
        ({"trips": [1, 1, 1, 1]}, "'trips': got 'shape"),
        ({"trips": [1, 1, -1]}, "'trips': .*whole numbers from 0"),
    ],
)
def test_bad_consolidation(change, message):
    good = {"n": [1, 2, 3], "point": [0, 0, 1], "adopts": [0, 1, 1], "trips": [1, 1, 1]}
    spatial.consolidate(**good)
    with pytest.raises(ParameterError, match=message):
        spatial.consolidate(**good | change)


@pytest.mark.parametrize("field", ["parcels", "adopters", "customer"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, [1.0, -3.0]])
def test_bad_break_even(field, value):
    with pytest.raises(ParameterError, match=f"'{field}': .*finite, from 0"):
        spatial.break_even_chaining(**{"parcels": 100, "adopters": 10, "customer": 5.0} | {field: value})
