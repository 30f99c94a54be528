"""The identities of the tabular softmax policy, against finite differences, plain sums and closed forms, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import collect
from entropy_utils.policy_entropy.law import fit_law
from entropy_utils.policy_entropy.tabular import (
    TabularAscent,
    advantage,
    bandit_path,
    covariance,
    entropy,
    entropy_gradient,
    fisher,
    natural_gradient_step,
    policy_gradient_step,
    predicted_entropy_change,
    sampled_step,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def plain_entropy(logits):
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return -sum(x * np.log(x) for x in p)


def numerical_gradient(function, z, h=1e-5):
    """Central differences of a scalar function of one state's logits."""
    return np.array([(function(z + h * e) - function(z - h * e)) / (2 * h) for e in np.eye(len(z))])


def states():
    return arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 9)), elements=st.floats(-8, 8))


def test_gradient_of_the_entropy_by_finite_differences(rng):
    for z in rng.normal(0, 1.5, (20, 7)):
        np.testing.assert_allclose(entropy_gradient(z), numerical_gradient(plain_entropy, z), rtol=0, atol=1e-8)


@given(states())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_entropy_its_bounds_and_what_it_does_not_see(z):
    found = entropy(z)
    assert found.shape == z.shape[:-1]
    np.testing.assert_allclose(found, scipy.stats.entropy(softmax(z, -1), axis=-1), rtol=0, atol=1e-12)
    assert (found >= -1e-12).all()
    assert (found <= np.log(z.shape[-1]) + 1e-12).all()
    np.testing.assert_allclose(entropy_gradient(z).sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose(entropy(z + 3.7), found, rtol=0, atol=1e-11)


def test_a_probable_action_is_one_above_the_threshold(rng):
    """Raising a logit lowers the entropy exactly where pi > e^-H: for all actions of 100 states, by trying it out."""
    for z in rng.normal(0, 2, (100, 6)):
        p = softmax(z)
        for action, bump in enumerate(1e-6 * np.eye(6)):
            if abs(p[action] - np.exp(-plain_entropy(z))) > 1e-4:
                falls = plain_entropy(z + bump) < plain_entropy(z)
                assert falls == (p[action] > np.exp(-plain_entropy(z)))
                assert falls == (entropy_gradient(z)[action] < 0)


def test_lemma_1_has_error_slopes_2_and_3(rng):
    z, direction = rng.normal(0, 1.5, (50, 8)), rng.normal(0, 1, (50, 8))
    sizes = np.geomspace(3e-3, 3e-2, 6)
    for order, slope in ((1, 2.0), (2, 3.0)):
        errors = []
        for size in sizes:
            measured = entropy(z + size * direction) - entropy(z)
            errors.append(np.abs(measured - predicted_entropy_change(z, size * direction, order)).sum())
        assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(slope, abs=0.03)


def test_covariance_is_the_sum_over_actions(rng):
    p, u, v = rng.dirichlet(np.ones(5), 3), rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    for row in range(3):
        mean_u, mean_v = sum(p[row] * u[row]), sum(p[row] * v[row])
        wanted = sum(p[row, i] * (u[row, i] - mean_u) * (v[row, i] - mean_v) for i in range(5))
        assert covariance(p, u, v)[row] == pytest.approx(wanted, abs=1e-15)
    np.testing.assert_allclose(covariance(p, u + 5, v - 7), covariance(p, u, v), atol=1e-14)


def test_policy_gradient_step_is_the_numerical_gradient_of_the_expected_reward(rng):
    for z, reward in zip(rng.normal(0, 1.5, (20, 6)), rng.normal(0, 1, (20, 6)), strict=True):
        gradient = numerical_gradient(lambda logits, r=reward: (softmax(logits) * r).sum(), z)
        np.testing.assert_allclose(policy_gradient_step(z, reward, 0.7), 0.7 * gradient, rtol=0, atol=1e-8)


def test_fisher_matrix_is_the_mean_outer_product_of_scores(rng):
    z = rng.normal(0, 1, 5)
    p, wanted = softmax(z), np.zeros((5, 5))
    for action in range(5):
        score = numerical_gradient(lambda logits, a=action: np.log(softmax(logits)[a]), z)
        wanted += p[action] * np.outer(score, score)
    np.testing.assert_allclose(fisher(z), wanted, rtol=0, atol=1e-9)


def test_natural_gradient_is_the_pseudo_inverse_of_fisher_up_to_a_constant(rng):
    for z, reward in zip(rng.normal(0, 1, (20, 6)), rng.normal(0, 1, (20, 6)), strict=True):
        direction = np.linalg.pinv(fisher(z)) @ policy_gradient_step(z, reward, 1.0)
        difference = direction - natural_gradient_step(z, reward, 1.0)
        assert np.ptp(difference) < 1e-12


def test_natural_gradient_is_multiplicative_weights(rng):
    z, reward = rng.normal(0, 1, (4, 6)), rng.normal(0, 1, (4, 6))
    new = softmax(z, -1) * np.exp(0.8 * advantage(z, reward))
    np.testing.assert_allclose(softmax(z + natural_gradient_step(z, reward, 0.8), -1), new / new.sum(-1, keepdims=True))
    np.testing.assert_allclose((softmax(z, -1) * advantage(z, reward)).sum(-1), 0, atol=1e-15)


def test_theorems_1_and_2(rng):
    z, reward, lr = rng.normal(0, 1.5, 7), rng.normal(0, 1, 7), 0.3
    p, h, a = softmax(z), plain_entropy(z), advantage(z, reward)
    theorem_1 = -lr * sum(p[i] ** 2 * a[i] * (np.log(p[i]) + h) for i in range(7))
    theorem_2 = -lr * sum(p[i] * a[i] * (np.log(p[i]) + h) for i in range(7))
    assert predicted_entropy_change(z, policy_gradient_step(z, reward, lr)) == pytest.approx(theorem_1, abs=1e-15)
    assert predicted_entropy_change(z, natural_gradient_step(z, reward, lr)) == pytest.approx(theorem_2, abs=1e-15)
    assert abs(theorem_1 - theorem_2) > 1e-3


def test_a_baseline_inside_a_state_changes_nothing(rng):
    z, reward = rng.normal(0, 1, (5, 6)), rng.normal(0, 1, (5, 6))
    for step in (policy_gradient_step, natural_gradient_step):
        np.testing.assert_allclose(step(z, reward + 3, 0.2), step(z, reward, 0.2), atol=1e-14)
    move = rng.normal(size=(5, 6))
    for order in (1, 2):
        shifted = predicted_entropy_change(z, move + 3, order)
        np.testing.assert_allclose(shifted, predicted_entropy_change(z, move, order), atol=1e-13)


def test_single_samples_average_to_theorem_1(rng):
    z, reward, lr = rng.normal(0, 1.5, 6), rng.normal(0, 1, 6), 0.4
    p, h, a = softmax(z), plain_entropy(z), advantage(z, reward)
    brace = sum(p[b] ** 2 * (np.log(p[b]) + h) for b in range(6))
    mean, mean_step = 0.0, np.zeros(6)
    for action in range(6):
        step = sampled_step(z, action, a[action], lr)
        score = numerical_gradient(lambda logits, i=action: np.log(softmax(logits)[i]), z)
        np.testing.assert_allclose(step, lr * a[action] * score, rtol=0, atol=1e-9)
        change = predicted_entropy_change(z, step)
        assert change == pytest.approx(-lr * a[action] * (p[action] * (np.log(p[action]) + h) - brace), abs=1e-15)
        mean, mean_step = mean + p[action] * change, mean_step + p[action] * step
    assert mean == pytest.approx(predicted_entropy_change(z, policy_gradient_step(z, reward, lr)), abs=1e-14)
    np.testing.assert_allclose(mean_step, policy_gradient_step(z, reward, lr), atol=1e-15)


def test_law_of_total_covariance(rng):
    """Pooled over states, the covariance holds a part between the states, Cov_s(-H, E[A|s]), that moves no entropy."""
    z, a = rng.normal(0, 1.5, (12, 5)), rng.normal(0, 1, (12, 5))
    p = softmax(z, -1)
    log_p = np.log(p)
    pooled = covariance(p.ravel() / 12, log_p.ravel(), a.ravel())
    within = covariance(p, log_p, a).mean()
    between = covariance(np.full(12, 1 / 12), -entropy(z), (p * a).sum(-1))
    assert pooled == pytest.approx(within + between, abs=1e-15)
    assert abs(between) > 1e-3


def bandit(rng):
    """Logits of eight actions of which three are right, and their rewards."""
    return rng.normal(0, 1, 8), np.array([1.0, 0, 0, 1, 0, 1, 0, 0])


def inside(z, reward):
    """Probability of the right actions and the entropies inside the right and the wrong ones."""
    return softmax(z)[reward > 0].sum(), plain_entropy(z[reward > 0]), plain_entropy(z[reward == 0])


@pytest.mark.parametrize("lr", [0.01, 0.3, 2.5])
def test_bandit_closed_form_for_any_step_size(rng, lr):
    z, reward = bandit(rng)
    start = inside(z, reward)
    for n in range(1, 21):
        z = z + natural_gradient_step(z, reward, lr)
        r, h = bandit_path(np.array(n * lr), *start)
        assert r == pytest.approx(inside(z, reward)[0], abs=1e-12)
        assert h == pytest.approx(plain_entropy(z), abs=1e-12)


def test_bandit_under_the_plain_gradient_leaves_that_path(rng):
    z, reward = bandit(rng)
    start = inside(z, reward)
    for _ in range(200):
        z = z + policy_gradient_step(z, reward, 1.0)
    r, right, wrong = inside(z, reward)
    assert r > 0.95
    assert right < start[1] - 0.05
    assert wrong != pytest.approx(start[2], abs=0.01)


def test_bandit_at_the_start_and_at_the_end():
    r, h = bandit_path(np.array([0.0, 60.0]), 0.2, 0.7, 1.1)
    np.testing.assert_allclose(r, [0.2, 1.0], atol=1e-12)
    np.testing.assert_allclose(h, [0.2 * 0.7 + 0.8 * 1.1 - 0.2 * np.log(0.2) - 0.8 * np.log(0.8), 0.7], atol=1e-12)


def test_local_slope_of_the_bandit():
    """dR / d(-H) = 1 / log[R (K - 1) / (1 - R)] with one right action and K - 1 equal wrong ones."""
    k = 10
    for reward in (0.3, 0.6, 0.9):
        (r0, r1), (h0, h1) = bandit_path(np.array([-1e-4, 1e-4]), reward, 0.0, np.log(k - 1))
        assert (r1 - r0) / (h0 - h1) == pytest.approx(1 / np.log(reward * (k - 1) / (1 - reward)), abs=1e-6)


def test_ascent_on_many_states_follows_the_covariance():
    run = collect(TabularAscent(), progress=False).records
    assert len(run) == TabularAscent().length() == 2000
    assert np.corrcoef(-run.entropy_change, run.covariance)[0, 1] > 0.999
    assert 0.98 < np.polyfit(run.covariance, -run.entropy_change, 1)[0] < 1.03
    # late, when only states with an improbable right action still move, their mean may fall a little below zero
    assert (run.covariance[:400] > 0).all()
    assert run.covariance.min() > -0.002 * run.covariance.max()
    np.testing.assert_allclose(run.entropy.diff()[1:], run.entropy_change[:-1], atol=1e-12)
    assert fit_law(run.entropy, run.reward).r_squared > 0.85


def test_first_record_of_an_ascent_by_hand():
    given = {"states": 3, "actions": 4, "steps": 2, "spread": 1.0, "seed": 5, "lr": 0.5}
    rng = np.random.default_rng(5)
    z = rng.normal(0, 1, (3, 4))
    z[:, 0] += rng.normal(1, 2, 3)
    p, reward = softmax(z, -1), np.eye(4)[[0, 0, 0]]
    deviation = np.sqrt(p[:, :1] * (1 - p[:, :1]))
    scale = {"policy_gradient": p, "scaled_policy_gradient": p / (deviation + 1e-6), "natural_gradient": 1.0}
    for rule, factor in scale.items():
        first = collect(TabularAscent(rule=rule, **given), progress=False).records.iloc[0]
        move = 0.5 * factor * (reward - p[:, :1])
        assert first.reward == pytest.approx(p[:, 0].mean(), abs=1e-15)
        assert first.entropy == pytest.approx(entropy(z).mean(), abs=1e-15)
        assert first.covariance == pytest.approx(covariance(p, np.log(p), move).mean(), abs=1e-15)
        assert first.entropy_change == pytest.approx((entropy(z + move) - entropy(z)).mean(), abs=1e-15)


def test_an_ascent_is_a_function_of_its_seed():
    one, same, other = (collect(TabularAscent(steps=3, seed=s), progress=False).records for s in (4, 4, 5))
    assert one.equals(same)
    assert not one.equals(other)


@pytest.mark.parametrize("wrong", [{"rule": "newton"}, {"actions": 1}, {"lr": 0}, {"steps": "10"}, {"state": 3}])
def test_wrong_parameters_are_one_line(wrong):
    name = next(iter(wrong))
    with pytest.raises(ParameterError, match=f"field '{name}': got .*, allowed: |unknown field '{name}'") as caught:
        TabularAscent(**wrong)
    assert "\n" not in str(caught.value)
