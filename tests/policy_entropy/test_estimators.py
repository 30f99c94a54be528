"""Estimators of the entropy change: their definitions, what relates them, and the contest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.language_model import token_statistics
from entropy_utils.policy_entropy import dynamics, tabular
from entropy_utils.policy_entropy.estimators import (
    NAMES,
    EstimatorContest,
    agreement,
    baseline,
    discriminator,
    estimates,
)


def tokens(seed=0, states=40, vocabulary=9):
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(states, vocabulary, generator=g, dtype=torch.float64)
    drawn = torch.randint(vocabulary, (states,), generator=g)
    advantages = torch.randn(states, generator=g, dtype=torch.float64)
    return logits, drawn, advantages, token_statistics(drawn, logits)


def test_discriminator_and_baseline_are_the_theorys():
    logits, drawn, _, s = tokens()
    place = np.arange(len(drawn)), drawn.numpy()
    np.testing.assert_allclose(
        discriminator(s.log_prob, s.entropy), dynamics.discriminator(logits.numpy())[place], atol=1e-12
    )
    mean = baseline(s.entropy, s.sum_p2, s.sum_p2_log_p)
    np.testing.assert_allclose(mean, dynamics.baseline(logits.numpy()), atol=1e-12)


def test_every_estimate_token_by_token():
    logits, drawn, advantages, s = tokens()
    found = estimates(s.log_prob, s.entropy, advantages, s.sum_p2, s.sum_p2_log_p)
    assert tuple(found) == NAMES
    p_all = logits.softmax(-1)
    means = s.log_prob.mean(), advantages.mean()
    for n, (k, A) in enumerate(zip(drawn.tolist(), advantages.tolist(), strict=True)):
        p, H = p_all[n, k].item(), s.entropy[n].item()
        u = np.log(p) + H
        mean = sum(q * q * (np.log(q) + H) for q in p_all[n].tolist())
        wanted = {
            "full step": -A * (p * u - mean),
            "own logit": -A * (1 - p) * p * u,
            "squared": -A * (1 - p) ** 2 * p * u,
            "single logit": -A * p * u,
            "released": -A * (1 - p) * u,
            "covariance": -(np.log(p) - means[0].item()) * (A - means[1].item()),
        }
        for name, value in wanted.items():
            assert found[name][n].item() == pytest.approx(value, abs=1e-10), name


def test_the_full_step_is_the_derivative_of_the_entropy():
    logits, drawn, advantages, s = tokens(1)
    found = estimates(s.log_prob, s.entropy, advantages, s.sum_p2, s.sum_p2_log_p)
    for n in range(len(drawn)):
        z, step = logits[n].numpy(), 1e-6
        change = dynamics.exact_change(z, tabular.sampled_step(z, drawn[n].item(), advantages[n].item(), step)) / step
        assert found["full step"][n].item() == pytest.approx(change, abs=1e-5)


def test_a_certain_token_predicts_nothing():
    logits = torch.tensor([[0.0, -800.0, -900.0]], dtype=torch.float64)
    s = token_statistics(torch.tensor([0]), logits)
    found = estimates(s.log_prob, s.entropy, torch.ones(1).double(), s.sum_p2, s.sum_p2_log_p)
    for values in found.values():
        assert values.item() == pytest.approx(0, abs=1e-12)


def test_the_contest():
    contest = EstimatorContest(replicas=2, features=(0, 32, 8))
    records = pd.DataFrame(contest.run())
    assert len(records) == contest.length()
    assert set(records.estimator) == set(NAMES)
    best = records[records.estimator == "full step"].set_index(["seed", "features"])
    plain = records[records.estimator == "single logit"].set_index(["seed", "features"])
    assert (best.pearson.xs(0, level="features") > 0.999).all()
    assert (best.sign_accuracy.xs(0, level="features") > 0.999).all()
    assert (best.pearson > plain.pearson).all()
    shared = best.pearson.unstack()
    assert (shared[0] > shared[32]).all()
    assert (shared[32] > shared[8]).all()


def test_a_seed_alone_is_a_seed_among_others():
    pair = pd.DataFrame(EstimatorContest(replicas=2, states=200, features=(0, 4)).run())
    alone = pd.DataFrame(EstimatorContest(seed=1, replicas=1, states=200, features=(0, 4)).run())
    pd.testing.assert_frame_equal(pair[pair.seed == 1].reset_index(drop=True), alone)


def test_agreement():
    x = torch.tensor([1.0, -2.0, 3.0, 4.0]).double()
    assert agreement(x, 2 * x) == pytest.approx({"pearson": 1, "spearman": 1, "sign_accuracy": 1})
    assert agreement(-x, x) == pytest.approx({"pearson": -1, "spearman": -1, "sign_accuracy": 0})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": (-1,)}, r"field 'features\[0\]': got -1"),
        ({"features": ()}, "field 'features'"),
        ({"states": 2}, "field 'states': got 2"),
        ({"smallest": 9.0}, "allowed are smallest <= largest"),
    ],
)
def test_a_wrong_contest_is_one_line(wrong, message):
    with pytest.raises(ParameterError, match=message):
        EstimatorContest(**wrong)
