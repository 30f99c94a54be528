"""The warm-up learns the prior, is what plain transformers training gives, and is done once."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.tasks import DigitSum, NoisyLookup
from entropy_utils.policy_entropy.warm_up import WarmUp, warm_policy

TINY = WarmUp(hidden=16, layers=1, heads=2, steps=3, batch=4)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same(one, other, replica=0, other_replica=0):
    a, b = one.state(replica), other.state(other_replica)
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def trained(monkeypatch):
    """The seeds of every call of `WarmUp.train`."""
    calls, train = [], WarmUp.train
    monkeypatch.setattr(WarmUp, "train", lambda self, task, seeds, *more: calls.append(seeds) or train(self, task, seeds))
    return calls


def test_trained_once_per_seed(trained, tmp_path):
    first = warm_policy(TINY, DigitSum(), [3, 5])
    again = warm_policy(TINY, DigitSum(), [3, 5])
    assert trained == [[3, 5]]
    assert same(first, again, 0, 0)
    assert same(first, again, 1, 1)
    assert not same(first, again, 0, 1)
    mixed = warm_policy(TINY, DigitSum(), [5, 4, 3])
    assert trained == [[3, 5], [4]]
    assert same(mixed, first, 0, 1)
    assert same(mixed, first, 2, 0)
    assert {path.suffix for path in (tmp_path / "cache" / "warm_up").iterdir()} == {".safetensors"}


OTHER = [{"hidden": 24}, {"layers": 2}, {"heads": 1}, {"steps": 4}, {"batch": 5}, {"lr": 1e-3}]


@pytest.mark.parametrize("change", OTHER, ids=lambda change: next(iter(change)))
def test_another_configuration_is_trained_anew(trained, change):
    warm_policy(TINY, DigitSum(), [0])
    other = warm_policy(TINY.replace(**change), DigitSum(), [0])
    assert trained == [[0], [0]]
    assert same(other, TINY.replace(**change).train(DigitSum(), [0]))


def test_another_task_is_trained_anew(trained):
    policies = [warm_policy(TINY, task, [0]) for task in (DigitSum(), NoisyLookup(), NoisyLookup(table_seed=8))]
    assert len(trained) == 3
    assert not same(policies[1], policies[2])
    assert same(policies[2], warm_policy(TINY, NoisyLookup(table_seed=8), [0]))
    assert len(trained) == 3


def test_a_seed_gets_in_a_stack_what_it_gets_alone():
    together = TINY.train(NoisyLookup(), [0, 1, 2])
    for replica in range(3):
        alone = TINY.train(NoisyLookup(), [replica]).state(0)
        for name, weight in together.state(replica).items():
            torch.testing.assert_close(weight, alone[name], rtol=1e-4, atol=1e-5)


def test_training_is_a_function_of_the_seed_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    one, two = (TINY.train(DigitSum(), [1]) for _ in range(2))
    assert same(one, two)
    assert torch.equal(before, torch.get_rng_state())


def test_the_first_updates_are_those_of_plain_transformers_training():
    """Soft targets, AdamW, warm-up of a tenth of the steps, cosine to a tenth: written for one model with autograd."""
    warm_up, task, seed = TINY.replace(steps=20, lr=1e-2), NoisyLookup(), 2
    model, generator = warm_up.model(task, seed), seeded(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    for step in range(20):
        rise = min(1.0, 0.5 + 0.25 * step)  # from 1/2 on: the warm-up takes 2 of 20 steps
        fall = 0.1 + 0.9 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * max(step - 2, 0) / 18)).item())
        optimizer.param_groups[0]["lr"] = 1e-2 * (rise if step < 2 else fall)
        prompts = task.prompts(4, generator)
        responses = task.demonstrations(prompts, generator)
        logits = model(torch.cat([prompts, responses], 1)).logits[:, task.prompt_length - 1 : -1]
        loss = -(task.prior(prompts, responses) * logits.log_softmax(-1)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = warm_up.train(task, [seed]).state(0)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


@torch.no_grad()
def divergence(policy, task):
    """KL from the prior to the model on fresh demonstrations, mean over their tokens, of every replica."""
    prompts = task.prompts(200, seeded(77))
    responses = task.demonstrations(prompts, seeded(78))
    prior = task.prior(prompts, responses)
    stacked = (x.expand(policy.replicas, *x.shape) for x in (prompts, responses[:, None]))
    log_p = policy.response_logits(*stacked)[:, :, 0].log_softmax(-1)
    target = prior.expand_as(log_p)
    return F.kl_div(log_p, target, reduction="none").sum(-1).mean((1, 2))


def test_the_policy_comes_close_to_the_prior():
    task, short = DigitSum(), WarmUp(hidden=32, layers=1, heads=2, batch=32, steps=5)
    start, later, end = (divergence(short.replace(steps=n).train(task, [0, 1]), task) for n in (5, 40, 150))
    assert (start > 0.3).all()
    assert (later < 0.5 * start).all()
    assert (end < 0.75 * later).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden": 20}, r"field 'hidden': got 20"),
        ({"steps": 0}, r"field 'steps': got 0 \(int\), allowed: integer from 1"),
        ({"lr": "1e-3"}, r"field 'lr': got '1e-3' \(str\), allowed"),
        ({"width": 64}, "unknown field 'width'"),
        ({"hidden": 16, "heads": 3}, "hidden 16 and heads 3: allowed is a hidden that is a multiple of 2 x heads"),
        ({"hidden": 8, "heads": 8}, "hidden 8 and heads 8"),
    ],
)
def test_wrong_sizes_are_one_line(given, message):
    with pytest.raises(ParameterError, match=message) as caught:
        WarmUp(**given)
    assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match="field 'warm_up': got") as caught:
        GRPO.profile("smoke", warm_up=given)
    assert "\n" not in str(caught.value)
