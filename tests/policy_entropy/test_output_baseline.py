"""Theorem 1 of Entrocraft: closed forms against finite differences, autograd and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr, log_softmax, softmax

from entropy_utils.policy_entropy import output_baseline, tabular
from entropy_utils.policy_entropy.output_baseline import (
    baseline_from_moments,
    condition_share,
    constant_weight_baseline,
    entropy_effect,
    one_sided_gradients,
    output_weights,
    probability_step,
)

policies = st.lists(st.floats(-4, 4), min_size=2, max_size=9).map(lambda z: softmax(np.array(z)))
EXAMPLE = np.array([0.7, 0.2, 0.1])


@pytest.mark.parametrize("size", [3, 30, 1000])
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_the_effect_is_the_derivative_of_the_entropy(size, spread):
    rng, lr = np.random.default_rng(size), 1e-4
    z = rng.normal(0, spread, size)
    effect = entropy_effect(softmax(z))
    for k in rng.choice(size, 3, replace=False):
        for advantage in (1.0, -1.0):
            moved = tabular.entropy(z + tabular.sampled_step(z, k, advantage, lr)) - tabular.entropy(z)
            assert moved / (lr * advantage) == pytest.approx(effect[k], abs=1e-4)


def test_the_step_of_the_probabilities_is_a_derivative():
    z = np.random.default_rng(0).normal(size=7)
    for k in range(7):
        change = softmax(z + tabular.sampled_step(z, k, 1.0, 1e-6)) - softmax(z - tabular.sampled_step(z, k, 1.0, 1e-6))
        np.testing.assert_allclose(probability_step(softmax(z), k), change / 2e-6, atol=1e-9)


@given(policies)
def test_theorem_1(p):
    """dH = -dp_k (log p_k - b_k) with weights that sum to one, for every sampled outcome."""
    weights, b, effect = output_weights(p), output_baseline.output_baseline(p), entropy_effect(p)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-9)
    np.testing.assert_allclose(weights @ np.log(p), b, rtol=1e-8, atol=1e-8)
    for k in range(len(p)):
        step = probability_step(p, k)
        assert step[k] >= 0
        assert step.sum() == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(np.delete(weights[k], k), -np.delete(step, k) / step[k], rtol=1e-9, atol=1e-12)
        assert -step[k] * (np.log(p[k]) - b[k]) == pytest.approx(effect[k], abs=1e-9)
        negative = np.delete(p + p[k] < (p**2).sum() - 1e-12, k)
        assert (np.delete(weights[k], k)[negative] < 0).all()


@given(policies, st.integers(0, 8))
def test_the_bracket_is_a_covariance(p, k):
    k %= len(p)
    step = np.eye(len(p))[k] - p
    assert entropy_effect(p)[k] == pytest.approx(-tabular.covariance(p, np.log(p), step), abs=1e-12)


@given(policies)
def test_a_constant_advantage_has_zero_mean_effect(p):
    assert p @ entropy_effect(p) == pytest.approx(0, abs=1e-12)


def test_the_worked_example():
    assert entr(EXAMPLE).sum() == pytest.approx(0.80182, abs=1e-5)
    np.testing.assert_allclose(entropy_effect(EXAMPLE), [-0.14079, 0.33233, 0.32088], atol=1e-5)
    np.testing.assert_allclose(output_baseline.output_baseline(EXAMPLE), [-1.7933, -0.1518, 0.0921], atol=1e-4)
    assert condition_share(EXAMPLE) == pytest.approx(0.7)


def test_corner_policies():
    assert entropy_effect(np.full(5, 0.2)) == pytest.approx(0, abs=1e-12)
    peaked = softmax(np.array([40.0, 0, 0, 0]))
    assert probability_step(peaked, 0) == pytest.approx(0, abs=1e-12)


def test_many_policies_at_once():
    p = softmax(np.random.default_rng(1).normal(size=(4, 5, 6)), axis=-1)
    for function in (output_weights, output_baseline.output_baseline, entropy_effect, condition_share):
        np.testing.assert_allclose(function(p)[2, 3], function(p[2, 3]))


def test_the_baseline_from_what_a_loop_keeps():
    p = softmax(np.random.default_rng(2).normal(0, 2, (10, 12)), axis=-1)
    moments = (p**2).sum(-1), (p**2 * np.log(p)).sum(-1), entr(p).sum(-1)
    for k in range(12):
        found = baseline_from_moments(np.log(p[:, k]), *moments)
        np.testing.assert_allclose(found, output_baseline.output_baseline(p)[:, k], rtol=1e-10)


def test_constant_weights_do_not_sum_to_one():
    p = softmax(np.random.default_rng(3).normal(size=150))
    by_hand = [1e-2 * sum(np.log(p[i]) for i in range(150) if i != k) for k in range(150)]
    np.testing.assert_allclose(constant_weight_baseline(p, 1e-2), by_hand)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=9), st.integers(1, 2**9 - 2))
def test_positives_only_and_negatives_only_have_one_expected_gradient(logits, bits):
    """By autograd on the expected losses, not by the formula: g+ = g-."""
    rewards = np.array([1 if bits >> n & 1 else -1 for n in range(len(logits))])
    plus, minus = one_sided_gradients(np.array(logits), rewards)
    np.testing.assert_allclose(plus, minus, atol=1e-14)
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    log_p, r = z.log_softmax(-1), torch.tensor(rewards)
    p = log_p.detach().exp()
    for wanted, part in ((plus, r.clamp(min=0)), (minus, r.clamp(max=0))):
        (found,) = torch.autograd.grad((p * part * log_p).sum(), z, retain_graph=True)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-14)


def test_the_expected_grpo_gradient_is_the_same_direction():
    """E[A grad log p] with A = (r - mean) / sd of the policy is g+ times 2 / sd, for rewards of +1 and -1."""
    z, rewards = np.random.default_rng(4).normal(size=6), np.array([1, -1, -1, 1, -1, -1])
    p = np.exp(log_softmax(z))
    mean = p @ rewards
    sd = np.sqrt(p @ (rewards - mean) ** 2)
    grpo = (p * (rewards - mean) / sd) @ (np.eye(6) - p)
    np.testing.assert_allclose(grpo, 2 / sd * one_sided_gradients(z, rewards)[0], atol=1e-14)
