"""The theory of one token's update: the worked example, finite differences, automatic differentiation, invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from entropy_utils.policy_entropy import dynamics, tabular

EXAMPLE = np.log([0.35, 0.25, 0.2, 0.1, 0.05, 0.05])
some_logits = arrays(np.float64, st.integers(2, 12), elements=st.floats(-6, 6))


def probabilities(logits):
    return np.exp(log_softmax(logits, axis=-1))


def test_the_worked_example():
    assert tabular.entropy(EXAMPLE) == pytest.approx(1.565731, abs=1e-6)
    wanted = [0.180568, 0.044859, -0.008741, -0.073685, -0.0715, -0.0715]
    np.testing.assert_allclose(dynamics.discriminator(EXAMPLE), wanted, atol=1e-6)
    assert dynamics.baseline(EXAMPLE) == pytest.approx(0.058147, abs=1e-6)
    np.testing.assert_allclose(dynamics.deviation(EXAMPLE)[:3], [0.122421, -0.013288, -0.066888], atol=1e-6)
    alone = dynamics.exact_change(EXAMPLE, dynamics.single_logit_step(EXAMPLE, 1, 0.05))
    assert alone == pytest.approx(-2.51e-3, abs=5e-6)
    assert dynamics.exact_change(EXAMPLE, tabular.sampled_step(EXAMPLE, 1, 1.0, 0.05)) == pytest.approx(3.62e-4, abs=5e-7)
    assert dynamics.disagreement(EXAMPLE) == pytest.approx(0.25)


def test_two_tokens():
    logits = np.log([0.9, 0.1])
    np.testing.assert_allclose(dynamics.discriminator(logits), [0.19775, -0.19775], atol=1e-5)
    np.testing.assert_allclose(dynamics.deviation(logits), [0.03955, -0.35595], atol=1e-5)
    p = probabilities(logits)
    np.testing.assert_allclose(dynamics.deviation(logits), 2 * (1 - p) * dynamics.discriminator(logits))


def test_a_spike_has_a_discriminator_above_one_nat():
    logits = np.log(np.append(0.5, np.full(100, 0.005)))
    assert dynamics.discriminator(logits)[0] == pytest.approx(np.log(100) / 4)


@pytest.mark.parametrize(
    ("p", "drift"),
    [([0.25] * 4, -3 / 32), ([0.5, 0.3, 0.2], -0.093), ([0.9, 0.1], 0.012), ([0.97, 0.01, 0.01, 0.01], 0.0028)],
)
def test_drift_of_meaningless_rewards(p, drift):
    assert dynamics.random_drift(np.log(p)) == pytest.approx(drift, abs=6e-4)


def test_drift_is_the_mean_of_exact_changes():
    p, alpha = probabilities(EXAMPLE), 1e-3
    steps = [tabular.sampled_step(EXAMPLE, k, sign, alpha) for k in range(6) for sign in (1, -1)]
    changes = np.array([dynamics.exact_change(EXAMPLE, step) for step in steps]).reshape(6, 2).mean(1)
    assert p @ changes / alpha**2 == pytest.approx(dynamics.random_drift(EXAMPLE), rel=1e-3)


@given(some_logits)
@settings(max_examples=60, deadline=None)
def test_identities(logits):
    p, s, mean = probabilities(logits), dynamics.discriminator(logits), dynamics.baseline(logits)
    assert abs(s.sum()) < 1e-12
    assert abs(p @ dynamics.deviation(logits)) < 1e-12
    assert mean >= -1e-12
    assert mean == pytest.approx(dynamics.probability_covariance(logits), abs=1e-12)
    assert (s >= -np.exp(-1 - tabular.entropy(logits)) - 1e-12).all()
    assert dynamics.deviation(logits)[p.argmax()] >= -1e-12
    assert 0 <= dynamics.disagreement(logits) < 1
    np.testing.assert_allclose(dynamics.discriminator(logits + 3.0), s, atol=1e-12)
    order = np.random.default_rng(0).permutation(len(logits))
    np.testing.assert_allclose(dynamics.discriminator(logits[order]), s[order], atol=1e-12)
    far = np.abs(np.log(p) + tabular.entropy(logits)) > 1e-9
    assert ((s > 0) == (p > np.exp(-tabular.entropy(logits))))[far].all()


@given(some_logits, st.floats(-4, 4), st.integers(0, 11))
@settings(max_examples=60, deadline=None)
def test_the_closed_form_is_the_softmax(logits, eps, token):
    token %= len(logits)
    after = logits + dynamics.single_logit_step(logits, token, eps)
    p, rest = probabilities(logits)[token], dynamics.rest_entropy(logits, token)
    assert dynamics.probability_after(p, eps) == pytest.approx(probabilities(after)[token], abs=1e-12)
    assert dynamics.rest_entropy(after, token) == rest
    change = dynamics.entropy_on_curve(dynamics.probability_after(p, eps), rest) - dynamics.entropy_on_curve(p, rest)
    assert change == pytest.approx(dynamics.exact_change(logits, after - logits), abs=1e-10)
    assert dynamics.discriminator_on_curve(p, rest) == pytest.approx(dynamics.discriminator(logits)[token], abs=1e-10)
    top, height = dynamics.peak(rest)
    assert top == pytest.approx(np.exp(-height))
    assert dynamics.entropy_on_curve(top, rest) == pytest.approx(height)
    assert height >= tabular.entropy(after) - 1e-12


def test_the_baseline_on_the_curve_is_that_of_the_state():
    rest, p = np.array([0.5, 0.3, 0.2]), np.linspace(0.05, 0.95, 7)
    wanted = [dynamics.baseline(np.log(np.append(x, (1 - x) * rest))) for x in p]
    np.testing.assert_allclose(dynamics.baseline_on_curve(p, rest), wanted, atol=1e-12)


def test_hessian_and_second_order_by_autograd():
    logits = np.random.default_rng(1).normal(size=5)

    def entropy(z):
        log_p = z.log_softmax(-1)
        return -(log_p.exp() * log_p).sum()

    wanted = torch.autograd.functional.hessian(entropy, torch.tensor(logits)).numpy()
    np.testing.assert_allclose(dynamics.hessian(logits), wanted, atol=1e-12)
    for token in range(5):
        term = dynamics.second_order_term(logits, token, 0.3)
        assert term == pytest.approx(0.5 * 0.3**2 * wanted[token, token], abs=1e-12)
        step = dynamics.single_logit_step(logits, token, 0.3)
        predicted = [tabular.predicted_entropy_change(logits, step, order) for order in (1, 2)]
        assert predicted[0] == pytest.approx(-0.3 * dynamics.discriminator(logits)[token], abs=1e-12)
        assert predicted[1] - predicted[0] == pytest.approx(term, abs=1e-12)


def test_log_ratio_change_by_finite_differences():
    logits = np.random.default_rng(2).normal(size=6)
    for token in range(6):
        step = tabular.sampled_step(logits, token, 1.0, 1e-6)
        moved = (log_softmax(logits + step) - log_softmax(logits))[token] / 1e-6
        assert moved == pytest.approx(dynamics.log_ratio_change(logits)[token], abs=1e-5)


def test_a_uniform_policy_has_nothing_to_tell():
    logits = np.zeros(7)
    np.testing.assert_allclose(dynamics.discriminator(logits), 0, atol=1e-15)
    assert dynamics.baseline(logits) == pytest.approx(0, abs=1e-15)
    eps, p = 0.7, np.exp(0.7) + 6
    wanted = np.log(p) - eps * np.exp(eps) / p - np.log(7)
    assert dynamics.exact_change(logits, dynamics.single_logit_step(logits, 3, eps)) == pytest.approx(wanted)


def test_slope_of_a_power_law():
    sizes = np.logspace(-3, 0, 7)
    assert dynamics.log_log_slope(sizes, -3 * sizes**2.5) == pytest.approx(2.5)
