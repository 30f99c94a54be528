"""The coin-flip bandit: a stack is its seeds one by one, any intervention runs, small cases by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy.coin_flip_bandit import CoinFlipBandit, draw
from entropy_utils.policy_entropy.interventions import INTERVENTIONS
from entropy_utils.policy_entropy.schedule import Schedule
from entropy_utils.policy_entropy.small_bandit import small_run

TINY = {"contexts": 12, "arms": 8, "steps": 6, "replicas": 1}


def records(**changes):
    return pd.DataFrame(CoinFlipBandit(**{**TINY, **changes}).run())


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_a_stack_of_seeds_is_each_seed_alone(name):
    """Every method, with its own random numbers and memory, in three replicas that see different things."""
    stacked = records(intervention=name, replicas=3, seed=4)
    for seed in (4, 5, 6):
        alone = records(intervention=name, seed=seed)
        pd.testing.assert_frame_equal(stacked[stacked.seed == seed].reset_index(drop=True), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_method_gives_finite_records_and_moves_the_policy(name):
    r = records(intervention=name, lr=0.1, spread=1.0)
    assert len(r) == CoinFlipBandit(**TINY).length() == 6
    assert np.isfinite(r.drop(columns=["step", "seed"]).to_numpy(float)).all()
    assert r.entropy.nunique() > 1
    assert r.entropy.between(0, math.log(8)).all()
    shares = r[["reward", "accuracy", "pass_at_32", "acted_on"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)


def test_the_first_record_is_that_of_the_frozen_policy():
    g = torch.Generator().manual_seed(3)
    base = 4 * torch.randn(12, 8, generator=g).double()
    right = torch.rand(12, 8, generator=g) < 0.5
    p = base.softmax(-1)
    first = records(seed=3).iloc[0]
    assert first.entropy == pytest.approx(-(p * p.log()).sum(-1).mean().item(), rel=1e-5)
    chance = (p * right).sum(-1)[:3]  # 30 % of 12 contexts, rounded down
    assert first.accuracy == pytest.approx(chance.mean().item(), rel=1e-5)
    assert first.pass_at_32 == pytest.approx((1 - (1 - chance) ** 32).mean().item(), rel=1e-5)


def test_one_step_by_hand():
    """SGD, one update, plain GRPO: the table moves by the group-normalised policy gradient."""
    two = records(seed=1, steps=2, optimizer="sgd", updates=1, lr=50.0)
    g = torch.Generator().manual_seed(1)
    base = 4 * torch.randn(12, 8, generator=g).double()
    right = torch.rand(12, 8, generator=g) < 0.5
    numbers, coins = torch.rand(12, 8, generator=g), torch.rand(12, 8, generator=g) < 0.5
    p, step = base.softmax(-1).numpy(), np.zeros((12, 8))
    for c in range(12):
        arms = [int(np.searchsorted(p[c].cumsum(), u)) for u in numbers[c].numpy()]
        rewards = np.array([right[c, a] if c < 3 else coins[c, n] for n, a in enumerate(arms)], float)
        for a, advantage in zip(arms, (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6), strict=True):
            step[c] += 50 / 96 * advantage * (np.eye(8)[a] - p[c])
    after = (base + torch.tensor(step)).softmax(-1)
    assert two.entropy[1] == pytest.approx(-(after * after.log()).sum(-1).mean().item(), rel=1e-5)


def test_arms_are_drawn_with_their_probabilities():
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    arms = draw(p, torch.rand(1, 20_000, generator=torch.Generator().manual_seed(0)))
    counts = torch.bincount(arms[0], minlength=4).numpy()
    assert scipy.stats.chisquare(counts, 20_000 * p[0].numpy()).pvalue > 0.01
    assert draw(p, torch.tensor([[0.0, 0.9999999]])).tolist() == [[0, 3]]


def test_rewards_without_luck_or_without_failure():
    always, never = records(luck=1.0, learnable=0.0), records(luck=0.0, learnable=0.0)
    assert (always.reward == 1).all()
    assert (never.reward == 0).all()
    for r in (always, never):  # equal rewards everywhere: GRPO has nothing to learn
        assert (r.accepted == 0).all()
        assert r.entropy.nunique() == 1
    pushed = records(luck=0.0, learnable=0.0, intervention={"name": "entrocraft", "target": 2.0, "variant": "code"})
    assert (pushed.memory == -1).all()
    assert (pushed.accepted == 8).all()  # the code variant learns from groups that are all wrong
    assert pushed.entropy.iloc[-1] > pushed.entropy.iloc[0]


def test_without_learnable_contexts_there_is_no_accuracy_to_report():
    assert records(learnable=0.0).accuracy.isna().all()


@pytest.mark.parametrize("variant", ["alg1", "code"])
def test_the_numpy_run_is_the_same_experiment(variant):
    """Small run against CoinFlipBandit with one update: entropy, m and accepted responses, step by step."""
    target, sizes = "points:1@0:0.5@0.4:1.5@1", {"contexts": 24, "arms": 12, "steps": 40, "lr": 0.1}
    torch_run = records(
        **sizes, updates=1, seed=2, intervention={"name": "entrocraft", "target": target, "variant": variant}
    )
    numpy_run = small_run(Schedule.of(target), variant=variant, seed=2, **sizes)
    assert set(torch_run.memory) == {-1, 0, 1}
    np.testing.assert_allclose(numpy_run["entropy"], torch_run.entropy, atol=1e-4)
    np.testing.assert_array_equal(numpy_run["m"], torch_run.memory)
    np.testing.assert_allclose(numpy_run["accepted"], torch_run.accepted, atol=1e-6)


@pytest.fixture(scope="module")
def sides():
    methods = {"none": "none", "up": "signed_reward positive=0 negative=1", "down": "signed_reward"}
    return {
        name: pd.DataFrame(CoinFlipBandit.profile("smoke", intervention=method, steps=60).run())
        for name, method in methods.items()
    }


def test_positives_lower_and_negatives_raise_the_entropy(sides):
    """The bounds of the smoke run, for every one of the seeds 0, 1, 2."""
    start = sides["none"].query("step == 0").entropy.to_numpy()
    none, up, down = (sides[name].query("step == 59").entropy.to_numpy() for name in ("none", "up", "down"))
    assert ((start > 1.0) & (start < 1.2)).all()
    assert (down < none).all()
    assert (none < start).all()
    assert (start < up).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responses": 1}, r"field 'responses': got 1 \(int\), allowed: integer from 2"),
        ({"steps": 0}, r"field 'steps': got 0"),
        ({"luck": 1.5}, r"field 'luck': got 1.5 .* to 1"),
        ({"arms": 1}, r"field 'arms': got 1 "),
        ({"lr": float("nan")}, r"field 'lr': got nan"),
        ({"lr": 0.0}, r"field 'lr': got 0.0"),
        ({"optimizer": "lion"}, r"field 'optimizer': got 'lion'.*'adam' or 'sgd'"),
        ({"intervention": "entrocraft target=9"}, r"field 'target': got 'constant:9'.*ln 64 = 4.159"),
        ({"intervention": "entrocraft target=points:1@0:1@0.9"}, r"leave a part of the training without a target"),
        ({"intervention": "entropy"}, r"field 'intervention': got 'entropy'"),
    ],
)
def test_wrong_settings_are_one_line_before_any_work(changes, message):
    with pytest.raises(ParameterError, match=message) as caught:
        CoinFlipBandit(**changes)
    assert "\n" not in str(caught.value)
