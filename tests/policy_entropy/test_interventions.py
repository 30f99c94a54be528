"""Every intervention against its definition written out token by token, and the properties that make it what it is."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy import tabular
from entropy_utils.policy_entropy.covariance import masked_mean, token_covariance
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.interventions import (
    INTERVENTIONS,
    AdaptiveBonus,
    ClipCov,
    ClipHigher,
    EntropyBonus,
    Intervention,
    KLCov,
    NoIntervention,
    RandomMask,
    ReferenceKL,
    Tokens,
    TopEntropy,
    intervention,
)

METHODS = [
    NoIntervention(),
    NoIntervention(clip_low=0.5, clip_high=0.1),
    ClipHigher(),
    EntropyBonus(coefficient=0.3),
    ReferenceKL(coefficient=0.7),
    ClipCov(share=0.2, low=0.1, high=1.5),
    ClipCov(share=1.0, low=-20.0, high=20.0, clip_low=0.3, clip_high=0.4),
    ClipCov(),
    KLCov(share=0.2, coefficient=2.0),
    KLCov(),
    RandomMask(share=0.3),
    AdaptiveBonus(),
    TopEntropy(share=0.4),
]
each_method = pytest.mark.parametrize("method", METHODS, ids=[f"{m.name}-{i}" for i, m in enumerate(METHODS)])
each_name = pytest.mark.parametrize("name", INTERVENTIONS)


def batch(seed=0, shape=(6, 5), drift=0.4, on_policy=False):
    """Random tokens in float64: responses of several lengths, one advantage each, ratios on both sides of a range."""
    g = torch.Generator().manual_seed(seed)
    draw = {"generator": g, "dtype": torch.float64}
    lengths = torch.randint(1, shape[-1] + 1, shape[:-1], generator=g)
    logp = -torch.rand(shape, **draw) * 4
    return Tokens(
        logp=logp.clone().requires_grad_(),
        old_logp=logp.clone() if on_policy else logp - drift * torch.randn(shape, **draw),
        advantages=torch.randn(*shape[:-1], 1, **draw).expand(shape),
        mask=torch.arange(shape[-1]) < lengths[..., None],
        entropy=torch.rand(shape, **draw).requires_grad_(),
        random=torch.rand(shape, **draw),
        reference_logp=logp + torch.randn(shape, **draw),
        old_entropy=torch.rand(shape, **draw),
        memory=torch.rand(*shape[:-2], 1, 1, **draw),
    )


def clipped(ratio, advantage, low, high):
    """Loss, its derivative with respect to log pi, and whether the clip is what counts."""
    plain, bounded = -advantage * ratio, -advantage * min(max(ratio, 1 - low), 1 + high)
    return (bounded, 0.0, True) if bounded > plain else (plain, plain, False)


def by_hand(method, tokens):
    """Loss, derivative and touched or not of every valid token of one minibatch, in plain Python."""
    count, length = tokens.mask.shape
    valid = [at for at in itertools.product(range(count), range(length)) if tokens.mask[at]]
    logp, old, advantage = ({at: x[at].item() for at in valid} for x in (tokens.logp, tokens.old_logp, tokens.advantages))
    ratio = {at: math.exp(logp[at] - old[at]) for at in valid}
    mean_logp, mean_advantage = (sum(x.values()) / len(valid) for x in (logp, advantage))
    score = {at: (logp[at] - mean_logp) * (advantage[at] - mean_advantage) for at in valid}
    n = max(1, math.floor(round(getattr(method, "share", 0) * len(valid), 9)))
    found = {}
    if isinstance(method, KLCov):
        top = sorted(valid, key=lambda at: -score[at])[:n]
        for at in valid:
            plain, log_ratio = -advantage[at] * ratio[at], logp[at] - old[at]
            pull = method.coefficient * (at in top)
            found[at] = (plain + pull * abs(log_ratio), plain + pull * np.sign(log_ratio), at in top)
        return found
    for at in valid:
        found[at] = clipped(ratio[at], advantage[at], method.clip_low, method.clip_high)
    if isinstance(method, (ClipCov, RandomMask)):
        pool = valid
        if isinstance(method, ClipCov):
            pool = [at for at in valid if method.low < score[at] < method.high and not found[at][2]]
        taken = sorted(pool, key=lambda at: -tokens.random[at].item())[:n]
        found = {at: (0.0, 0.0, True) if at in taken else (*found[at][:2], False) for at in valid}
    if isinstance(method, TopEntropy):
        trained = sorted(valid, key=lambda at: -tokens.entropy[at].item())[:n]
        found = {at: (*found[at][:2], False) if at in trained else (0.0, 0.0, True) for at in valid}
    if isinstance(method, (EntropyBonus, AdaptiveBonus)):
        coefficient = method.coefficient if isinstance(method, EntropyBonus) else tokens.memory.item()
        found = {at: (f[0] - coefficient * tokens.entropy[at].item(), *f[1:]) for at, f in found.items()}
    if isinstance(method, ReferenceKL):
        for at, (loss, slope, touched) in found.items():
            d = tokens.reference_logp[at].item() - logp[at]
            extra = method.coefficient * (math.exp(d) - d - 1)
            found[at] = (loss + extra, slope + method.coefficient * (1 - math.exp(d)), touched)
    return found


@each_method
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_are_the_definition(method, seed):
    tokens = batch(seed)
    loss, touched = method.token_loss(tokens)
    wanted = by_hand(method, tokens)
    for at, (value, _, acted) in wanted.items():
        assert loss[at].item() == pytest.approx(value, abs=1e-12)
        assert touched[at].item() == acted
    assert touched.dtype == torch.bool
    assert not touched[~tokens.mask].any()
    mean = masked_mean(loss, tokens.mask).sum()
    assert mean.item() == pytest.approx(sum(value for value, _, _ in wanted.values()) / len(wanted), abs=1e-12)
    (gradient,) = torch.autograd.grad(mean, tokens.logp)
    for at, (_, slope, _) in wanted.items():
        assert gradient[at].item() == pytest.approx(slope / len(wanted), abs=1e-12)


def test_the_batches_hold_every_case():
    """Otherwise the comparison above would prove little."""
    kinds = set()
    for seed in range(4):
        tokens = batch(seed)
        for method in METHODS:
            kinds |= {(method.name, touched) for _, _, touched in by_hand(method, tokens).values()}
        plain = by_hand(NoIntervention(), tokens)
        kinds |= {(tokens.advantages[at].item() > 0, clip) for at, (_, _, clip) in plain.items()}
        assert not tokens.mask.all()
    assert {(method.name, touched) for method in METHODS for touched in (True, False)} <= kinds
    assert {(sign, clip) for sign in (True, False) for clip in (True, False)} <= kinds


@each_method
def test_a_stack_of_minibatches_is_treated_one_by_one(method):
    stacked = batch(7, (3, 6, 5))
    loss, touched = method.token_loss(stacked)
    for replica in range(3):
        names = [field.name for field in dataclasses.fields(Tokens)]
        alone = Tokens(*(getattr(stacked, name)[replica] for name in names))
        one_loss, one_touched = method.token_loss(alone)
        assert torch.equal(loss[replica][alone.mask], one_loss[alone.mask])
        assert torch.equal(touched[replica], one_touched)


@each_name
def test_masked_tokens_have_exactly_zero_gradient(name):
    method = INTERVENTIONS[name]()
    tokens = batch(3)
    loss, _ = method.token_loss(tokens)
    masked_mean(loss, tokens.mask).sum().backward()
    assert (tokens.logp.grad[~tokens.mask] == 0).all()
    assert (tokens.logp.grad[tokens.mask] != 0).any()
    if "entropy" in method.uses:
        assert (tokens.entropy.grad[~tokens.mask] == 0).all()
    other = dataclasses.replace(
        tokens,
        logp=tokens.logp.detach().masked_fill(~tokens.mask, -30).requires_grad_(),
        advantages=tokens.advantages.masked_fill(~tokens.mask, 7),
        random=tokens.random.masked_fill(~tokens.mask, 0.9999),
        entropy=tokens.entropy.detach().masked_fill(~tokens.mask, 5),
        old_entropy=tokens.old_entropy.masked_fill(~tokens.mask, 5),
    )
    loss, _ = method.token_loss(other)
    masked_mean(loss, tokens.mask).sum().backward()
    assert torch.equal(other.logp.grad, tokens.logp.grad)


@each_name
def test_a_minibatch_without_any_valid_token(name):
    tokens = dataclasses.replace(batch(1), mask=torch.zeros(6, 5, dtype=torch.bool))
    loss, touched = INTERVENTIONS[name]().token_loss(tokens)
    mean = masked_mean(loss, tokens.mask).sum()
    (gradient,) = torch.autograd.grad(mean, tokens.logp)
    assert mean == 0
    assert (gradient == 0).all()
    assert not touched.any()


def test_clip_higher_changes_the_upper_side_only():
    """The same loss, except where a good token's ratio lies above 1.2."""
    ratio = torch.linspace(0.5, 1.6, 110, dtype=torch.float64)[None].repeat(2, 1)
    advantages = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand_as(ratio)
    everything = torch.ones_like(ratio, dtype=torch.bool)
    zero = torch.zeros_like(ratio)
    tokens = Tokens(ratio.log(), zero, advantages, everything, zero, zero)
    plain, _ = NoIntervention().token_loss(tokens)
    higher, _ = ClipHigher().token_loss(tokens)
    above = ratio[0] > 1.2 + 1e-9
    assert torch.equal(plain[1], higher[1])
    assert torch.equal(plain[0, ~above], higher[0, ~above])
    assert (higher[0, above] < plain[0, above]).all()
    torch.testing.assert_close(higher[0, above], -ratio[0, above].clamp(max=1.28))


@pytest.mark.parametrize("seed", range(5))
def test_clip_cov_takes_unclipped_tokens_of_the_band_and_keeps_the_denominator(seed):
    method = ClipCov(share=0.15, low=0.2, high=1.0, clip_low=0.3, clip_high=0.3)
    tokens = batch(seed, (60, 5))
    plain, clip = NoIntervention(clip_low=0.3, clip_high=0.3).token_loss(tokens)
    score = token_covariance(tokens.logp, tokens.advantages, tokens.mask)
    loss, touched = method.token_loss(tokens)
    in_band = (score > 0.2) & (score < 1.0) & tokens.mask
    assert (clip & in_band).any()
    assert not (touched & ~(in_band & ~clip)).any()
    valid = tokens.mask.sum().item()
    assert touched.sum() == min(max(1, math.floor(0.15 * valid)), (in_band & ~clip).sum().item())
    assert (loss[touched] == 0).all()
    assert torch.equal(loss[~touched], plain[~touched])
    mean = masked_mean(loss, tokens.mask).item()
    assert mean == pytest.approx(plain[tokens.mask & ~touched].sum().item() / valid, abs=1e-14)


def test_at_least_one_token_is_taken_and_none_from_an_empty_band():
    tokens = batch(2, (20, 5))
    valid = tokens.mask.sum()
    for method in (ClipCov(share=1e-6, low=0.0), KLCov(share=1e-6), RandomMask(share=1e-6)):
        assert method.token_loss(tokens)[1].sum() == 1
    assert ClipCov(low=50.0, high=60.0).token_loss(tokens)[1].sum() == 0
    for share in (0.1, 0.37, 1.0):
        assert RandomMask(share=share).token_loss(tokens)[1].sum() == math.floor(share * valid + 1e-6)
        assert KLCov(share=share).token_loss(tokens)[1].sum() == math.floor(share * valid + 1e-6)


def test_clip_cov_chooses_uniformly_among_the_candidates():
    """Two of five candidates, many draws: all ten pairs equally often."""
    logp = torch.tensor([[-0.1, -0.2, -0.3, -0.4, -0.5], [-2.0, -2.1, -2.2, -2.3, -2.4]], dtype=torch.float64)
    advantages = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand_as(logp)
    mask = torch.ones_like(logp, dtype=torch.bool)
    score = token_covariance(logp, advantages, mask)
    low = (score.flatten().sort().values[4] + score.flatten().sort().values[5]).item() / 2
    candidates = (score > low).flatten().nonzero()[:, 0].tolist()
    assert len(candidates) == 5
    method, g = ClipCov(share=0.2, low=low), torch.Generator().manual_seed(0)
    pairs = dict.fromkeys(itertools.combinations(candidates, 2), 0)
    stack = 3000
    random = torch.rand(stack, *logp.shape, generator=g, dtype=torch.float64)
    many = [x.expand(stack, *x.shape) for x in (logp, logp, advantages, mask, logp)]
    _, touched = method.token_loss(Tokens(*many, random=random))
    for taken in touched.flatten(1):
        pairs[tuple(taken.nonzero()[:, 0].tolist())] += 1
    assert scipy.stats.chisquare(list(pairs.values())).pvalue > 0.01


def test_kl_cov_does_nothing_on_policy():
    tokens = batch(4, on_policy=True)
    gradients = []
    for method in (KLCov(share=0.5, coefficient=50.0), NoIntervention()):
        mean = masked_mean(method.token_loss(tokens)[0], tokens.mask).sum()
        gradients.append(torch.autograd.grad(mean, tokens.logp)[0])
    assert torch.equal(*gradients)


def test_kl_cov_pulls_back_to_the_old_policy_with_constant_force():
    tokens = batch(5, drift=0.05)
    method = KLCov(share=0.5, coefficient=3.0)
    loss, chosen = method.token_loss(tokens)
    plain = -tokens.advantages * tokens.log_ratio.exp()
    (pull,) = torch.autograd.grad((loss - plain).sum(), tokens.logp)
    assert torch.equal(pull[~chosen], torch.zeros_like(pull[~chosen]))
    ahead = (tokens.logp > tokens.old_logp)[chosen]
    assert ahead.any()
    assert not ahead.all()
    np.testing.assert_allclose(pull[chosen], torch.where(ahead, 3.0, -3.0), rtol=1e-12)


def test_kl_cov_never_clips():
    tokens = batch(6, drift=2.0)
    _, chosen = KLCov().token_loss(tokens)
    (gradient,) = torch.autograd.grad(KLCov(coefficient=0.0).token_loss(tokens)[0].sum(), tokens.logp)
    ratio = tokens.log_ratio.detach().exp()
    assert (ratio > 2).any()
    torch.testing.assert_close(gradient, -tokens.advantages * ratio)
    assert chosen.sum() == 1


def test_entropy_bonus_climbs_the_entropy():
    """Through a softmax: the extra gradient on the logits is -coefficient dH/dz, as the tabular formula has it."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 7, generator=g, dtype=torch.float64).requires_grad_()
    drawn = torch.randint(0, 7, (4, 3, 1), generator=g)
    log_p = logits.log_softmax(-1)
    logp, entropy = log_p.gather(-1, drawn)[..., 0], -(log_p.exp() * log_p).sum(-1)
    mask = torch.ones(4, 3, dtype=torch.bool)
    advantages = torch.randn(4, 1, generator=g, dtype=torch.float64).expand(4, 3)
    tokens = Tokens(logp, logp.detach(), advantages, mask, entropy, torch.rand(4, 3, generator=g))
    with_bonus, without = (
        torch.autograd.grad(masked_mean(method.token_loss(tokens)[0], mask).sum(), logits, retain_graph=True)[0]
        for method in (EntropyBonus(coefficient=0.25), NoIntervention())
    )
    wanted = -0.25 * tabular.entropy_gradient(logits.detach().numpy()) / mask.sum().item()
    np.testing.assert_allclose((with_bonus - without).numpy(), wanted, rtol=0, atol=1e-14)


def test_reference_kl_is_nothing_at_the_reference():
    tokens = batch(8)
    tokens = dataclasses.replace(tokens, reference_logp=tokens.logp.detach().clone())
    (kl, _), (plain, _) = ReferenceKL(coefficient=5.0).token_loss(tokens), NoIntervention().token_loss(tokens)
    assert torch.equal(kl, plain)
    gradients = [torch.autograd.grad(loss.sum(), tokens.logp, retain_graph=True)[0] for loss in (kl, plain)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)


def test_reference_kl_is_never_negative_and_averages_to_the_divergence():
    g = torch.Generator().manual_seed(0)
    log_p, log_q = torch.randn(2, 9, generator=g, dtype=torch.float64).log_softmax(-1)
    one = torch.ones(1, 9, dtype=torch.float64)
    tokens = Tokens(log_p[None], log_p[None], 0 * one, one.bool(), 0 * one, 0 * one, reference_logp=log_q[None])
    loss, _ = ReferenceKL(coefficient=1.0).token_loss(tokens)
    assert (loss >= 0).all()
    assert (log_p.exp() * loss[0]).sum().item() == pytest.approx((log_p.exp() * (log_p - log_q)).sum().item())


def test_a_name_a_dict_and_an_instance_are_the_same():
    for name, kind in INTERVENTIONS.items():
        assert name == kind.name
        assert intervention(name) == intervention({"name": name}) == intervention(kind()) == kind()
        assert type(intervention(name)) is kind
    assert intervention({"name": "kl_cov", "share": 0.2}) == KLCov(share=0.2)
    text = "clip_cov share=0.05 low=-1 high=2e1"
    assert intervention(text) == ClipCov(share=0.05, low=-1.0, high=20.0)
    assert GRPO(intervention="kl_cov") == GRPO(intervention=KLCov()) != GRPO(intervention="clip_cov")


@each_method
def test_an_experiment_is_saved_with_its_intervention(method):
    experiment = GRPO(intervention=method)
    again = GRPO(**experiment.model_dump(mode="json"))
    assert again == experiment
    assert again.intervention == method
    assert type(again.intervention) is type(method)


def test_defaults_are_the_papers():
    assert (NoIntervention().clip_low, NoIntervention().clip_high) == (0.2, 0.2)
    assert (ClipHigher().clip_low, ClipHigher().clip_high) == (0.2, 0.28)
    c = ClipCov()
    assert (c.share, c.low, c.high, c.clip_low, c.clip_high) == (2e-4, 1, 5, 1, 1)
    assert (KLCov().share, KLCov().coefficient) == (2e-3, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("clipcov", r"field 'intervention': got 'clipcov' \(str\), allowed: .*'clip_cov'"),
        ({"name": "entropy"}, r"field 'intervention': got .*'entropy'.*allowed: "),
        ({"share": 0.1}, r"field 'intervention': got .*allowed: "),
        ({"name": ["kl_cov"]}, r"field 'intervention': got .*allowed: "),
        (3, r"field 'intervention': got 3 \(int\), allowed: "),
        (None, r"field 'intervention': got None"),
        ({"name": "clip_cov", "share": 0}, r"field 'intervention': .*field 'share': got 0 \(int\), allowed: .*above 0"),
        ("kl_cov share=2", r"field 'share': got 2.0 \(float\), allowed: .* to 1"),
        ("kl_cov share=much", r"field 'share': got 'much' \(str\)"),
        ("kl_cov share", r"field 'share': got '' \(str\)"),
        ("kl_cov coefficient=nan", r"field 'coefficient': got nan"),
        ("", r"field 'intervention': got '' \(str\), allowed: "),
        ({"name": "clip_cov", "share": "1"}, r"field 'share': got '1' \(str\), allowed: finite number"),
        ({"name": "clip_cov", "low": 2, "high": 2}, r"low 2.0 and high 2.0: allowed are low < high"),
        ({"name": "kl_cov", "coefficient": -1}, r"field 'coefficient': got -1 \(int\), allowed: .* from 0"),
        (
            {"name": "kl_cov", "ratio": 0.2},
            r"unknown field 'ratio': .*allowed: the fields of KLCov: share, coefficient",
        ),
        ({"name": "clip_higher", "clip_high": float("inf")}, r"field 'clip_high': got inf"),
    ],
)
def test_a_wrong_intervention_is_one_line(spec, message):
    with pytest.raises(ParameterError, match=message) as caught:
        GRPO.profile("smoke", intervention=spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", INTERVENTIONS.values(), ids=INTERVENTIONS)
def test_every_coefficient_has_a_description_and_refuses_text(kind):
    for field, declared in kind.model_fields.items():
        assert declared.description
        with pytest.raises(ParameterError, match=f"field '{field}': got 'x'"):
            kind(**{field: "x"})


def test_a_method_must_say_its_loss():
    with pytest.raises(TypeError, match="Intervention does not define token_loss"):
        Intervention().token_loss(batch())
