"""The toy world: its numbers against a plain restatement, the signs of the four masks, stacks, wrong input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy.interventions import INTERVENTIONS
from entropy_utils.policy_entropy.shared_features import SharedFeatures, draw_tokens

SMALL = {"prompts": 5, "positions": 3, "vocabulary": 7, "good": 3, "features": 4, "responses": 4, "steps": 4}


def frame(**settings):
    return pd.DataFrame(SharedFeatures(**settings).run())


def plain_grpo(toy: SharedFeatures, seed: int) -> list[float]:
    """Mean entropy before every rollout, written out for one seed with the gradient of the clipped loss by hand."""
    generator = torch.Generator().manual_seed(seed)
    phi, weight, good = (x[0].numpy() for x in toy.world([generator]))
    found = []
    for _ in range(toy.steps):
        z = (phi @ weight).reshape(toy.prompts, toy.positions, -1)
        p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        found.append(float(-(p * np.log(p)).sum(-1).mean()))
        numbers = torch.rand(toy.prompts, toy.responses, toy.positions, generator=generator).double().numpy()
        drawn = np.zeros(numbers.shape, int)
        for i, g, t in np.ndindex(*numbers.shape):
            drawn[i, g, t] = min((p[i, t].cumsum() <= numbers[i, g, t]).sum(), toy.vocabulary - 1)
        i, _, t = np.indices(drawn.shape)
        reward = (good[i, t, drawn].mean(-1) >= 0.5).astype(float)
        A = (reward - reward.mean(1, keepdims=True)) / (reward.std(1, ddof=1, keepdims=True) + 1e-6)
        for _ in range(toy.inner_steps):
            z = (phi @ weight).reshape(p.shape)
            q = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
            gradient = np.zeros_like(q)
            for at in np.ndindex(*drawn.shape):
                i, g, t = at
                k, a = drawn[at], A[i, g]
                ratio = q[i, t, k] / p[i, t, k]
                if (a > 0 and ratio > 1.2) or (a < 0 and ratio < 0.8):
                    continue
                gradient[i, t] += a * ratio * (np.eye(toy.vocabulary)[k] - q[i, t]) / toy.responses
            weight = weight + toy.lr / toy.inner_steps * phi.T @ gradient.reshape(len(phi), -1)
    return found


def test_the_loop_is_grpo_written_out():
    toy = SharedFeatures(replicas=1, seed=3, lr=4.0, **SMALL)
    records = pd.DataFrame(toy.run())
    np.testing.assert_allclose(records.entropy, plain_grpo(toy, 3), atol=1e-9)
    assert records.acted_on.max() > 0  # otherwise the clip was not compared


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_intervention_runs_and_a_stack_is_one_by_one(name):
    stacked = frame(intervention=name, replicas=2, **SMALL)
    alone = frame(intervention=name, replicas=1, seed=1, **SMALL)
    assert np.isfinite(stacked.entropy).all()
    one = stacked[stacked.seed == 1].reset_index(drop=True)
    np.testing.assert_allclose(one.entropy, alone.entropy, atol=1e-9)
    np.testing.assert_allclose(one.acted_on, alone.acted_on, atol=1e-9)


@pytest.mark.parametrize("score", ["S", "D"])
def test_four_masks(score):
    for keep, sign in (("++", -1), ("+-", 1), ("-+", 1), ("--", -1)):
        records = frame(intervention={"name": "quadrants", "keep": keep, "score": score}, replicas=3, steps=25)
        moved = records.groupby("seed").entropy.agg(lambda h: h.iloc[-1] - h.iloc[0])
        assert (sign * moved > 0.1).all()


def test_which_tokens_go_matters_more_than_how_many():
    end = {}
    for name in ("none", "clip_b", "clip_b_random"):
        spec = name if name == "none" else f"{name} share=0.3"
        records = frame(intervention=spec, replicas=3, steps=40)
        end[name] = records[records.step == 39].set_index("seed").entropy
    assert (end["clip_b"] > end["clip_b_random"] + 0.1).all()
    assert (end["clip_b"] > end["none"] + 0.1).all()


def test_methods_meet_the_same_world():
    runs = [frame(intervention=name, replicas=2, steps=2) for name in ("none", "clip_b_random share=0.5", "clip_cov")]
    for records in runs[1:]:
        first = records.step == 0
        np.testing.assert_array_equal(records.reward[first], runs[0].reward[first])
        np.testing.assert_array_equal(records.entropy[first], runs[0].entropy[first])


def test_a_threshold_that_takes_nothing_is_grpo():
    plain, clipped = (frame(intervention=name, replicas=2, steps=10) for name in ("none", "clip_b"))
    assert (clipped.memory == 0).all()
    np.testing.assert_array_equal(plain.entropy, clipped.entropy)


def test_counted_tokens_weigh_more_when_others_are_taken_out():
    spec = "quadrants keep=++"
    runs = {d: frame(intervention=spec, replicas=2, steps=10, denominator=d) for d in ("all", "counted")}
    last = {d: r[r.step == 9].set_index("seed").entropy for d, r in runs.items()}
    assert (last["counted"] < last["all"]).all()
    plain = [frame(replicas=2, steps=5, denominator=d) for d in ("all", "counted")]
    np.testing.assert_allclose(plain[0].entropy, plain[1].entropy, atol=1e-12)


def test_batch_means():
    records = frame(replicas=2, steps=20)
    assert (records.mean_s > 0.05).all()
    assert records.mean_d.abs().max() < 0.05


def test_equal_rewards_change_nothing():
    """If every token is good, every response is right and no advantage is left."""
    records = frame(replicas=2, steps=3, vocabulary=7, good=7)
    assert (records.reward == 1).all()
    assert records.groupby("seed").entropy.nunique().eq(1).all()


def test_tokens_are_drawn_from_the_policy():
    log_p = torch.tensor([0.5, 0.3, 0.2]).double().log().expand(1, 1, 1, 3)
    numbers = torch.linspace(0, 1, 1001)[:-1].view(1, 1, -1, 1)
    counts = draw_tokens(log_p, numbers).flatten().bincount()
    assert counts.tolist() == pytest.approx([500, 300, 200], abs=1)
    assert draw_tokens(log_p, torch.full((1, 1, 1, 1), 1 - 1e-16).double()).max() == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"good": 31}, "good 31 and vocabulary 30: allowed are good <= vocabulary"),
        ({"responses": 1}, "field 'responses': got 1"),
        ({"intervention": "nothing"}, "field 'intervention'"),
        ({"lr": float("nan")}, "field 'lr'"),
        ({"denominator": "none"}, "allowed: 'all' or 'counted'"),
    ],
)
def test_wrong_input_is_one_line(wrong, message):
    with pytest.raises(ParameterError, match=message):
        SharedFeatures(**wrong)
