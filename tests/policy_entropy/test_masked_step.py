"""The masked step: exactly one SGD step without the chosen tokens, from a policy that stays what it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from entropy_utils.lab.experiment import collect
from entropy_utils.language_model.stacked import StackedLlama
from entropy_utils.policy_entropy.covariance import token_covariance
from entropy_utils.policy_entropy.grpo import Rollout, policy_logits, sample_rollout, uniform
from entropy_utils.policy_entropy.masked_step import SELECTIONS, MaskedStep, logits_after_step
from entropy_utils.policy_entropy.tasks import DigitSum, NoisyLookup
from entropy_utils.policy_entropy.warm_up import WarmUp

EXPERIMENT = MaskedStep(lr=0.5, replicas=2)


@pytest.fixture
def policy():
    models = [WarmUp(hidden=16, layers=1, heads=2).model(DigitSum(), seed) for seed in (0, 1)]
    return StackedLlama(models[0].config, [model.state_dict() for model in models])


@pytest.fixture
def kept(policy):
    """Groups of an untrained policy, judged by the toss of a coin; some tokens and groups are masked."""
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    rollout = sample_rollout(policy, DigitSum(), 8, 4, generators)
    rewards = (torch.rand(rollout.rewards.shape, generator=generators[0]) < 0.3).float()
    found = Rollout(**{**vars(rollout), "rewards": rewards})
    found = found.chosen(found.sampled(), 8, generators, 8)
    assert not found.mask.flatten(2).any(-1).all()
    return found


def hand_made(policy, kept, left_out, lr):
    """Logits after a step of torch's SGD, the loss summed token by token."""
    moved = StackedLlama(policy.config, [policy.state(replica) for replica in range(2)])
    optimizer = torch.optim.SGD(moved.parameters(), lr)
    log_p = moved.response_logits(kept.prompts, kept.responses).log_softmax(-1)
    logp = log_p.gather(-1, kept.responses[..., None])[..., 0]
    loss = 0.0
    for replica in range(2):
        out = left_out[replica].view(kept.mask.shape[1:])
        for at in (kept.mask[replica] & ~out).nonzero().tolist():
            weight = kept.advantages[replica, at[0], at[1]] / kept.mask[replica].sum()
            loss = loss - weight * logp[(replica, *at)]
    loss.backward()
    optimizer.step()
    return policy_logits(moved, kept)


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_step_is_a_hand_made_one_and_the_policy_stays(policy, kept, selection):
    random = uniform([torch.Generator().manual_seed(seed) for seed in (5, 6)], kept.mask.flatten(1, 2).shape[1:])
    left_out = EXPERIMENT._left_out(kept, random, *selection)
    before = [weight.detach().clone() for weight in policy.parameters()]
    found = logits_after_step(policy, kept, EXPERIMENT.lr, left_out)
    for weight, was in zip(policy.parameters(), before, strict=True):
        torch.testing.assert_close(weight, was, rtol=0, atol=1e-7)
    assert (found - policy_logits(policy, kept)).abs().max() > 1e-3
    torch.testing.assert_close(found, hand_made(policy, kept, left_out, 0.5), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_tokens_left_out(kept, selection):
    which, share = selection
    mask = kept.mask.flatten(1, 2)
    random = uniform([torch.Generator().manual_seed(seed) for seed in (5, 6)], mask.shape[1:])
    left_out = EXPERIMENT._left_out(kept, random, which, share)
    score = token_covariance(kept.old_logp.flatten(1, 2), kept.token_advantages.flatten(1, 2), mask)
    for replica in range(2):
        valid = mask[replica]
        count = math.floor(share * valid.sum().item() + 1e-6)
        assert left_out[replica].sum() == count
        assert not (left_out[replica] & ~valid).any()
        if which in ("top", "bottom"):
            order = score[replica][valid].sort(descending=which == "top").values
            chosen = score[replica][left_out[replica]].sort(descending=which == "top").values
            assert torch.equal(chosen, order[:count])
        if which == "random":
            assert torch.equal(
                random[replica][left_out[replica]].sort().values, random[replica][valid].sort().values[-count:]
            )


def test_nothing_moves_if_all_is_left_out(policy, kept):
    found = logits_after_step(policy, kept, EXPERIMENT.lr, torch.ones_like(kept.mask.flatten(1, 2)))
    assert torch.equal(found, policy_logits(policy, kept))


def test_a_run_and_each_seed_of_it_alone(monkeypatch):
    """An untrained policy is hardly ever right, so right is made to mean a first digit of 3 or 4."""
    right = lambda self, prompts, answers: ((answers[..., 0] == 3) | (answers[..., 0] == 4)).float()  # noqa: E731
    monkeypatch.setattr(NoisyLookup, "reward", right)
    given = {"batches": 2, "prompts": 12, "responses": 3, "lr": 0.5}
    given |= {"warm_up": {"hidden": 16, "layers": 1, "heads": 2, "batch": 16, "steps": 20}}
    experiment = MaskedStep(seed=3, replicas=3, **given)
    together = collect(experiment, progress=False).records
    assert len(together) == experiment.length() == 2 * len(SELECTIONS) * 3
    kinds = together[["left_out", "share"]].drop_duplicates().itertuples(index=False)
    assert [tuple(kind) for kind in kinds] == list(SELECTIONS)
    assert together.equals(collect(experiment, progress=False).records)
    for seed in (3, 4, 5):
        alone = collect(MaskedStep(seed=seed, replicas=1, **given), progress=False).records
        mine = together[together.seed == seed].reset_index(drop=True)
        np.testing.assert_allclose(mine.entropy_change, alone.entropy_change, rtol=1e-3, atol=1e-6)
    assert together.groupby(["seed", "batch"]).entropy_change.std().min() > 1e-5
