"""Pooling days: against brute force and against its two formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import poisson

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile.temporal import (
    batching,
    entropy_ratio,
    events_ratio,
    poisson_demand,
    temporal_consolidation,
)


def test_a_small_case_by_hand():
    counts = np.array([[1, 0], [1, 2], [0, 1], [1, 0], [7, 7]])  # the fifth day fills no window of two
    found = temporal_consolidation(counts, 2)
    assert (found.events, found.events_before, found.parcels, found.days) == (4, 5, 6, 4)
    assert found.entropy_before == pytest.approx(math.log(math.factorial(6) / 2))
    assert found.entropy == pytest.approx(math.log(math.factorial(6) / 2 / 2))
    assert found.order == pytest.approx(math.log(24))
    assert found.order_before == pytest.approx(math.log(120))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 8), st.floats(0.01, 3), st.integers(0, 99))
def test_pooling_never_raises_anything(days, addresses, rate, seed):
    counts = poisson_demand(days, addresses, rate, seed)
    for w in range(1, days + 1):
        found = temporal_consolidation(counts, w)
        assert found.entropy <= found.entropy_before + 1e-9
        assert found.events <= found.events_before
        assert found.parcels == counts[: days // w * w].sum()
    same = temporal_consolidation(counts, 1)
    assert same.entropy == same.entropy_before


@pytest.mark.parametrize("rate", [0.03, 0.12, 0.6])
@pytest.mark.parametrize("w", [2, 5, 10])
def test_formulas_against_simulation(rate, w):
    counts = poisson_demand(60, 2000, rate, 7)
    found = temporal_consolidation(counts, w)
    assert found.events / found.events_before == pytest.approx(events_ratio(rate, w), rel=0.02)
    assert found.entropy / found.entropy_before == pytest.approx(entropy_ratio(rate, w, found.parcels), rel=0.002)


def test_batching_against_scipy():
    for x in (0.01, 1.0, 30.0):
        k = np.arange(400)
        assert batching(x) == pytest.approx((poisson.pmf(k, x) * gammaln(k + 1)).sum() / x)
    assert batching(1e-3) == pytest.approx(math.log(2) / 2 * 1e-3, rel=2e-3)
    assert batching([0.1, 2.0]).shape == (2,)


def test_size_of_the_effect():
    """Five days at 0.12 parcels a day leave out 20 % of the events, 22 % of ln E!, and under 2 % of the entropy."""
    found = temporal_consolidation(poisson_demand(60, 2000, 0.12, 1), 5)
    assert 1 - found.events / found.events_before == pytest.approx(0.20, abs=0.01)
    assert 1 - found.entropy / found.entropy_before == pytest.approx(1 - entropy_ratio(0.12, 5, found.parcels), abs=2e-3)
    assert 0.015 < 1 - found.entropy / found.entropy_before < 0.02
    assert 1 - found.order / found.order_before == pytest.approx(0.22, abs=0.01)


@pytest.mark.parametrize(
    ("counts", "w", "word"),
    [
        ([[1.5]], 1, "counts"),
        ([[-1]], 1, "counts"),
        ([1, 2], 1, "counts"),
        ([[1], [2]], 3, "'w'.*days, 2"),
        ([[1]], 0, "'w'"),
    ],
)
def test_bad_input(counts, w, word):
    with pytest.raises(ParameterError, match=word):
        temporal_consolidation(counts, w)
    with pytest.raises(ParameterError, match="rate"):
        poisson_demand(3, 3, 0.0)
    with pytest.raises(ParameterError, match="'x'"):
        batching(-1.0)


@pytest.mark.parametrize(
    ("rate", "w", "field"), [(-0.1, 2, "rate"), (0, 2, "rate"), (np.nan, 2, "rate"), (0.1, [2, 0.5], "w")]
)
def test_bad_events_ratio(rate, w, field):
    with pytest.raises(ParameterError, match=f"'{field}'"):
        events_ratio(rate, w)
