"""Theorem 3.1 and its relatives: nothing gets below the floors, and what should touch them does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_utils.attention_entropy import bounds, floor_search
from entropy_utils.information import shannon_entropy_from_logits as entropy
from entropy_utils.lab import ParameterError

PAIRS = [(T, s) for T in (2, 3, 5, 16, 64) for s in (0.1, 1.0, 2.5, 5.0, 16.0)]


def test_it_has_the_values_of_the_table_and_the_written_formula():
    assert bounds.row_floor(17, [0.5, 1, 2, 3, 4, 6, 8]) == pytest.approx(
        [2.8233, 2.7804, 2.4931, 1.8471, 1.0789, 0.2299, 0.0386], abs=6e-5
    )
    assert bounds.mean_floor(17, [0.5, 1, 2, 3, 4, 6, 8]) == pytest.approx(
        [2.8240, 2.7843, 2.5204, 1.9161, 1.1635, 0.2678, 0.0481], abs=6e-5
    )
    assert bounds.row_floor([197, 2048], [8, 16]) == pytest.approx([0.5479, 3.90e-3], rel=2e-3)
    T, s = 17, 3.0
    beta = math.exp(-s * math.sqrt(T / (T - 1)))
    written = math.log(1 + (T - 1) * beta) + s * math.sqrt(T * (T - 1)) * beta / (1 + (T - 1) * beta)
    assert bounds.row_floor(T, s) == pytest.approx(written, rel=1e-14)


@pytest.mark.parametrize(("T", "s"), PAIRS)
def test_no_row_gets_below_it_and_the_search_and_the_two_level_row_attain_it(T, s):
    floor = bounds.row_floor(T, s)
    found = floor_search.lowest_row(T, s, np.random.default_rng(0), starts=40)
    assert floor - 1e-12 <= found <= floor + 1e-6
    assert entropy(bounds.two_level_logits(T, s)) == pytest.approx(floor, abs=1e-12)


def test_the_search_follows_the_slope_of_the_entropy():
    a, step = np.random.default_rng(0).normal(size=(3, 6)), 1e-6
    numeric = [(entropy(a + step * e) - entropy(a - step * e)) / (2 * step) for e in np.eye(6)]
    assert floor_search.entropy_slope(a) == pytest.approx(np.stack(numeric, -1), abs=1e-8)


@given(st.integers(3, 60), st.floats(0.05, 30), st.data())
def test_two_levels_have_norm_sum_and_entropy_and_one_high_logit_is_lowest(T, s, data):
    m = data.draw(st.integers(1, T - 2))
    logits = bounds.two_level_logits(T, s, m)
    assert np.linalg.norm(logits) == pytest.approx(s)
    assert logits.sum() == pytest.approx(0, abs=1e-9 * T * s)
    assert entropy(logits) == pytest.approx(bounds.two_level_floor(T, s, m), abs=1e-11)
    assert bounds.two_level_floor(T, s, m) <= bounds.two_level_floor(T, s, m + 1)
    assert bounds.row_floor(T, s) == bounds.two_level_floor(T, s, 1)


@given(st.integers(2, 5000), st.floats(0, 400), st.floats(0.001, 10))
def test_it_falls_with_the_norm_between_log_T_and_nothing(T, s, more):
    assert 0 < bounds.row_floor(T, s + more) <= bounds.row_floor(T, s) * (1 + 1e-14) <= np.log(T) + 1e-12
    assert bounds.row_floor(T, s) <= bounds.mean_floor(T, s) * (1 + 1e-14)


def test_it_keeps_its_digits_at_both_ends():
    s = np.array([150.0, 200.0, 600.0])  # floors from 1e-63 to 1e-260
    g = s * math.sqrt(17 / 16)
    assert bounds.row_floor(17, s) == pytest.approx(16 * (g + 1) * np.exp(-g), rel=1e-10)
    assert bounds.row_floor(17, 1e6) == 0
    with np.errstate(all="raise"):
        assert bounds.row_floor(17, 0.0) == math.log(17)
    for s in (0.02, 0.01):
        series = bounds.small_norm_floor(17, s) - bounds.row_floor(17, s)
        assert abs(series) < 0.02 * s**4  # wrong cubic term: about 0.06 s^3


@given(st.integers(2, 10_000))
def test_half_way_the_top_token_has_half(T):
    s = bounds.half_way(T)
    assert bounds.row_floor(T, s) == pytest.approx(math.log(2) + math.log(T - 1) / 2)
    logits = bounds.two_level_logits(T, s)
    assert np.exp(logits[0] - np.logaddexp.reduce(logits)) == pytest.approx(0.5)


@pytest.mark.parametrize("kappa", [0.3, 1.0, 4.0])
def test_the_tight_head_attains_it_in_one_row(kappa):
    X, W_K, W_Q = bounds.tight_head(6, 2.5, kappa)
    product = np.linalg.norm(W_K @ W_Q.T, 2) * np.linalg.norm(X @ X.T, 2)
    rows = entropy(bounds.head_logits(X, W_K, W_Q))
    assert product == pytest.approx(2.5)
    assert rows[0] == pytest.approx(bounds.row_floor(6, 2.5), abs=1e-14)
    assert rows[1:] == pytest.approx(np.full(5, np.log(6)))


@pytest.mark.parametrize(("T", "s"), [(2, 4.0), (3, 0.5), (4, 2.0), (6, 4.0)])
def test_search_finds_the_mean_floor_and_nothing_below(T, s):
    found = floor_search.lowest_mean(T, s, np.random.default_rng(T), starts=20, steps=300)
    assert found == pytest.approx(bounds.mean_floor(T, s), abs=1e-9)
    assert entropy(s * np.eye(T)).mean() == pytest.approx(bounds.mean_floor(T, s), abs=1e-12)


@given(st.integers(2, 12), st.integers(1, 6), st.floats(0.01, 3), st.integers(0, 10_000))
def test_every_floor_of_a_head_is_weaker_than_the_one_before(T, n, size, seed):
    rng = np.random.default_rng(seed)
    chain = np.stack(list(bounds.floors(rng.normal(size=(T, 5)), *(size * rng.normal(size=(2, 5, n)))).values()))
    assert (np.diff(chain, axis=0) <= 1e-12).all()


def test_in_a_box_the_lowest_entropy_is_at_a_corner():
    assert [bounds.box_floor(17, c)[1] for c in (0.25, 1.0, 2.0, 8.0)] == [7, 4, 1, 1]
    for c in (0.25, 1.0, 3.0):
        corners = c * (2.0 * ((np.arange(2**6)[:, None] >> np.arange(6)) & 1) - 1)
        assert bounds.box_floor(6, c)[0] == pytest.approx(entropy(corners).min(), abs=1e-12)
    inside = np.random.default_rng(1).uniform(-2, 2, (5000, 6))
    assert (entropy(inside) > bounds.box_floor(6, 2.0)[0]).all()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: bounds.row_floor(1, 2.0), "T"),
        (lambda: bounds.row_floor(2.5, 2.0), "T"),
        (lambda: bounds.row_floor(17, -1.0), "s"),
        (lambda: bounds.mean_floor(17, np.nan), "s"),
        (lambda: bounds.two_level_logits(5, 1.0, 5), "m"),
        (lambda: bounds.two_level_floor(5, 1.0, 0), "m"),
        (lambda: bounds.box_floor(5, -1.0), "s"),
    ],
)
def test_wrong_input_is_named(call, field):
    with pytest.raises(ParameterError, match=f"^field '{field}': got .* allowed: "):
        call()
