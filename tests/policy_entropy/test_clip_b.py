"""Clip_B, its control, Clip_V and the quadrants: masks against the rule written out, gradients, invariances."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.lab.errors import ParameterError
from entropy_utils.language_model import token_statistics
from entropy_utils.policy_entropy.covariance import masked_mean
from entropy_utils.policy_entropy.grpo import group_advantages
from entropy_utils.policy_entropy.interventions import ClipB, ClipBRandom, ClipV, NoIntervention, Quadrants, Sampled, Tokens

METHODS = [
    ClipB(), ClipB(mu=1.0), ClipB(mu=0.0), ClipB(share=0.3), ClipB(share=1.0), ClipBRandom(mu=1.0), ClipBRandom(share=0.4),
    ClipV(), ClipV(mu=0.5, max_share=1.0), ClipV(mu=0.5, max_share=0.05), ClipV(share=0.3), Quadrants(),
    Quadrants(keep="++"), Quadrants(keep="--"), Quadrants(keep="+-,-+"), Quadrants(keep="-+", score="D"),
]  # fmt: skip
each_method = pytest.mark.parametrize("method", METHODS, ids=[f"{m.name}-{i}" for i, m in enumerate(METHODS)])
each_seed = pytest.mark.parametrize("seed", range(3))


def rollout(seed=0, shape=(4, 5, 6), stack=(), scale=3.0):
    """Tokens drawn from random softmaxes in responses of several lengths; one group has equal rewards."""
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*stack, *shape, 8, generator=g, dtype=torch.float64)
    drawn = torch.distributions.Categorical(logits=logits).probs.flatten(0, -2).multinomial(1, generator=g)
    s = token_statistics(drawn.view(logits.shape[:-1]), logits)
    rewards = (torch.rand(*stack, *shape[:2], generator=g) < 0.5).double()
    rewards[..., 0, :] = 1.0
    lengths = torch.randint(1, shape[2] + 1, (*stack, *shape[:2]), generator=g)
    mask = torch.arange(shape[2]) < lengths[..., None]
    numbers = torch.rand(mask.shape, generator=g)
    memory = torch.zeros(stack, dtype=torch.float64)
    A = group_advantages(rewards)
    moments = {"sum_p2": s.sum_p2, "sum_p2_log_p": s.sum_p2_log_p, "random": numbers}
    return Sampled(s.log_prob, s.entropy, mask, rewards, A, memory, **moments)


def kept_by_hand(method, sampled):
    """The tokens that stay, in plain Python."""
    valid = [at for at in itertools.product(*map(range, sampled.mask.shape)) if sampled.mask[at]]
    p = {at: math.exp(sampled.logp[at]) for at in valid}
    A = {at: sampled.advantages[at[:2]].item() for at in valid}
    H = {at: sampled.entropy[at].item() for at in valid}
    S = {at: p[at] * (math.log(p[at]) + H[at]) for at in valid}
    D = {at: S[at] - H[at] * sampled.sum_p2[at].item() - sampled.sum_p2_log_p[at].item() for at in valid}
    if isinstance(method, Quadrants):
        score = S if method.score == "S" else D
        kinds = method.keep.split(",")
        return {at for at in valid if A[at] == 0 or ("-+"[A[at] > 0] + "-+"[score[at] > 0]) in kinds}
    vocabulary = isinstance(method, ClipV)
    score = D if vocabulary else S
    mean = sum(score.values()) / len(valid)
    sd = math.sqrt(sum((x - mean) ** 2 for x in score.values()) / len(valid))
    negative = sorted((at for at in valid if A[at] < 0), key=lambda at: score[at])
    if method.share is not None:
        gone = negative[: math.floor(round(method.share * len(negative), 9))]
    else:
        gone = [at for at in negative if score[at] - (0 if vocabulary else mean) < -method.mu * sd]
        if vocabulary:
            gone = gone[: max(1, math.floor(method.max_share * len(valid)))]
    if isinstance(method, ClipBRandom):
        gone = sorted(negative, key=lambda at: -sampled.random[at].item())[: len(gone)]
    return set(valid) - set(gone)


@each_method
@each_seed
def test_the_mask_is_the_rule(method, seed):
    sampled = rollout(seed)
    prepared = method.prepare(sampled)
    assert {tuple(at) for at in prepared.mask.nonzero().tolist()} == kept_by_hand(method, sampled)
    assert torch.equal(prepared.advantages, sampled.advantages)
    gone = sampled.mask & ~prepared.mask
    assert prepared.memory.item() == pytest.approx(gone.sum().item() / sampled.mask.sum().item())


def test_the_rollouts_hold_every_case():
    """Otherwise the comparison above would prove little."""
    for method in METHODS:
        gone = [(s := rollout(seed)).mask.sum().item() - len(kept_by_hand(method, s)) for seed in range(3)]
        nothing = method in (Quadrants(), ClipB(), ClipV())
        assert (max(gone) == 0) == nothing, method


@each_method
@each_seed
def test_rewarded_tokens_stay_and_masked_ones_have_exactly_zero_gradient(method, seed):
    sampled = rollout(seed)
    kept = method.prepare(sampled).mask
    if not isinstance(method, Quadrants):
        good = (sampled.advantages > 0)[..., None] & sampled.mask
        assert kept[good].all()
    logp = sampled.logp.flatten(0, 1).clone().requires_grad_()
    A = sampled.advantages[..., None].expand_as(kept).flatten(0, 1)
    flat = (sampled.logp.flatten(0, 1) - 0.05, A, kept.flatten(0, 1), sampled.entropy.flatten(0, 1))
    tokens = Tokens(logp, *flat, sampled.random.flatten(0, 1))
    loss, _ = method.token_loss(tokens)
    (gradient,) = torch.autograd.grad(masked_mean(loss, tokens.mask).sum(), logp)
    assert (gradient[~tokens.mask] == 0).all()
    live = tokens.mask & (A != 0)
    np.testing.assert_allclose(gradient[live], (-A * math.exp(0.05))[live] / tokens.mask.sum(), rtol=1e-9)


@each_method
def test_a_stack_of_rollouts_is_prepared_one_by_one(method):
    sampled = rollout(5, stack=(3,))
    together = method.prepare(sampled)
    for replica in range(3):
        names = ("logp", "entropy", "mask", "rewards", "advantages", "memory", "sum_p2", "sum_p2_log_p", "random")
        alone = method.prepare(Sampled(**{name: getattr(sampled, name)[replica] for name in names}))
        assert torch.equal(together.mask[replica], alone.mask)
        assert together.memory[replica] == alone.memory


@each_method
def test_what_lies_outside_the_mask_does_not_matter(method):
    sampled = rollout(6)
    changes = {"logp": -40.0, "entropy": 9.0, "random": 0.9999, "sum_p2": 1.0, "sum_p2_log_p": -1.0}
    other = {name: getattr(sampled, name).masked_fill(~sampled.mask, value) for name, value in changes.items()}
    assert torch.equal(method.prepare(dataclasses.replace(sampled, **other)).mask, method.prepare(sampled).mask)


@each_method
@pytest.mark.parametrize("case", ["nothing valid", "equal rewards", "equal tokens"])
def test_corner_cases(method, case):
    sampled = rollout(7)
    if case == "nothing valid":
        sampled = dataclasses.replace(sampled, mask=torch.zeros_like(sampled.mask))
    elif case == "equal rewards":
        sampled = dataclasses.replace(sampled, advantages=torch.zeros_like(sampled.advantages))
    else:
        same = {name: torch.full_like(sampled.logp, x) for name, x in (("logp", -1.0), ("entropy", 1.0), ("sum_p2", 0.5))}
        sampled = dataclasses.replace(sampled, **same, sum_p2_log_p=torch.full_like(sampled.logp, -0.5))
    prepared = method.prepare(sampled)
    assert prepared.memory.isfinite()
    if case != "equal tokens" or (isinstance(method, ClipB) and method.share is None):
        assert torch.equal(prepared.mask, sampled.mask)


@given(st.integers(0, 1000), st.floats(0.5, 4), st.floats(0.1, 5))
@settings(max_examples=30, deadline=None)
def test_clip_b_ignores_the_size_of_rewards_and_falls_with_mu(seed, mu, size):
    sampled = rollout(seed)
    larger = dataclasses.replace(sampled, advantages=size * sampled.advantages)
    low, high = ClipB(mu=mu).prepare(sampled).mask, ClipB(mu=mu + 0.5).prepare(sampled).mask
    assert torch.equal(ClipB(mu=mu).prepare(larger).mask, low)
    assert (low <= high).all()


def test_the_control_takes_out_as_many_and_others():
    differs = False
    for seed in range(4):
        sampled = rollout(seed)
        masks = [kind(share=0.4).prepare(sampled).mask for kind in (ClipB, ClipBRandom)]
        assert masks[0].sum() == masks[1].sum()
        differs |= not torch.equal(*masks)
    assert differs


def test_a_flat_policy_has_no_outliers():
    """S >= -e^-(1 + H): on a policy of high entropy nothing lies 2.5 deviations below the mean."""
    sampled = rollout(8, shape=(8, 8, 8), scale=0.5)
    assert ClipB().prepare(sampled).memory == 0
    assert ClipV().prepare(sampled).memory == 0


def test_clip_v_may_always_take_one():
    sampled = rollout(0)
    assert (sampled.mask & ~ClipV(mu=0.0, max_share=1e-6).prepare(sampled).mask).sum() == 1


def test_all_four_quadrants_are_no_intervention():
    sampled = rollout(1)
    assert torch.equal(Quadrants().prepare(sampled).mask, NoIntervention().prepare(sampled).mask)
    parts = [Quadrants(keep=kind).prepare(sampled).mask for kind in ("++", "+-", "-+", "--")]
    counts = sum(part.long() for part in parts)
    live = sampled.mask & (sampled.advantages != 0)[..., None]
    assert (counts[live] == 1).all()
    assert (counts[sampled.mask & ~live] == 4).all()


def test_defaults_are_the_papers():
    assert (ClipB().mu, ClipB().share) == (2.5, None)
    assert (ClipV().mu, ClipV().max_share, ClipV().share) == (8.5, 1e-4, None)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (ClipB, {"mu": -1.0}, "field 'mu': got -1.0"),
        (ClipB, {"share": 0.0}, "field 'share': got 0.0"),
        (ClipV, {"max_share": 2.0}, "field 'max_share': got 2.0"),
        (Quadrants, {"keep": "+"}, r"field 'keep': got '\+'"),
        (Quadrants, {"keep": ""}, "field 'keep': got ''"),
        (Quadrants, {"score": "H"}, "allowed: 'S' or 'D'"),
    ],
)
def test_wrong_coefficients_are_one_line(kind, wrong, message):
    with pytest.raises(ParameterError, match=message) as caught:
        kind(**wrong)
    assert "\n" not in str(caught.value)
