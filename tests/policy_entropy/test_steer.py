"""STEER's weights and loss against the algorithm written out token by token, and the properties that make it what it is."""

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
from entropy_utils.policy_entropy.covariance import masked_mean
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.interventions import NoIntervention, Steer, Tokens, intervention
from entropy_utils.policy_entropy.interventions.steer import concentration

METHODS = [
    Steer(**settings)
    for settings in (
        {},
        {"form": "theorem"},
        {"weakest": 0.3, "form": "theorem", "clip_high": 0.1},
        {"floor": 50.0},
        {"map": "linear", "weakest": 0.8, "strongest": 1.2},
        {"map": "linear", "mode": "asymmetric", "weakest": 0.5, "strongest": 1.5},
        {"mode": "asymmetric"},
        {"mode": "asymmetric", "strongest": 1.3, "form": "theorem"},
        {"map": "rank", "weakest": 0.4},
        {"map": "rank", "mode": "asymmetric"},
        {"control": "mean", "weakest": 0.3},
        {"dual_clip": 1.2},
    )
]
each_method = pytest.mark.parametrize("method", METHODS, ids=range(len(METHODS)))


def batch(seed=0, shape=(6, 5), drift=0.4):
    """Random tokens in float64: responses of several lengths, one advantage each, ratios on both sides of the clip."""
    g = torch.Generator().manual_seed(seed)
    draw = {"generator": g, "dtype": torch.float64}
    lengths = torch.randint(1, shape[-1] + 1, shape[:-1], generator=g)
    logp = -torch.rand(shape, **draw) * 4
    return Tokens(
        logp=logp.clone().requires_grad_(),
        old_logp=(logp - drift * torch.randn(shape, **draw)).clamp(max=-0.01),
        advantages=torch.randn(*shape[:-1], 1, **draw).expand(shape),
        mask=torch.arange(shape[-1]) < lengths[..., None],
        entropy=torch.rand(shape, **draw),
        random=torch.rand(shape, **draw),
        old_entropy=2 * torch.rand(shape, **draw),
    )


def state(p, advantages=1.0):
    """Every token of one state as one sequence, on policy."""
    p = torch.tensor([p], dtype=torch.float64)
    entropy = -(p * p.log()).sum().expand_as(p)
    whole = torch.ones_like(p, dtype=torch.bool)
    return Tokens(p.log(), p.log(), advantages * torch.ones_like(p), whole, entropy, 0 * p, old_entropy=entropy)


def valid(tokens):
    return [at for at in itertools.product(*map(range, tokens.mask.shape)) if tokens.mask[at]]


def weights_by_hand(method, tokens):
    """The weight of every valid token of one minibatch, in plain Python."""
    change = {}
    for at in valid(tokens):
        pi, old = math.exp(tokens.logp[at].item()), math.exp(tokens.old_logp[at].item())
        A, H, r = tokens.advantages[at].item(), tokens.old_entropy[at].item(), pi / old
        f = pi * (1 - pi) * (math.log(pi) + H)
        clipped = (A > 0 and r > 1 + method.clip_high) or (A < 0 and r < 1 - method.clip_low)
        change[at] = -A / old * f if method.form == "released" else -(not clipped) * r * A * f
    score = {at: -x if method.mode == "asymmetric" else abs(x) for at, x in change.items()}
    m0, m1 = min(score.values()), max(score.values())
    lmin, lmax = method.weakest, method.strongest
    if method.map == "linear":
        found = {at: lmax - (g - m0) * (lmax - lmin) / (m1 - m0) for at, g in score.items()}
    elif method.map == "rank":
        found = {at: lmin ** (sum(o < g for o in score.values()) / (len(score) - 1)) for at, g in score.items()}
    else:
        k = -math.log(lmin) / max(max(map(abs, change.values())), method.floor)
        top = lmax if method.mode == "asymmetric" else 1.0
        found = {at: min(max(math.exp(-k * g), lmin), top) for at, g in score.items()}
    if method.control == "mean":
        found = dict.fromkeys(found, sum(found.values()) / len(found))
    return found


@each_method
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_are_the_algorithm(method, seed):
    tokens = batch(seed, drift=1.0)
    weights = weights_by_hand(method, tokens)
    loss, touched = method.token_loss(tokens)
    mean = masked_mean(loss, tokens.mask).sum()
    (gradient,) = torch.autograd.grad(mean, tokens.logp)
    total = 0.0
    for at, w in weights.items():
        A, r = tokens.advantages[at].item(), math.exp(tokens.log_ratio[at].item())
        bounded = -A * min(max(r, 1 - method.clip_low), 1 + method.clip_high)
        value, slope = (bounded, 0.0) if bounded > -A * r else (-A * r, -A * r)
        if A < 0 and value > -A * method.dual_clip:
            value, slope = -A * method.dual_clip, 0.0
        assert method.weights(tokens)[at].item() == pytest.approx(w, abs=1e-12)
        assert loss[at].item() == pytest.approx(w * value, abs=1e-12)
        assert gradient[at].item() == pytest.approx(w * slope / len(weights), abs=1e-12)
        assert touched[at].item() == (w < 0.99 * max(weights.values()))
        total += w * value
    assert mean.item() == pytest.approx(total / len(weights), abs=1e-12)  # not divided by the sum of the weights
    assert not touched[~tokens.mask].any()
    assert (method.weights(tokens)[~tokens.mask] == 0).all()
    assert (gradient[~tokens.mask] == 0).all()


def test_the_batches_hold_every_case():
    """Clipped tokens of both signs, tokens at the dual clip, falls and rises, a floor that binds or not."""
    seen = set()
    for seed, tight in itertools.product(range(4), (10.0, 1.2)):
        tokens = batch(seed, drift=1.0)
        change = Steer().estimate(tokens)
        for at in valid(tokens):
            A, r = tokens.advantages[at].item(), math.exp(tokens.log_ratio[at].item())
            seen |= {("clip", A > 0, r > 1.28 if A > 0 else r < 0.8), ("dual", A < 0 and r > tight)}
            seen |= {("rises", change[at].item() > 0)}
        largest = change[tokens.mask].abs().max().item()
        assert 0.02 < largest < 50
        assert not tokens.mask.all()
    assert {("clip", s, c) for s in (True, False) for c in (True, False)} <= seen
    assert {("dual", True), ("rises", True), ("rises", False)} <= seen


@pytest.mark.parametrize(("form", "expected"), [("released", (0.9956, 0.7)), ("theorem", (0.9611, 0.7))])
def test_two_tokens_of_probability_nine_tenths_and_one_tenth(form, expected):
    weights = Steer(form=form).weights(state((0.9, 0.1)))[0]
    assert weights.tolist() == pytest.approx(expected, abs=5e-5)


def test_the_estimates_of_that_state():
    released, theorem = (Steer(form=form).estimate(state((0.9, 0.1)))[0] for form in ("released", "theorem"))
    assert theorem.tolist() == pytest.approx((-0.019775, 0.177975), abs=1e-6)
    assert released.tolist() == pytest.approx((-0.021972, 1.779752), abs=1e-6)
    assert (released[1] / released[0]).abs().item() == pytest.approx(81)
    assert (theorem[1] / theorem[0]).abs().item() == pytest.approx(9)


def test_a_uniform_state_is_not_slowed_down():
    tokens = state((0.1,) * 10)
    for form in ("released", "theorem"):
        assert Steer(form=form).estimate(tokens).abs().max() < 1e-15
        np.testing.assert_allclose(Steer(form=form).weights(tokens), 1.0, atol=1e-12)


def test_the_released_estimate_is_the_theorem_over_pi():
    tokens = dataclasses.replace(batch(3), old_logp=batch(3).logp.detach())
    released, theorem = (Steer(form=form).estimate(tokens) for form in ("released", "theorem"))
    torch.testing.assert_close(released / theorem, (-tokens.logp).exp().detach(), rtol=1e-12, atol=0)


def test_clipped_tokens_have_no_estimate_in_the_theorem():
    tokens = batch(1, drift=1.0)
    estimate = Steer(form="theorem").estimate(tokens)
    ratio, up = tokens.log_ratio.exp().detach(), tokens.advantages > 0
    clipped = torch.where(up, ratio > 1.28, ratio < 0.8)
    assert clipped.any()
    assert (estimate[clipped] == 0).all()
    assert (estimate[~clipped] != 0).all()


@each_method
def test_a_stack_is_treated_one_by_one(method):
    stacked = batch(7, (3, 6, 5))
    for replica in range(3):
        values = (getattr(stacked, field.name) for field in dataclasses.fields(Tokens))
        alone = Tokens(*(x if x is None else x[replica] for x in values))
        torch.testing.assert_close(method.weights(stacked)[replica], method.weights(alone), rtol=0, atol=0)


@given(seed=st.integers(0, 1000), form=st.sampled_from(["released", "theorem"]), weakest=st.floats(0.05, 1.0))
@settings(max_examples=40, deadline=None)
def test_exponential_weights(seed, form, weakest):
    """The largest estimate gets exactly `weakest`, none more than 1, and only the order of magnitude of A is forgotten."""
    method, tokens = Steer(form=form, weakest=weakest, floor=1e-6), batch(seed)
    weights, change = method.weights(tokens), method.estimate(tokens).abs().masked_fill(~tokens.mask, -1)
    assert (weights[tokens.mask] >= weakest).all()
    assert (weights <= 1).all()
    if change.max() > method.floor:
        assert weights.flatten()[change.argmax()].item() == weakest
    more = dataclasses.replace(tokens, advantages=3.7 * tokens.advantages)
    torch.testing.assert_close(method.weights(more), weights, rtol=0, atol=1e-12)
    order = change[tokens.mask].argsort()
    assert (weights[tokens.mask][order].diff() <= 1e-15).all()


def test_below_the_floor_weights_stay_near_one():
    tokens = dataclasses.replace(batch(2), advantages=1e-4 * batch(2).advantages)
    change = Steer().estimate(tokens)
    assert change[tokens.mask].abs().max() < 0.02
    expected = 0.7 ** (change.abs() / 0.02)
    torch.testing.assert_close(Steer().weights(tokens)[tokens.mask], expected[tokens.mask], rtol=1e-12, atol=0)


@pytest.mark.parametrize("mapping", ["exponential", "linear", "rank"])
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_without_weakening_it_is_grpo_bit_for_bit(mapping, mode):
    tokens = batch(5, drift=1.0)
    assert tokens.log_ratio.exp().max() < 10
    method, plain = Steer(map=mapping, mode=mode, weakest=1.0), NoIntervention(clip_high=0.28)
    losses = [m.token_loss(tokens)[0][tokens.mask] for m in (method, plain)]
    assert torch.equal(*losses)
    gradients = [torch.autograd.grad(loss.sum(), tokens.logp, retain_graph=True)[0] for loss in losses]
    assert torch.equal(*gradients)
    assert not method.token_loss(tokens)[1].any()


def test_asymmetric_slows_only_what_lowers_the_entropy():
    tokens = batch(6)
    change = Steer().estimate(tokens)
    weights = Steer(mode="asymmetric").weights(tokens)
    assert (weights[tokens.mask & (change > 0)] == 1).all()
    assert (weights[tokens.mask & (change < 0)] < 1).all()
    linear = Steer(mode="asymmetric", map="linear", weakest=0.5, strongest=1.5).weights(tokens)
    lowest = change.masked_fill(~tokens.mask, torch.inf).argmin()
    highest = change.masked_fill(~tokens.mask, -torch.inf).argmax()
    assert [linear.flatten()[at].item() for at in (lowest, highest)] == pytest.approx([0.5, 1.5])


def test_one_outlier_pins_all_others():
    """Only with the maps that divide by the largest estimate; the rank map does not look at its size."""
    p = torch.full((4, 25), 0.5, dtype=torch.float64)
    p[0, 0] = 1e-6
    p[1:] += 0.01 * torch.arange(25)
    whole = torch.ones_like(p, dtype=torch.bool)
    tokens = Tokens(p.log(), p.log(), whole.double(), whole, p, p, old_entropy=0 * p + 1.0)
    released = concentration(Steer(), tokens)
    assert released.pinned.item() > 0.7
    assert released.probability.item() == pytest.approx(1e-6)
    rank = concentration(Steer(map="rank"), tokens)
    assert rank.pinned.item() < 0.3
    assert rank.sd > 3 * released.sd


def test_concentration_is_its_definition():
    tokens = batch(8)
    weights = Steer().weights(tokens)[tokens.mask].numpy()
    found = concentration(Steer(), tokens)
    assert found.mean.item() == pytest.approx(weights.mean())
    assert found.sd.item() == pytest.approx(weights.std())
    assert found.pinned.item() == pytest.approx((weights >= 0.99 * weights.max()).mean())
    largest = Steer().estimate(tokens)[tokens.mask].abs().argmax()
    assert found.probability.item() == pytest.approx(tokens.logp[tokens.mask][largest].exp().item())
    nothing = concentration(Steer(), dataclasses.replace(tokens, mask=tokens.mask & False))
    assert [x.item() for x in nothing] == [0.0] * 4


def test_shuffled_weights_are_the_same_weights_on_other_tokens():
    tokens = batch(9, (12, 5))
    plain, shuffled = (Steer(control=c).weights(tokens) for c in ("none", "shuffled"))
    assert (shuffled[~tokens.mask] == 0).all()
    assert torch.equal(plain[tokens.mask].sort().values, shuffled[tokens.mask].sort().values)
    assert not torch.equal(plain, shuffled)
    taken = tokens.random.masked_fill(~tokens.mask, 2).flatten().argsort()[: tokens.mask.sum()]
    assert torch.equal(shuffled.flatten()[taken], plain[tokens.mask])


def test_the_gradient_in_the_logits_is_the_weighted_score_function():
    """Through a softmax: -w I r A (e_a - pi) / number of tokens in every state."""
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 4, 7, generator=g, dtype=torch.float64).requires_grad_()
    drawn = torch.randint(0, 7, (5, 4, 1), generator=g)
    log_p = logits.log_softmax(-1)
    logp, entropy = log_p.gather(-1, drawn)[..., 0], -(log_p.exp() * log_p).sum(-1).detach()
    old = logp.detach() + 0.3 * torch.randn(5, 4, generator=g, dtype=torch.float64)
    A = torch.randn(5, 1, generator=g, dtype=torch.float64).expand(5, 4)
    mask = torch.arange(4) < torch.tensor([4, 3, 2, 4, 1])[:, None]
    tokens = Tokens(logp, old, A, mask, entropy, 0 * old, old_entropy=entropy)
    method = Steer(form="theorem")
    (gradient,) = torch.autograd.grad(masked_mean(method.token_loss(tokens)[0], mask).sum(), logits)
    r = (logp - old).exp().detach()
    unclipped = ~torch.where(A > 0, r > 1.28, r < 0.8)
    assert (unclipped & mask).any()
    assert (~unclipped & mask).any()
    score = torch.nn.functional.one_hot(drawn[..., 0], 7) - log_p.exp().detach()
    expected = -(method.weights(tokens) * unclipped * r * A)[..., None] * score / mask.sum()
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14)


def test_an_empty_minibatch_and_one_token():
    none = Tokens(*(torch.zeros(0, 5) for _ in range(3)), torch.zeros(0, 5, dtype=torch.bool), *(torch.zeros(0, 5),) * 2,
                  old_entropy=torch.zeros(0, 5))  # fmt: skip
    for method in (*METHODS, Steer(control="shuffled")):
        loss, touched = method.token_loss(none)
        assert loss.shape == touched.shape == (0, 5)
        one = batch(0, (1, 1))
        weight = method.weights(one).item()
        assert method.weakest <= weight <= method.strongest
        assert not method.token_loss(one)[1].any()


def test_equal_estimates_get_the_middle_of_the_linear_map():
    tokens = state((0.1,) * 10)
    tokens = dataclasses.replace(tokens, advantages=0 * tokens.advantages)
    assert (Steer(map="linear", weakest=0.8, strongest=1.2).weights(tokens) == 1.0).all()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_an_estimate_that_is_not_finite_counts_as_no_change(broken):
    tokens = batch(4)
    entropy = tokens.old_entropy.clone()
    entropy[0, 0] = broken
    tokens = dataclasses.replace(tokens, old_entropy=entropy)
    assert tokens.mask[0, 0]
    for form in ("released", "theorem"):
        assert Steer(form=form).estimate(tokens)[0, 0] == 0
        assert Steer(form=form).weights(tokens)[0, 0] == 1
        assert Steer(form=form).weights(tokens).isfinite().all()


def test_missing_entropies_are_named():
    with pytest.raises(ValueError, match="old_entropy: missing, allowed: entropies"):
        Steer().token_loss(dataclasses.replace(batch(), old_entropy=None))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("steer weakest=0", r"field 'weakest': got 0.0 \(float\), allowed: .*above 0 to 1"),
        ("steer weakest=1.1", r"field 'weakest': got 1.1"),
        ("steer map=binary", r"field 'map': got 'binary' \(str\), allowed: 'exponential' or 'linear' or 'rank'"),
        ("steer strongest=0.9", r"field 'strongest': got 0.9"),
        ("steer floor=0", r"field 'floor': got 0.0"),
        ("steer dual_clip=1", r"field 'dual_clip': got 1.0"),
        ("steer form=paper", r"field 'form': got 'paper'"),
    ],
)
def test_a_wrong_coefficient_is_one_line(spec, message):
    with pytest.raises(ParameterError, match=message) as caught:
        GRPO.profile("smoke", intervention=spec)
    assert "\n" not in str(caught.value)


def test_defaults_are_the_papers():
    s = Steer()
    assert (s.form, s.map, s.mode, s.weakest, s.floor, s.dual_clip) == (
        "released",
        "exponential",
        "symmetric",
        0.7,
        0.02,
        10,
    )
    assert (s.clip_low, s.clip_high) == (0.2, 0.28)
    text = "steer form=theorem map=linear weakest=0.8 strongest=1.2"
    assert intervention(text) == Steer(form="theorem", map="linear", weakest=0.8, strongest=1.2)
