"""Covariances against plain loops, and the relations between their batch, group and state forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.policy_entropy import tabular
from entropy_utils.policy_entropy.covariance import (
    entropy_change_from_logits,
    group_covariance,
    masked_mean,
    select_largest,
    token_covariance,
    top_means,
)
from entropy_utils.policy_entropy.grpo import group_advantages


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


def batch(g, *shape):
    """Log-probabilities, advantages and a mask of whole prefixes, all (..., N, T)."""
    lengths = torch.randint(1, shape[-1] + 1, shape[:-1], generator=g)
    mask = torch.arange(shape[-1]) < lengths[..., None]
    draw = {"generator": g, "dtype": torch.float64}
    return -torch.rand(shape, **draw) * 4, torch.randn(*shape[:-1], 1, **draw).expand(shape), mask


def loop_scores(logp, advantages, mask):
    """Equation 10 for one minibatch, token by token; None where the token does not count."""
    valid = [(i, t) for i in range(mask.shape[0]) for t in range(mask.shape[1]) if mask[i, t]]
    mean_logp = sum(logp[at].item() for at in valid) / len(valid)
    mean_advantage = sum(advantages[at].item() for at in valid) / len(valid)
    return {at: (logp[at].item() - mean_logp) * (advantages[at].item() - mean_advantage) for at in valid}


def test_token_scores_by_plain_loops_and_every_replica_alone(g):
    logp, advantages, mask = batch(g, 3, 5, 4)
    found = token_covariance(logp, advantages, mask)
    for replica in range(3):
        wanted = torch.zeros(5, 4, dtype=torch.float64)
        for at, score in loop_scores(logp[replica], advantages[replica], mask[replica]).items():
            wanted[at] = score
        torch.testing.assert_close(found[replica], wanted, rtol=1e-12, atol=1e-14)


def test_mean_token_score_is_the_covariance(g):
    logp, advantages, mask = batch(g, 6, 5)
    mean = masked_mean(token_covariance(logp, advantages, mask), mask).item()
    assert mean == pytest.approx(np.cov(logp[mask], advantages[mask], ddof=0)[0, 1], abs=1e-14)


def test_scores_ignore_what_is_masked_and_carry_no_gradient(g):
    logp, advantages, mask = batch(g, 6, 5)
    clean = token_covariance(logp, advantages, mask)
    dirty = token_covariance(logp.masked_fill(~mask, -50), advantages.masked_fill(~mask, 9), mask)
    torch.testing.assert_close(clean, dirty)
    assert (clean[~mask] == 0).all()
    assert not token_covariance(logp.requires_grad_(), advantages, mask).requires_grad


def test_mean_of_nothing_is_zero():
    x, mask = torch.ones(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[1, 0, :2] = True
    assert masked_mean(x * 5, mask).flatten().tolist() == [0, 5]
    assert (token_covariance(x, x, mask) == 0).all()


def test_group_covariance_by_plain_loops(g):
    logp, _, mask = batch(g, 2, 3, 4, 5)
    advantages = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    found = group_covariance(logp, advantages, mask)
    for s in range(2):
        for p in range(3):
            means = []
            for i in range(4):
                tokens = [logp[s, p, i, t].item() for t in range(5) if mask[s, p, i, t]]
                means.append(sum(tokens) / len(tokens))
            weighted = [math.exp(m) * a for m, a in zip(means, advantages[s, p].tolist(), strict=True)]
            product = sum(m * w for m, w in zip(means, weighted, strict=True)) / 4
            assert found[s, p].item() == pytest.approx(product - sum(means) / 4 * sum(weighted) / 4, abs=1e-14)


def test_pooled_and_grouped_tokens_agree_for_equal_lengths_and_centred_advantages(g):
    """Advantages that sum to zero in every group leave no covariance between the groups."""
    logp = -torch.rand(6, 4, 3, generator=g, dtype=torch.float64)
    advantages = group_advantages((torch.rand(6, 4, generator=g) < 0.5).double())
    tokens, mask = advantages[..., None].expand_as(logp), torch.ones(6, 4, 3, dtype=torch.bool)
    pooled = token_covariance(logp.flatten(0, 1), tokens.flatten(0, 1), mask.flatten(0, 1)).mean()
    within = torch.stack([token_covariance(*rows).mean() for rows in zip(logp, tokens, mask, strict=True)]).mean()
    torch.testing.assert_close(pooled, within, rtol=0, atol=1e-15)
    shifted = tokens + torch.arange(6.0).view(6, 1, 1)
    assert abs(token_covariance(logp.flatten(0, 1), shifted.flatten(0, 1), mask.flatten(0, 1)).mean() - pooled) > 1e-3


def test_entropy_change_of_logits_is_that_of_the_tabular_policy(g):
    before = torch.randn(3, 4, 7, generator=g, dtype=torch.float64)
    move = 0.1 * torch.randn(3, 4, 7, generator=g, dtype=torch.float64)
    measured, predicted = entropy_change_from_logits(before, before + move)
    wanted = tabular.predicted_entropy_change(before.numpy(), move.numpy())
    np.testing.assert_allclose(predicted, wanted, rtol=0, atol=1e-15)
    exact = tabular.entropy((before + move).numpy()) - tabular.entropy(before.numpy())
    np.testing.assert_allclose(measured, exact, rtol=0, atol=1e-15)
    sizes = np.geomspace(0.003, 0.03, 5)
    pairs = [entropy_change_from_logits(before, before + size * move / 0.1) for size in sizes]
    errors = [(m - p).abs().sum().item() for m, p in pairs]
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(2, abs=0.05)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.sampled_from([2e-4, 0.02, 0.2, 0.5, 1.0]))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_mean_of_the_largest(scores, share):
    count = max(1, math.floor(share * len(scores)))
    wanted = sum(sorted(scores)[-count:]) / count
    (found,) = top_means(torch.tensor(scores, dtype=torch.float64), (share,))
    assert found == pytest.approx(wanted, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(0, 14))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_the_largest_are_selected_in_every_replica(seed, count):
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 3, 4, generator=g).masked_fill(torch.rand(2, 3, 4, generator=g) < 0.3, -math.inf)
    chosen = select_largest(scores, torch.tensor([count, 1]))
    assert chosen.shape == scores.shape
    for replica, wanted in enumerate((count, 1)):
        order = sorted(scores[replica][scores[replica].isfinite()].tolist(), reverse=True)
        assert sorted(scores[replica][chosen[replica]].tolist(), reverse=True) == order[:wanted]


def test_equal_scores_do_not_raise_the_count():
    assert select_largest(torch.ones(3, 4), torch.tensor(5)).sum() == 5
    assert select_largest(torch.full((3, 4), -math.inf), torch.tensor(5)).sum() == 0
