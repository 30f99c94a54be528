"""GRPO against a plain single-seed update with transformers and autograd, and every part of it against loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import collect
from entropy_utils.language_model import sample
from entropy_utils.language_model.stacked import StackedLlama
from entropy_utils.policy_entropy import grpo
from entropy_utils.policy_entropy.covariance import group_covariance, token_covariance
from entropy_utils.policy_entropy.grpo import (
    GRPO,
    Rollout,
    clip_gradients,
    distinct_right,
    greedy_accuracy,
    group_advantages,
    mixed_groups,
    pass_at_k,
    sample_rollout,
)
from entropy_utils.policy_entropy.interventions import ClipCov, KLCov, NoIntervention
from entropy_utils.policy_entropy.tasks import DigitSum
from entropy_utils.policy_entropy.warm_up import WarmUp

TASK = DigitSum()
SIZE = WarmUp(hidden=16, layers=1, heads=2)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def fresh(*seeds):
    """Untrained policies, one per seed."""
    models = [SIZE.model(TASK, seed) for seed in seeds]
    return StackedLlama(models[0].config, [model.state_dict() for model in models])


def single(policy, replica=0):
    """One replica as the model of transformers."""
    model = LlamaForCausalLM(policy.config)
    model.load_state_dict(policy.state(replica))
    return model


def judged(rollout, seed=0, share=0.5):
    """The same rollout with rewards by the toss of a coin: an untrained policy is hardly ever right."""
    (g,) = seeded(seed)
    rewards = (torch.rand(rollout.rewards.shape, generator=g) < share).float()
    return Rollout(**{**vars(rollout), "rewards": rewards})


def chosen(rollout, keep, generators, *rest, **more):
    """The groups of a rollout that plain GRPO trains on."""
    return rollout.chosen(rollout.sampled(), keep, generators, *rest, **more)


def kept_groups(policy, seeds=(0,), prompts=6, responses=4, keep=6, least=2):
    rollout = judged(sample_rollout(policy, TASK, prompts, responses, seeded(*seeds)))
    return chosen(rollout, keep, seeded(*seeds), least)


def plain_update(experiment, model, kept):
    """The updates of one seed as the paper writes them: sequence by sequence, token by token. Returns the losses."""
    if experiment.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), experiment.lr)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), experiment.lr, weight_decay=0.0)
    losses, (count, group, length) = [], kept.mask.shape[1:]
    for _ in range(experiment.epochs):
        for part in range(experiment.minibatches):
            terms = []
            for p, i in itertools.product(range(part, count, experiment.minibatches), range(group)):
                prompt, answer, advantage = kept.prompts[0, p], kept.responses[0, p, i], kept.advantages[0, p, i]
                logits = model(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1]
                logp = logits.log_softmax(-1)[range(length), answer]
                for t in range(length):
                    if kept.mask[0, p, i, t]:
                        ratio = (logp[t] - kept.old_logp[0, p, i, t]).exp()
                        terms.append(-torch.minimum(advantage * ratio, advantage * ratio.clamp(0.8, 1.2)))
            loss = torch.stack(terms).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), experiment.grad_clip)
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("given", "clips"),
    [
        ({"minibatches": 1, "optimizer": "sgd", "lr": 0.5}, False),
        ({"minibatches": 2, "optimizer": "sgd", "lr": 2.0, "epochs": 2}, True),
        ({"minibatches": 2, "optimizer": "sgd", "lr": 2.0, "grad_clip": 0.05}, True),
        ({"minibatches": 2, "optimizer": "adamw", "lr": 0.01, "epochs": 2}, True),
    ],
)
def test_update_is_the_plain_one(given, clips, monkeypatch):
    policy = fresh(3)
    model, kept = single(policy), kept_groups(policy)
    assert not kept.mask.all()
    losses, mean = [], grpo.masked_mean
    monkeypatch.setattr(grpo, "masked_mean", lambda x, mask: losses.append(mean(x, mask).item()) or mean(x, mask))
    experiment = GRPO(task="digit_sum", prompts=6, keep=6, responses=4, replicas=1, warm_up=SIZE, **given)
    acted = experiment.update(policy, None, optimizer_of(experiment, policy), kept, seeded(0))
    assert (acted.item() > 0) == clips
    assert losses == pytest.approx(plain_update(experiment, model, kept), abs=1e-5)
    for name, weight in policy.state(0).items():
        wanted = model.state_dict()[name]
        torch.testing.assert_close(weight, wanted, rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def optimizer_of(experiment, policy):
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[experiment.optimizer]
    return kind(policy.parameters(), lr=experiment.lr, weight_decay=0.0)


def sgd_step(policy, kept, intervention, **given):
    """Weights after one rollout's updates by plain SGD, as one long vector per replica."""
    given = {"optimizer": "sgd", "lr": 0.5, "minibatches": 1} | given
    experiment = GRPO(prompts=6, keep=6, responses=4, replicas=1, warm_up=SIZE, intervention=intervention, **given)
    moved = StackedLlama(policy.config, [policy.state(replica) for replica in range(policy.replicas)])
    experiment.update(moved, None, optimizer_of(experiment, moved), kept, seeded(*range(policy.replicas)))
    return torch.cat([weight.detach().flatten(1) for weight in moved.parameters()], 1)


def test_kl_cov_does_nothing_with_one_minibatch_and_something_with_two():
    policy = fresh(1)
    kept = kept_groups(policy)
    plain = NoIntervention(clip_low=1.0, clip_high=10.0)
    strong = KLCov(share=1.0, coefficient=5.0)
    assert torch.equal(sgd_step(policy, kept, strong), sgd_step(policy, kept, plain))
    one, two = (sgd_step(policy, kept, method, minibatches=2) for method in (strong, plain))
    assert (one - two).abs().max() > 1e-4


def test_a_replica_without_mixed_groups_stays_where_it_is():
    policy = fresh(0, 1)
    rollout = judged(sample_rollout(policy, TASK, 6, 4, seeded(0, 1)))
    rollout.rewards[1] = torch.tensor([0.0, 1, 0, 1, 1, 0])[:, None]  # every group all right or all wrong
    kept = chosen(rollout, 6, seeded(0, 1), 2)
    assert kept.mask[0].any()
    assert not kept.mask[1].any()
    before = torch.cat([weight.detach().flatten(1) for weight in policy.parameters()], 1)
    for method in (NoIntervention(), ClipCov(share=0.5, low=-9.0, high=9.0), KLCov(share=0.5)):
        after = sgd_step(policy, kept, method, minibatches=2)
        assert after.isfinite().all()
        assert torch.equal(after[1], before[1])
        assert not torch.equal(after[0], before[0])
    covariances = kept.covariances()
    assert covariances["covariance"][1] == covariances["group_covariance"][1] == 0


def test_groups_of_equal_rewards_count_only_if_asked():
    """They have no gradient, but their tokens are in the denominator."""
    policy = fresh(2)
    rollout = judged(sample_rollout(policy, TASK, 6, 4, seeded(0)), share=0.2)
    mixed = chosen(rollout, 6, seeded(0))
    everything = chosen(rollout, 6, seeded(0), uniform_too=True)
    start = torch.cat([weight.detach().flatten(1) for weight in policy.parameters()], 1)
    assert 0 < mixed_groups(rollout.rewards).sum() < 6
    assert everything.mask.sum() == rollout.mask.sum() > mixed.mask.sum()
    moves = [sgd_step(policy, kept, NoIntervention(), grad_clip=1e6) - start for kept in (mixed, everything)]
    torch.testing.assert_close(moves[1], moves[0] * (mixed.mask.sum() / everything.mask.sum()), rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped_replica_by_replica():
    policy = fresh(0, 1, 2)
    (g,) = seeded(0)
    for weight in policy.parameters():
        weight.grad = torch.randn(weight.shape, generator=g) * torch.tensor([0.001, 0.1, 3.0]).view(
            -1, *[1] * (weight.dim() - 1)
        )
    before = [weight.grad.clone() for weight in policy.parameters()]
    clip_gradients(policy, 1.0)
    for replica in range(3):
        alone = [torch.nn.Parameter(gradient[replica]) for gradient in before]
        for weight, gradient in zip(alone, before, strict=True):
            weight.grad = gradient[replica].clone()
        norm = torch.nn.utils.clip_grad_norm_(alone, 1.0)
        assert (norm > 1) == (replica > 0)
        for weight, clipped in zip(alone, policy.parameters(), strict=True):
            torch.testing.assert_close(clipped.grad[replica], weight.grad)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=16))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_group_advantages(rewards):
    r = np.array(rewards, float)
    found = group_advantages(torch.tensor(rewards).float())
    np.testing.assert_allclose(found, (r - r.mean()) / (r.std(ddof=1) + 1e-6), rtol=1e-5, atol=1e-6)
    plain = group_advantages(torch.tensor(rewards).float(), scale=False)
    np.testing.assert_allclose(plain, r - r.mean(), atol=1e-6)
    assert bool(mixed_groups(torch.tensor(rewards))) == (len(set(rewards)) == 2)
    if len(set(rewards)) == 1:
        assert (found == 0).all()


def test_largest_advantage_of_a_group_of_eight():
    """One right among eight: 2.475 with the sample deviation (2.646 would be the population's)."""
    rewards = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)))
    assert group_advantages(rewards).abs().max().item() == pytest.approx(2.475, abs=5e-4)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.booleans()), min_size=1, max_size=9))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_distinct_right_is_the_size_of_a_set(answers):
    rewards = {(a, b): float(right) for a, b, right in answers}
    responses = [(a, b) for a, b, _ in answers]
    right = [rewards[response] for response in responses]
    found = distinct_right(torch.tensor([responses, responses]), torch.tensor([right, [0.0] * len(right)]))
    assert found.tolist() == [len({a for a, r in zip(responses, right, strict=True) if r}), 0]


@pytest.mark.parametrize("samples", [1, 4, 7])
def test_pass_at_k_is_the_share_of_subsets(samples):
    for right, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        subsets = list(itertools.combinations([1] * right + [0] * (samples - right), k))
        wanted = sum(any(subset) for subset in subsets) / len(subsets)
        assert pass_at_k(torch.tensor([right]), samples, k).item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("k", [0, 9])
def test_pass_at_k_needs_enough_samples(k):
    with pytest.raises(ValueError, match=f"^k: got {k}, allowed: an integer from 1 to 8$"):
        pass_at_k(torch.tensor([3]), 8, k)


def numbered(rewards):
    """A rollout (S, P, G) whose prompts and responses are the number of their group, to follow where they go."""
    rewards = torch.as_tensor(rewards, dtype=torch.float32)
    replicas, prompts, group = rewards.shape
    number = torch.arange(prompts).expand(replicas, -1)
    responses = number[..., None, None].expand(-1, -1, group, 2)
    mask = torch.ones(responses.shape, dtype=torch.bool)
    return Rollout(number[..., None], responses, mask, -responses.float(), responses.float(), rewards)


@pytest.mark.parametrize(("keep", "least"), [(3, 1), (5, 4), (20, 1), (20, 6), (2, 4)])
def test_mixed_groups_only_and_none_twice(keep, least):
    (g,) = seeded(1)
    rewards = (torch.rand(5, 9, 4, generator=g) < torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9]).view(-1, 1, 1)).float()
    rollout = numbered(rewards)
    kept = chosen(rollout, keep, seeded(*range(5)), least)
    mixed = [{p for p in range(9) if len(set(rewards[s, p].tolist())) == 2} for s in range(5)]
    assert len({len(groups) for groups in mixed}) > 2
    places = kept.prompts.shape[1]
    assert places == min(keep, max(least, *map(len, mixed)))
    for s in range(5):
        live = kept.mask[s].flatten(1).all(1)
        assert torch.equal(live, kept.mask[s].flatten(1).any(1))
        numbers = kept.prompts[s, :, 0]
        assert len(set(numbers.tolist())) == places
        assert set(numbers[live].tolist()) <= mixed[s]
        assert live.sum() == min(keep, len(mixed[s]))
        for place, number in enumerate(numbers.tolist()):
            assert (kept.responses[s, place] == number).all()
            assert (kept.old_logp[s, place] == -number).all()
            torch.testing.assert_close(kept.advantages[s, place], group_advantages(rewards[s, number]))
    assert (kept.advantages[~kept.mask.any(-1)] == 0).all()
    assert kept.advantages.isfinite().all()


def test_every_mixed_group_is_kept_equally_often():
    rewards = torch.zeros(600, 6, 4)
    rewards[:, 1:5, 0] = 1
    kept = chosen(numbered(rewards), 2, seeded(*range(600)))
    counts = np.bincount(kept.prompts.flatten(), minlength=6)
    assert counts[[0, 5]].tolist() == [0, 0]
    np.testing.assert_allclose(counts[1:5], 300, atol=60)


def test_minibatches_hold_every_group_once():
    kept = chosen(numbered(torch.eye(4)[None, [0, 1, 2, 3, 0, 1, 2]]), 7, seeded(0))
    parts = [kept.part(i, 3) for i in range(3)]
    assert sorted(n for part in parts for n in part.prompts.flatten().tolist()) == list(range(7))
    assert [part.mask.shape[1] for part in parts] == [3, 2, 2]
    for part in parts:
        assert torch.equal(part.responses[0, :, 0, 0], part.prompts[0, :, 0])
        assert torch.equal(part.token_advantages, part.advantages[..., None].expand(-1, -1, -1, 2))


@torch.no_grad()
def test_rollout_is_what_the_model_says_about_its_own_samples():
    policy = fresh(0, 5)
    rollout = sample_rollout(policy, TASK, 7, 30, seeded(3, 4))
    assert torch.equal(rollout.prompts[1], TASK.prompts(7, seeded(4)[0]))
    for replica in range(2):
        model = single(policy, replica)
        prompts = rollout.prompts[replica].repeat_interleave(30, 0)
        drawn = rollout.responses[replica].flatten(0, 1)
        log_p = model(torch.cat([prompts, drawn], 1)).logits[:, 2:-1].log_softmax(-1)
        wanted = log_p.gather(-1, drawn[..., None])[..., 0].view(7, 30, 5)
        torch.testing.assert_close(rollout.logp[replica], wanted, rtol=1e-4, atol=1e-5)
        entropy = -(log_p.exp() * log_p).sum(-1).view(7, 30, 5)
        torch.testing.assert_close(rollout.entropy[replica], entropy, rtol=1e-4, atol=1e-5)
    for tokens, mask in zip(rollout.responses.flatten(0, 2).tolist(), rollout.mask.flatten(0, 2).tolist(), strict=True):
        length = tokens.index(TASK.eos) + 1 if TASK.eos in tokens else 5
        assert mask == [True] * length + [False] * (5 - length)
    texts = [TASK.decode(row) for row in rollout.responses.flatten(0, 2)]
    asked = [TASK.decode(row) for row in rollout.prompts.flatten(0, 1).repeat_interleave(30, 0)]
    assert rollout.rewards.flatten().tolist() == TASK.reward_function(asked, texts)


def test_metrics_by_counting():
    (g,) = seeded(0)
    responses = torch.randint(0, 2, (2, 3, 4, 2), generator=g)
    mask = torch.rand(responses.shape, generator=g) < 0.7
    entropy = torch.rand(responses.shape, generator=g)
    rewards = (responses.sum(-1) == 1).float()
    rewards[0, 1], rewards[1, 2] = 0.0, 1.0
    rollout = Rollout(torch.zeros(2, 3, 1), responses, mask, entropy, entropy, rewards)
    found = rollout.metrics()
    for s in range(2):
        groups = [rewards[s, p].tolist() for p in range(3)]
        assert found["reward"][s].item() == pytest.approx(sum(map(sum, groups)) / 12)
        assert found["pass_at_k"][s].item() == pytest.approx(sum(any(group) for group in groups) / 3)
        assert found["kept"][s] == sum(len(set(group)) > 1 for group in groups)
        right = [{tuple(a) for a, r in zip(responses[s, p].tolist(), groups[p], strict=True) if r} for p in range(3)]
        assert found["distinct_right"][s].item() == pytest.approx(sum(map(len, right)) / 3)
        assert found["entropy"][s].item() == pytest.approx(entropy[s][mask[s]].mean().item())


def test_covariances_are_of_the_live_groups():
    policy = fresh(0, 1)
    rollout = judged(sample_rollout(policy, TASK, 6, 4, seeded(0, 1)), share=0.15)
    kept = chosen(rollout, 6, seeded(0, 1), 6)
    found = kept.covariances()
    for s in range(2):
        live = kept.mask[s].flatten(1).any(1)
        assert 0 < live.sum() < 6
        logp, mask = kept.old_logp[s, live], kept.mask[s, live]
        scores = token_covariance(*(x.flatten(0, 1) for x in (logp, kept.token_advantages[s, live], mask)))
        assert found["covariance"][s].item() == pytest.approx(scores[mask.flatten(0, 1)].mean().item(), abs=1e-6)
        groups = group_covariance(logp, kept.advantages[s, live], mask).mean().item()
        assert found["group_covariance"][s].item() == pytest.approx(groups, abs=1e-6)


@pytest.mark.parametrize("block", [64, 7])
def test_greedy_accuracy_is_that_of_greedy_samples(block, monkeypatch):
    """An untrained policy is never right, so being right is made to mean an even first token here."""
    monkeypatch.setattr(DigitSum, "reward", lambda self, prompts, answers: (answers[..., 0] % 2 == 0).float())
    policy, prompts = fresh(0, 1, 2), TASK.prompts(40, seeded(1)[0])
    found = greedy_accuracy(policy, TASK, prompts, block)
    wanted = []
    for replica in range(3):
        drawn = sample(single(policy, replica), prompts, 5, temperature=0).tokens
        wanted.append((drawn[:, 0] % 2 == 0).double().mean().item())
    assert found.tolist() == pytest.approx(wanted)
    assert len(set(wanted)) > 1


RUN = {"task": "digit_sum", "prompts": 12, "keep": 8, "responses": 6, "minibatches": 4, "steps": 4, "lr": 3e-3}
RUN |= {"evaluation_prompts": 20, "evaluate_every": 2}
RUN |= {"warm_up": {"hidden": 16, "layers": 1, "heads": 2, "batch": 16, "steps": 20, "lr": 0.01}}


@pytest.fixture
def easy(monkeypatch):
    """Right is an answer that starts with 3 or 4: about one in six of a policy that has learned next to nothing."""
    right = lambda self, prompts, answers: ((answers[..., 0] == 3) | (answers[..., 0] == 4)).float()  # noqa: E731
    monkeypatch.setattr(DigitSum, "reward", right)


@pytest.mark.parametrize(
    "given",
    [
        {"intervention": {"name": "clip_cov", "share": 0.3, "low": -9.0, "high": 9.0}, "epochs": 2},
        {"intervention": "reference_kl", "optimizer": "sgd", "lr": 0.1, "diagnose_every": 2},
    ],
    ids=["clip_cov", "reference_kl"],
)
def test_a_stack_gives_each_seed_what_it_gets_alone(given, easy):
    given = RUN | {"responses": 3} | given
    together = collect(GRPO(seed=1, replicas=3, **given), progress=False).records
    kept = together.pivot(index="step", columns="seed", values="kept").iloc[:3]
    assert kept.min().min() < 4 < kept.max().max()  # fewer than minibatches, and more
    assert (kept.nunique(axis=1) > 1).any()
    for seed in (1, 2, 3):
        alone = collect(GRPO(seed=seed, replicas=1, **given), progress=False).records
        mine = together[together.seed == seed].reset_index(drop=True)
        assert list(alone.columns) == list(mine.columns)
        for name in alone:
            wanted, found = (np.array(x[name], float) for x in (alone, mine))
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=name)
        assert np.diff(mine.entropy).any()


def test_records_of_a_run(easy):
    experiment = GRPO(seed=7, replicas=2, **RUN | {"diagnose_every": 3, "intervention": "random_mask"})
    state = torch.get_rng_state()
    first, second = (collect(experiment, progress=False).records for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert first.equals(second)
    assert len(first) == experiment.length() == 8
    assert first[["step", "seed"]].to_numpy().tolist() == [[i, s] for i in range(4) for s in (7, 8)]
    by_step = first.groupby("step")
    assert by_step.accuracy.count().tolist() == [2, 0, 2, 2]  # every second, and the last
    assert by_step.entropy_change.count().tolist() == by_step.predicted_change.count().tolist() == [2, 0, 0, 2]
    assert (first.acted_on > 0).any()
    assert first.entropy.between(0, math.log(12)).all()
    assert (first.pass_at_k >= first.reward).all()
    different = collect(experiment.replace(seed=9), progress=False).records
    assert not first.entropy.isin(different.entropy).any()


def test_entropy_change_follows_lemma_1(easy):
    """A small step on the states of the rollout: measured and predicted change agree to first order."""
    given = RUN | {"optimizer": "sgd", "lr": 0.03, "minibatches": 1, "diagnose_every": 1, "evaluate_every": 99, "steps": 8}
    run = collect(GRPO(replicas=3, **given), progress=False).records
    measured, predicted = run.entropy_change.to_numpy(float), run.predicted_change.to_numpy(float)
    assert np.abs(measured).max() > 1e-4
    assert np.corrcoef(measured, predicted)[0, 1] > 0.99
    assert 0.9 < np.polyfit(predicted, measured, 1)[0] < 1.1


def test_the_reward_rises_and_the_entropy_falls(easy):
    given = RUN | {"replicas": 2, "steps": 30, "lr": 0.01, "evaluate_every": 29}
    run = collect(GRPO(**given), progress=False).records
    reward, entropy = (run.pivot(index="step", columns="seed", values=name) for name in ("reward", "entropy"))
    assert (reward.iloc[0] < 0.3).all()
    assert (reward.iloc[-3:].mean() > 0.9).all()
    assert (entropy.iloc[-3:].mean() < entropy.iloc[0] - 0.1).all()
    assert (run[run.step == 29].accuracy > 0.9).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "chess"}, r"field 'task': got 'chess' \(str\), allowed: 'noisy_lookup' or 'digit_sum'"),
        ({"responses": 1}, r"field 'responses': got 1 \(int\), allowed: integer from 2"),
        ({"steps": "7"}, r"field 'steps': got '7' \(str\)"),
        ({"optimizer": "adam"}, "field 'optimizer': got 'adam'"),
        ({"grad_clip": 0}, r"field 'grad_clip': got 0 \(int\), allowed: finite number above 0"),
        ({"temperature": 1.0}, "unknown field 'temperature'"),
    ],
)
def test_wrong_parameters_are_one_line(wrong, message):
    with pytest.raises(ParameterError, match=message) as caught:
        GRPO.profile("smoke", **wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_profile_is_valid_and_leaves_the_rest_at_its_default(profile):
    experiment = GRPO.profile(profile)
    assert experiment.seeds == list(range(experiment.replicas))
    assert type(experiment)(**experiment.model_dump(mode="json")) == experiment
    assert (GRPO.profile(profile) == GRPO()) == (profile == "laptop")
