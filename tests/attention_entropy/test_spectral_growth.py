"""Proposition 3.2, power iteration and random logits against brute force and known limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_utils.attention_entropy import random_logits, spectral_growth
from entropy_utils.lab import ParameterError


def norm(matrix):
    return np.linalg.norm(matrix, 2)


@given(st.integers(1, 24), st.floats(0.01, 100), st.integers(0, 10_000))
def test_no_adam_direction_is_below_the_floor(width, noisy, seed):
    rng = np.random.default_rng(seed)
    mean, noise = rng.standard_t(2, (width, width)), noisy * rng.exponential(size=(width, width))
    delta = spectral_growth.adam_direction(mean, noise)
    assert spectral_growth.growth_floor(mean, noise) - 1e-9 <= norm(delta) <= np.linalg.norm(delta) + 1e-9 <= width + 1e-8


def test_the_direction_is_what_adam_does_on_average():
    rng = np.random.default_rng(0)
    mean, noise = rng.normal(size=(2, 2)), rng.exponential(size=(2, 2))
    g = mean + noise * rng.normal(size=(400_000, 2, 2))
    assert g.mean(0) / np.sqrt((g**2).mean(0)) == pytest.approx(spectral_growth.adam_direction(mean, noise), abs=5e-3)


def test_signs_span_from_the_floor_to_the_width():
    rng, width = np.random.default_rng(1), 256
    found = {kind: norm(spectral_growth.sign_update(kind, width, rng)) for kind in ("hadamard", "random", "rank-1")}
    assert found["hadamard"] == pytest.approx(16)
    assert found["random"] == pytest.approx(32, rel=0.06)
    assert found["rank-1"] == pytest.approx(256)
    quiet = np.zeros((width, width))
    assert spectral_growth.growth_floor(spectral_growth.sign_update("random", width, rng), quiet) == pytest.approx(16)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000))
def test_power_iteration_rises_to_the_largest_singular_value(out, into, seed):
    rng = np.random.default_rng(seed)
    W, u = rng.normal(size=(out, into)), rng.normal(size=into)
    found = spectral_growth.power_iteration(W, 600, u / np.linalg.norm(u))
    assert (np.diff(found) > -1e-9).all()
    assert found[0] == pytest.approx(np.linalg.norm(W @ u) / np.linalg.norm(u))
    assert found.max() <= norm(W) + 1e-9
    assert found[-1] == pytest.approx(norm(W), rel=2e-2)


def test_wrong_matrices_are_named():
    with pytest.raises(ParameterError, match=r"^field 'mean': got \(2, 3\).* square"):
        spectral_growth.growth_floor(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ParameterError, match="field 'kind': got 'flat'"):
        spectral_growth.sign_update("flat", 4, np.random.default_rng(0))


@pytest.mark.parametrize(("T", "std", "expected"), [(1024, 1.0, 6.434), (17, 1.0, 2.415), (1024, 3.7233, 2.6)])
def test_random_logits_have_the_measured_entropies(T, std, expected):
    sampled = random_logits.sampled_entropy(T, std, 4000, np.random.default_rng(2)).mean()
    assert sampled == pytest.approx(expected, abs=0.12 if expected == 2.6 else 0.02)


def test_random_logits_in_the_limit():
    assert random_logits.random_logit_entropy(1024, [0.0, 1.0, 9.0]) == pytest.approx([np.log(1024), np.log(1024) - 0.5, 0])
    assert random_logits.random_logit_entropy(50, random_logits.freezing_std(50)) == pytest.approx(0, abs=1e-12)
    sampled = [random_logits.sampled_entropy(T, 1.0, 500, np.random.default_rng(3)).mean() for T in (20, 2000)]
    errors = np.abs(sampled - random_logits.random_logit_entropy([20, 2000], 1.0))
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.parametrize(("width", "heads", "std"), [(32, 4, 0.18), (64, 2, 0.05)])
def test_initial_logits_have_the_predicted_spread(width, heads, std):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(400, width))
    q, k = (X @ W for W in std * rng.normal(size=(2, width, width)))
    n = width // heads
    logits = np.stack([q[:, h : h + n] @ k[:, h : h + n].T / np.sqrt(n) for h in range(0, width, n)])
    apart = logits[:, ~np.eye(400, dtype=bool)]
    assert apart.std() == pytest.approx(random_logits.initial_logit_std(width, std), rel=0.15)
    assert random_logits.initial_logit_std(width, 1 / (2 * np.sqrt(width))) == pytest.approx(0.25)
