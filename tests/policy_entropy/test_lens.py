"""The lens: pushes by hand, the law of the entropy change, and estimators on a real model's step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entropy_utils.lab.experiment import collect
from entropy_utils.policy_entropy.grpo import GRPO, group_advantages
from entropy_utils.policy_entropy.interventions import (
    INTERVENTIONS,
    AdaptiveBonus,
    EntropyBonus,
    Intervention,
    NoIntervention,
    Sampled,
    TopEntropy,
    intervention,
)
from entropy_utils.policy_entropy.lens import QUADRANTS, TabularRollout, push, quadrant_table
from entropy_utils.policy_entropy.one_step import OneStepContest
from entropy_utils.policy_entropy.tabular import entropy

ROLLOUT = TabularRollout.draw(seed=1, prompts=8, responses=4, length=3, vocabulary=12)
WIDE = NoIntervention(clip_low=1.0, clip_high=10.0)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_the_lemma_predicts_what_every_method_does(name):
    found = push(INTERVENTIONS[name](), ROLLOUT)
    assert found.predicted.isfinite().all()
    torch.testing.assert_close(found.measured, found.predicted, atol=2e-3, rtol=0)


def test_push_and_entropy_change_are_the_formula():
    """Without a clip: g = ratio * A, and dH = -g (S_k - E[S]), written out for every token."""
    found = push(WIDE, ROLLOUT)
    advantages = group_advantages(ROLLOUT.rewards)
    for at in np.ndindex(*ROLLOUT.actions.shape):
        z, old, k = ROLLOUT.logits[at].numpy(), ROLLOUT.sampling_logits[at].numpy(), ROLLOUT.actions[at].item()
        p, q = np.exp(z) / np.exp(z).sum(), np.exp(old) / np.exp(old).sum()
        discriminator = p * (np.log(p) + entropy(z))
        push_by_hand = advantages[at[:3]].item() * p[k] / q[k]
        change = -push_by_hand * (discriminator[k] - p @ discriminator)
        assert found.predicted[at].item() == pytest.approx(change, abs=1e-10)
        if advantages[at[:3]] != 0:
            assert found.factor[at].item() == pytest.approx(p[k] / q[k], rel=1e-9)


def test_the_bonus_alone_raises_the_entropy_everywhere():
    equal = TabularRollout(**{**vars(ROLLOUT), "rewards": torch.ones_like(ROLLOUT.rewards)})
    found = push(EntropyBonus(coefficient=0.5), equal)
    assert (found.predicted > 0).all()
    z = ROLLOUT.logits[0, 0, 0, 0].numpy()
    p = np.exp(z) / np.exp(z).sum()
    slope = -p * (np.log(p) + entropy(z))
    assert found.predicted[0, 0, 0, 0].item() == pytest.approx(0.5 * slope @ slope, rel=1e-9)


def test_the_table_adds_up():
    methods = {"GRPO": NoIntervention(), "top": TopEntropy(share=0.5)}
    table = quadrant_table(methods, ROLLOUT)
    for row in table.values():
        assert sum(row[kind] for kind in QUADRANTS) == pytest.approx(row["sum"], abs=1e-9)
    assert abs(table["GRPO"]["sum"]) == pytest.approx(1)
    assert table["GRPO"]["probable, right"] < 0 < table["GRPO"]["rare, right"]
    assert table["GRPO"]["rare, wrong"] < 0 < table["GRPO"]["probable, wrong"]


def sampled(entropies, memory):
    """Two replicas, one group of two responses of one token each, with these entropies."""
    shape = (2, 1, 2, 1)
    some = torch.zeros(shape)
    entropy = torch.tensor(entropies).view(2, 1, 1, 1).expand(shape)
    return Sampled(some, entropy, some == 0, some[..., 0], some[..., 0], torch.tensor(memory))


def test_adaptive_bonus_hunts_its_target():
    """Below the target the coefficient grows and acts; above it shrinks and does not act; it stays in its bounds."""
    method = AdaptiveBonus(target=0.5, delta=0.1, start=0.2, largest=0.25)
    memory, seen = [method.first_memory] * 2, []
    for entropies in ([0.4, 0.6], [0.4, 0.6], [0.6, 0.4], [0.6, 0.5]):
        memory = method.prepare(sampled(entropies, memory)).memory.tolist()
        seen.append(memory)
    np.testing.assert_allclose(seen, [[0.25, -0.1], [0.25, 0], [-0.15, 0.1], [-0.05, 0.2]], atol=1e-6)


def test_adaptive_bonus_needs_a_start_below_its_bound():
    with pytest.raises(ValueError, match=r"start 2.0 and largest 1.0: allowed are start <= largest"):
        AdaptiveBonus(start=2.0)


def test_a_method_that_does_nothing_beforehand_leaves_the_rollout_alone():
    plain = ROLLOUT.sampled()
    prepared = Intervention.prepare(NoIntervention(), plain)
    assert prepared.advantages is plain.advantages
    assert prepared.mask is plain.mask


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("ENTROPY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


TINY = {"warm_up": {"hidden": 16, "layers": 1, "heads": 2, "steps": 5}, "replicas": 2, "prompts": 6, "responses": 4}


def test_contest_on_a_model(cache):
    records = collect(OneStepContest(**TINY, task="digit_sum", batches=2), progress=False).records
    assert 6 <= len(records) <= OneStepContest(**TINY, batches=2).length()
    assert records[["pearson", "spearman"]].abs().to_numpy().max() <= 1
    assert records.groupby("estimator").size().nunique() == 1
    tiny_step = collect(OneStepContest(**TINY, task="digit_sum", batches=2, lr=1e-4), progress=False).records
    np.testing.assert_allclose(records.pearson, tiny_step.pearson, atol=0.05)


@pytest.mark.parametrize("method", [intervention(name) for name in INTERVENTIONS], ids=list(INTERVENTIONS))
def test_every_method_trains_a_model_without_a_nan(cache, method):
    run = GRPO(**TINY, task="digit_sum", intervention=method, keep=4, minibatches=2, steps=3, evaluation_prompts=4)
    records = collect(run, progress=False).records
    assert len(records) == 6
    assert np.isfinite(records.drop(columns=["accuracy", "entropy_change", "predicted_change", "memory"])).all().all()


def test_exam_counts_are_those_of_a_sampled_exam(cache):
    run = GRPO(**TINY, task="digit_sum", keep=4, minibatches=2, steps=2, evaluation_prompts=30, exam_samples=16)
    records = collect(run, progress=False).records
    exam = records.filter(like="exam_")
    assert list(exam) == ["exam_pass_at_1", "exam_pass_at_4", "exam_pass_at_16", "exam_distinct"]
    assert exam[records.step == 0].isna().all().all()
    last = exam[records.step == 1].astype(float)
    assert ((last.exam_pass_at_1 <= last.exam_pass_at_4) & (last.exam_pass_at_4 <= last.exam_pass_at_16)).all()
    assert (last.exam_distinct >= last.exam_pass_at_16).all()
