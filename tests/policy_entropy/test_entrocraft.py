"""Entrocraft, EntroPIC and one-sided rewards against plain Python on hand-made groups."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy.coin_flip_bandit import CoinFlipBandit
from entropy_utils.policy_entropy.covariance import masked_mean
from entropy_utils.policy_entropy.grpo import GRPO, group_advantages
from entropy_utils.policy_entropy.interventions import (
    Entrocraft,
    EntroPIC,
    NoIntervention,
    Sampled,
    SignedReward,
    Tokens,
    intervention,
)
from entropy_utils.policy_entropy.schedule import Schedule

GROUPS = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]  # mixed, mixed, all right, all wrong
LOW, INSIDE, HIGH = 0.2, 1.0, 2.0


def rollout(entropy=(INSIDE,), groups=GROUPS, length=3, memory=0.0, step=0, steps=1):
    """Replicas that differ only in their (constant) entropy; the last token of every second response is no token."""
    rewards = torch.tensor(groups, dtype=torch.float64).expand(len(entropy), -1, -1)
    mask = torch.ones(*rewards.shape, length, dtype=torch.bool)
    mask[:, :, ::2, -1] = False
    levels = torch.tensor(entropy, dtype=torch.float64)[:, None, None, None].expand(mask.shape)
    return Sampled(
        logp=-levels, entropy=levels, mask=mask, rewards=rewards, advantages=group_advantages(rewards),
        memory=torch.full((len(entropy),), memory, dtype=torch.float64), step=step, steps=steps,
    )  # fmt: skip


def tokens_of(sampled, prepared, logp=None):
    flat = [x.flatten(-3, -2) for x in (sampled.logp, prepared.mask)]
    old, mask = flat
    advantages = prepared.advantages.flatten(-2)[..., None].expand_as(old)
    logp = (old.clone() if logp is None else logp).requires_grad_()
    return Tokens(logp, old, advantages, mask, torch.zeros_like(old), torch.zeros_like(old), memory=prepared.memory)


def gradient(method, sampled, replica=0):
    """Gradient of the loss with respect to every token's log-probability, on policy, (P, G, T) of one replica."""
    prepared = method.prepare(sampled)
    tokens = tokens_of(sampled, prepared)
    loss, _ = method.token_loss(tokens)
    mean = masked_mean(loss, tokens.mask)
    assert mean.isfinite().all()
    (found,) = torch.autograd.grad(mean.sum(), tokens.logp)
    return found.view(sampled.mask.shape)[replica]


def by_hand(variant, entropy, groups, low, high):
    """Advantage of every response, and whether it counts, in plain Python."""
    m = (entropy > high) - (entropy < low)
    advantages, counts = [], []
    for rewards in groups:
        n = len(rewards)
        mean = sum(rewards) / n
        sd = (sum((r - mean) ** 2 for r in rewards) / (n - 1)) ** 0.5
        for reward in rewards:
            a, raw = (reward - mean) / (sd + 1e-6), 2 * reward - 1
            if m == 0:
                advantages.append(a), counts.append(True)
            elif variant == "alg1":
                advantages.append(a if m * a >= 0 else 0.0), counts.append(m * a >= 0)
            else:
                advantages.append(max(raw, 0) if m > 0 else min(raw, 0)), counts.append(True)
    return m, advantages, counts


@pytest.mark.parametrize("variant", ["alg1", "code"])
@pytest.mark.parametrize("entropy", [LOW, INSIDE, HIGH])
def test_hand_made_groups(variant, entropy):
    method = Entrocraft(target=1.0, width=0.4, variant=variant)
    sampled = rollout((entropy,))
    prepared = method.prepare(sampled)
    m, advantages, counts = by_hand(variant, entropy, GROUPS, 0.8, 1.2)
    assert prepared.memory.tolist() == [m]
    assert prepared.advantages.flatten().tolist() == pytest.approx(advantages, abs=1e-12)
    wanted = sampled.mask & torch.tensor(counts).view(1, 4, 4, 1)
    assert torch.equal(prepared.mask, wanted)


@pytest.mark.parametrize(("variant", "entropy"), [("alg1", LOW), ("alg1", HIGH), ("code", LOW), ("code", HIGH)])
def test_the_gradient_and_its_denominator(variant, entropy):
    """On policy the gradient of a token's log-probability is minus its advantage over the number of tokens counted."""
    method = Entrocraft(target=1.0, variant=variant)
    sampled = rollout((entropy,))
    _, advantages, counts = by_hand(variant, entropy, GROUPS, 0.95, 1.05)
    mask = sampled.mask[0].reshape(16, 3)
    counted = sum(int(mask[i].sum()) for i in range(16) if counts[i])
    found = gradient(method, sampled).reshape(16, 3)
    for i in range(16):
        for t in range(3):
            wanted = -advantages[i] / counted if counts[i] and mask[i, t] else 0.0
            assert found[i, t].item() == pytest.approx(wanted, abs=1e-12)


def test_all_wrong_below_the_band_is_where_the_variants_differ():
    sampled = rollout((LOW,), [[0, 0, 0, 0]])
    assert (gradient(Entrocraft(target=1.0, variant="alg1"), sampled) == 0).all()
    code = gradient(Entrocraft(target=1.0, variant="code"), sampled)
    assert (code[sampled.mask[0]] > 0).all()  # every sampled token is pushed down


def test_every_replica_has_its_own_side():
    method = Entrocraft(target=1.0, width=0.2)
    entropy = (0.5, 0.95, 1.0, 1.09, 1.11, 3.0)
    prepared = method.prepare(rollout(entropy))
    assert prepared.memory.tolist() == [-1, 0, 0, 0, 1, 1]
    for n, value in enumerate(entropy):
        alone = method.prepare(rollout((value,)))
        assert torch.equal(prepared.advantages[n], alone.advantages[0])
        assert torch.equal(prepared.mask[n], alone.mask[0])


def test_the_band_moves_with_the_schedule():
    method = Entrocraft(target="linear:2:0", width=0.2)
    sides = [method.prepare(rollout((1.0,), step=step, steps=10)).memory.item() for step in range(10)]
    assert sides == [-1, -1, -1, -1, -1, 0, 1, 1, 1, 1]


@given(entropy=st.floats(0, 3), target=st.floats(0, 3), width=st.floats(0, 1), variant=st.sampled_from(["alg1", "code"]))
def test_only_one_sign_is_left_outside_the_band(entropy, target, width, variant):
    assume(abs(abs(entropy - target) - width / 2) > 1e-9)  # the mean over the tokens rounds
    prepared = Entrocraft(target=target, width=width, variant=variant).prepare(rollout((entropy,)))
    m = prepared.memory.item()
    assert m == (entropy - target > width / 2) - (entropy - target < -width / 2)
    assert (m * prepared.advantages >= 0).all()
    if m == 0:
        assert torch.equal(prepared.advantages, rollout((entropy,)).advantages)


@pytest.mark.parametrize(
    ("rewards", "entropy", "variant"),
    [([[1, 1], [1, 1]], LOW, "code"), ([[0, 0], [0, 0]], HIGH, "code"), ([[1, 1], [0, 0]], LOW, "alg1")],
)
def test_nothing_to_learn_is_a_zero_gradient(rewards, entropy, variant):
    assert (gradient(Entrocraft(target=1.0, variant=variant), rollout((entropy,), rewards)) == 0).all()


def test_all_rejected_leaves_a_loss_of_zero():
    """Advantages of one sign only, as an estimator without group mean may give them: S_x is empty."""
    sampled = rollout((LOW,))
    sampled = Sampled(**{**vars(sampled), "advantages": torch.ones_like(sampled.advantages)})
    method = Entrocraft(target=1.0)
    prepared = method.prepare(sampled)
    assert not prepared.mask.any()
    loss, touched = method.token_loss(tokens_of(sampled, prepared))
    assert masked_mean(loss, prepared.mask.flatten(1, 2)).item() == 0
    assert not touched.any()


def test_a_group_of_one_has_no_spread_and_is_refused_by_the_loops():
    for loop in (CoinFlipBandit, GRPO):
        with pytest.raises(ParameterError, match="field 'responses': got 1 "):
            loop(responses=1, intervention="entrocraft")


def test_a_rollout_without_tokens_does_nothing():
    sampled = rollout((LOW,))
    sampled = Sampled(**{**vars(sampled), "mask": torch.zeros_like(sampled.mask)})
    for method in (Entrocraft(target=1.0), EntroPIC(target=1.0)):
        assert (gradient(method, sampled) == 0).all()


def test_an_entropy_that_is_no_number_is_seen_in_the_record():
    for method in (Entrocraft(), EntroPIC()):
        assert method.prepare(rollout((float("nan"),))).memory.isnan().all()


def test_the_loss_is_the_plain_clipped_one():
    sampled = rollout((INSIDE,))
    method = Entrocraft(target=1.0, clip_high=0.28)
    prepared = method.prepare(sampled)
    moved = sampled.logp.flatten(-3, -2) + torch.linspace(-0.5, 0.5, 48, dtype=torch.float64).view(1, 16, 3)
    tokens = tokens_of(sampled, prepared, moved)
    assert torch.equal(method.token_loss(tokens)[0], NoIntervention(clip_high=0.28).token_loss(tokens)[0])


def test_entropic_weights_and_its_integral():
    method = EntroPIC(target=1.0, proportional=0.5, integral=0.1)
    sampled = rollout((0.6, 1.4), memory=0.05)
    prepared = method.prepare(sampled)
    for n, error in enumerate((-0.4, 0.4)):
        alpha = 0.05 + 0.5 * error
        for got, a in zip(prepared.advantages[n].flatten(), sampled.advantages[n].flatten(), strict=True):
            assert got.item() == pytest.approx(a.item() * (1 + alpha if a > 0 else 1 - alpha))
        assert prepared.memory[n].item() == pytest.approx(0.05 + 0.1 * error)
    assert torch.equal(prepared.mask, sampled.mask)


def test_entropic_never_turns_a_sign_around():
    sampled = rollout((0.0, 9.0), memory=0.3)
    advantages = EntroPIC(target=2.0, proportional=5.0).prepare(sampled).advantages
    assert (advantages * sampled.advantages >= 0).all()
    assert (advantages[0] <= 0).all()
    assert (advantages[1] >= 0).all()


@pytest.mark.parametrize(("positive", "negative"), [(1.0, 0.0), (0.0, 1.0), (0.1, 1.0)])
def test_signed_rewards(positive, negative):
    prepared = SignedReward(positive=positive, negative=negative).prepare(rollout())
    wanted = [positive if reward else -negative for group in GROUPS for reward in group]
    assert prepared.advantages.flatten().tolist() == pytest.approx(wanted)


def test_positives_and_negatives_only_are_the_two_sides_of_the_code_variant():
    for entropy, one in ((HIGH, SignedReward()), (LOW, SignedReward(positive=0.0, negative=1.0))):
        sampled = rollout((entropy,))
        assert torch.equal(
            Entrocraft(target=1.0, variant="code").prepare(sampled).advantages, one.prepare(sampled).advantages
        )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("entrocraft width=-0.1", r"field 'width': got -0.1 \(float\), allowed: .*from 0"),
        ("entrocraft variant=paper", r"field 'variant': got 'paper'.*'alg1' or 'code'"),
        ("entrocraft target=linear:1.2", r"linear takes 2 value"),
        ("entropic integral=-1", r"field 'integral': got -1"),
        ("signed_reward positive=0", r"allowed is at most one weight of zero"),
        ("signed_reward positive=-1", r"field 'positive': got -1"),
    ],
)
def test_wrong_coefficients_are_one_line(spec, message):
    with pytest.raises(ParameterError, match=message) as caught:
        GRPO.profile("smoke", intervention=spec)
    assert "\n" not in str(caught.value)


def test_text_gives_the_whole_method():
    method = intervention("entrocraft target=linear:1.2:0.6 width=0.1 variant=code")
    assert method == Entrocraft(target=Schedule(kind="linear", values=(1.2, 0.6)), width=0.1, variant="code")
