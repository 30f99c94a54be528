"""Structural entropy against counting by brute force, its bounds, its chain rule, and the fast form against the plain."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import multinomial

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile import structural_entropy as se
from entropy_utils.last_mile.route_table import RouteTable

loads = st.lists(st.integers(1, 12), min_size=2, max_size=40)


@pytest.fixture(scope="module")
def table() -> RouteTable:
    """300 routes of 2 to 60 stops in 0 to 9 zones, some stops with many parcels, some without a zone."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(2, 61, 300)
    ptr = np.concatenate([[0], np.cumsum(sizes + 1)])
    rows = ptr[-1]
    n = 1 + rng.negative_binomial(0.4, 0.3, rows)
    zone = rng.integers(0, 3, rows) * 3 + np.minimum(rng.poisson(1, rows), 2)
    zone[rng.random(rows) < 0.05] = -1
    zone[ptr[7] : ptr[8]] = -1  # a route without any zone
    n[ptr[:-1]], zone[ptr[:-1]] = 0, -1
    n[1:3] = 5000
    text = np.full(rows, "AA")
    routes = [f"RouteID_{i}" for i in range(300)]
    return RouteTable(
        ptr, n, np.zeros(rows), np.zeros(rows), zone, np.zeros(rows), text, list("abcdefghi"), routes, routes, routes, routes
    )


@pytest.mark.parametrize("n", [(2, 2, 1), (1, 1, 1, 1), (7,), (3, 4), (1, 0, 5), (2, 1, 1, 1, 1)])
def test_it_counts_the_ways_to_deal_parcels_to_stops(n):
    dealings = itertools.product(range(len(n)), repeat=sum(n))
    ways = sum(all(Counter(dealt)[i] == k for i, k in enumerate(n)) for dealt in dealings)
    assert se.boltzmann_entropy(n) == pytest.approx(math.log(ways), abs=1e-12)


def test_the_example_of_thirty_ways():
    assert math.exp(se.boltzmann_entropy([2, 2, 1])) == pytest.approx(30)


def test_published_values_of_equal_loads():
    assert se.normalised_entropy([2] * 120) == pytest.approx(0.9229, abs=5e-5)
    assert se.normalised_entropy([10] * 24) == pytest.approx(0.664, abs=5e-4)
    ones = np.ones(238, int)
    assert se.boltzmann_entropy(ones) / se.shannon_bounds(ones)[1] == pytest.approx(0.820, abs=5e-4)


@given(loads)
def test_normalised_forms_lie_between_0_and_1(n):
    assert 0 <= se.normalised_entropy(n) <= 1
    assert 0 <= se.evenness(n) <= 1 + 1e-12


def test_normalised_forms_at_the_ends():
    assert se.normalised_entropy([5]) == 0
    assert se.normalised_entropy([1]) == 0
    assert se.normalised_entropy([1, 1, 1, 1]) == 1
    assert se.evenness([5]) == 1
    assert se.evenness([3, 3, 3]) == pytest.approx(1)
    assert se.evenness([1, 3, 0]) == pytest.approx((0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / math.log(2))


@given(loads)
def test_bounds_hold(n):
    S, N, M = se.boltzmann_entropy(n), sum(n), len(n)
    low, high = se.bounds(N, M)
    assert low - 1e-9 <= S <= high + 1e-9 <= gammaln(N + 1) + 2e-9
    low, high = se.shannon_bounds(n)
    assert low - 1e-9 <= S <= high + 1e-9


@pytest.mark.parametrize(("N", "M"), [(6, 3), (7, 3), (5, 1), (4, 4), (8, 5)])
def test_bounds_are_reached(N, M):
    every = [n for n in itertools.product(range(1, N + 1), repeat=M) if sum(n) == N]
    found = [se.boltzmann_entropy(n) for n in every]
    assert se.bounds(N, M) == pytest.approx((min(found), max(found)))


@given(loads, st.data())
def test_merging_two_stops_loses_a_binomial_at_least_ln_2(n, data):
    j = data.draw(st.integers(1, len(n) - 1))
    merged = [n[0] + n[j], *n[1:j], *n[j + 1 :]]
    loss = se.boltzmann_entropy(n) - se.boltzmann_entropy(merged)
    assert loss == pytest.approx(math.log(math.comb(n[0] + n[j], n[j])), abs=1e-9)
    assert loss >= math.log(2) - 1e-9


@given(loads, st.data())
def test_chain_rule_is_exact(n, data):
    group = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(n), max_size=len(n))))
    between, within = se.chain_split(n, group)
    inside = sum(se.boltzmann_entropy(np.array(n)[group == g]) for g in np.unique(group))
    assert within == pytest.approx(inside, abs=1e-9)
    assert between + within == pytest.approx(se.boltzmann_entropy(n), abs=1e-9)
    assert between >= 0


def test_chain_rule_at_the_ends():
    n = [3, 1, 4]
    S = se.boltzmann_entropy(n)
    assert se.chain_split(n, [0, 0, 0]) == pytest.approx((0, S))
    assert se.chain_split(n, [2, 0, 1]) == pytest.approx((S, 0))
    assert se.chain_split([2, 2, 1], [0, 0, 1]) == pytest.approx((math.log(5), math.log(6)))


def test_stirling_is_good_for_large_loads_and_poor_for_small_ones():
    for n in ([50, 70, 30], [20, 9, 30]):
        value, error = se.stirling(n)
        assert value - error == pytest.approx(math.log(multinomial.pmf(n, sum(n), [1 / 3] * 3)) + sum(n) * math.log(3))
        third = (1 / sum(n) ** 3 - sum(1 / k**3 for k in n)) / -360  # the next term of the series
        assert -error == pytest.approx(third, rel=0.02, abs=1e-12)
    assert abs(se.stirling([1] * 240).error) > 0.4
    assert se.stirling([5, 0, 7]) == se.stirling([5, 7])


def test_definitions_on_a_route_counted_by_hand(table):
    route = table.route(0)._replace(n=np.array([2, 1, 1]), zone=np.array([4, -1, 4]))
    assert [se.entropy(route, kind) for kind in se.DEFINITIONS] == pytest.approx(
        [math.log(12), math.log(6), 0, 1.5 * math.log(2), math.log(2)]
    )
    assert se.normalised(route, "R2") == pytest.approx(math.log(6) / math.log(24))
    assert se.normalised(route, "R4") == pytest.approx(0.75)
    assert se.normalised(route, "R5") == pytest.approx(1)
    no_zones = route._replace(zone=np.array([-1, -1, -1]))
    assert se.entropy(no_zones, "R3") == se.normalised(no_zones, "R5") == 0


def test_orders_that_respect_zones_counted_by_brute_force(table):
    zone = np.array([0, 0, 3, 3, 3, 1])
    route = table.route(0)._replace(n=np.ones(6, int), zone=zone)
    kept = sum(1 + np.count_nonzero(np.diff(zone[list(order)])) == 3 for order in itertools.permutations(range(6)))
    assert math.exp(se.entropy(route, "R5")) == pytest.approx(kept)
    assert math.exp(se.entropy(route, "R3")) == pytest.approx(60)


@pytest.mark.parametrize("kind", se.DEFINITIONS)
def test_all_routes_at_once_agree_with_one_by_one(table, kind):
    found = se.route_entropies(table, kind)
    plain = [
        (
            route.n.sum(),
            len(route.n),
            se.entropy(route, kind),
            se.normalised(route, kind),
            se.entropy(route, "R4"),
            se.evenness(route.n),
        )
        for route in table
    ]
    assert list(found.columns) == ["N", "M", "S", "eta", "H", "J"]
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 299), st.integers(0, 299))
def test_a_fleet_adds_the_entropy_of_its_dispatch(table, i, j):
    if i == j:
        return
    pair = table.select([i, j])
    between, within = se.chain_split(pair.n, pair.owner)
    assert within == pytest.approx(se.route_entropies(pair).S.sum(), rel=1e-9)
    assert between == pytest.approx(math.log(math.comb(int(pair.n.sum()), int(pair.route(0).n.sum()))), rel=1e-9)


def test_wrong_input_is_one_clear_line(table):
    with pytest.raises(ParameterError, match=r"'kind': got 'R6' .*R1, R2, R3, R4, R5"):
        se.route_entropies(table, "R6")
    with pytest.raises(ParameterError, match="'kind'"):
        se.entropy(table.route(0), "r1")
    with pytest.raises(ValueError, match="counts: got -1 at index"):
        se.boltzmann_entropy([3, -1])
    for of, n in ((se.stirling, [2, 3, -1]), (se.evenness, [-1])):
        with pytest.raises(ValueError, match="counts: got -1 at index"):
            of(n)
    with pytest.raises(ParameterError, match="'group'"):
        se.chain_split([1, 2], [0])
    with pytest.raises(ParameterError, match="'group'"):
        se.chain_split([1, 2], [-1, 0])
    with pytest.raises(ParameterError, match="'N': got 2"):
        se.bounds(2, 3)
    with pytest.raises(ParameterError, match="'M': got 0"):
        se.bounds(2, 0)
