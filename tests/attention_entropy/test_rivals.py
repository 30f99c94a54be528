"""The rivals: what each bounds, and what it leaves unchanged."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entropy_utils.attention_entropy.rivals import (
    HeadNorm,
    clip_queries_and_keys,
    qk_norm,
    soft_cap,
    spectral_norm,
    weight_norm,
)
from entropy_utils.attention_entropy.sigma_reparam import reparametrize
from entropy_utils.lab.errors import ParameterError


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def conv1d(outputs, inputs):
    from transformers.pytorch_utils import Conv1D

    layer = Conv1D(outputs, inputs)
    nn.init.normal_(layer.weight)
    return layer


def test_spectral_norm_has_gain_one_everywhere():
    model = spectral_norm(nn.Sequential(nn.Linear(6, 9), nn.Tanh(), conv1d(5, 9)))
    for _ in range(300):
        model(torch.randn(2, 6))
    for layer in (model[0], model[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-5)


def test_torchs_spectral_norm_is_sigma_reparam_with_gamma_one():
    plain = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4))
    ours, theirs = reparametrize(copy.deepcopy(plain), "one"), spectral_norm(plain)
    for _ in range(300):
        theirs(torch.randn(1, 6))
    x = torch.randn(3, 6)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-5)


def test_weight_norm_keeps_the_function_and_bounds_outputs_by_g():
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), conv1d(5, 9))
    x = torch.randn(4, 6)
    expected = model(x)
    weight_norm(model)
    assert torch.allclose(model(x), expected, atol=1e-5)
    for layer, rows in ((model[0], lambda w: w), (model[2], lambda w: w.T)):  # Conv1D: one column per output
        g = layer.parametrizations.weight.original0
        assert g.numel() == len(rows(layer.weight))
        with torch.no_grad():
            g.copy_(torch.rand_like(g))
        weight = rows(layer.weight)
        assert torch.allclose(weight.norm(dim=1), g.flatten(), atol=1e-6)
        assert torch.linalg.matrix_norm(weight, 2) <= g.norm() * (1 + 1e-6)


def test_a_choice_of_layers_and_refusals():
    model = spectral_norm(nn.ModuleDict({"q": nn.Linear(3, 3), "o": nn.Linear(3, 3)}), only="q")
    assert hasattr(model["q"], "parametrizations")
    assert not hasattr(model["o"], "parametrizations")
    for method in (spectral_norm, weight_norm):
        with pytest.raises(ParameterError, match="'q'"):
            method(model)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 64), st.sampled_from(["layer", "rms"]), st.floats(-2, 3), st.integers(0, 10**6))
def test_qk_norm_bounds_logits_by_the_root_of_the_width(width, kind, log_scale, seed):
    g = torch.Generator().manual_seed(seed)
    q, k = (10**log_scale * torch.randn(2, 3, 7, width, generator=g, dtype=torch.float64) for _ in range(2))
    logits = qk_norm(q, kind) @ qk_norm(k, kind).mT / math.sqrt(width)
    assert logits.abs().max() <= math.sqrt(width) * (1 + 1e-12)
    same = qk_norm(q, kind) @ qk_norm(q, kind).mT / math.sqrt(width)  # a query that is its own key attains it
    if log_scale > 1 and width > 2:
        assert same.diagonal(dim1=-2, dim2=-1).min() == pytest.approx(math.sqrt(width), rel=1e-2)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_head_norm_is_torchs_norm_of_each_head(kind):
    norm, x = HeadNorm(3, 12, kind), torch.randn(2, 5, 12)
    nn.init.normal_(norm.gain)
    theirs = nn.LayerNorm(4) if kind == "layer" else nn.RMSNorm(4)
    theirs.weight = norm.gain
    if kind == "layer":
        nn.init.normal_(norm.shift)
        theirs.bias = norm.shift
    expected = torch.cat([theirs(part) for part in x.split(4, -1)], -1)
    assert torch.allclose(norm(x), expected, atol=1e-6)
    assert {name for name, _ in norm.named_parameters()} == ({"gain", "shift"} if kind == "layer" else {"gain"})


def test_soft_cap_bounds_keeps_order_and_small_logits():
    logits = torch.linspace(-300, 300, 1001, dtype=torch.float64)
    capped = soft_cap(logits, 50.0)
    assert capped.abs().max() < 50
    assert (capped.diff() > 0).all()
    assert torch.allclose(soft_cap(logits / 1e4, 50.0), logits / 1e4, atol=1e-8)


def per_head(x, weight, bias, heads):
    return (x @ weight.mT + bias[..., None, :]).unflatten(-1, (heads, -1)).transpose(-3, -2)


@pytest.mark.parametrize("stack", [(), (3,)])
def test_qk_clip_brings_the_same_batch_to_the_limit_exactly(stack):
    heads, width, tau = 4, 8, 5.0
    x = torch.randn(*stack, 9, width, dtype=torch.float64)
    tensors = [3 * torch.randn(*stack, width, width, dtype=torch.float64) for _ in range(2)]
    biases = [torch.randn(*stack, width, dtype=torch.float64) for _ in range(2)]
    for weight, bias in zip(tensors, biases, strict=True):  # the last head needs no clip
        weight[..., -2:, :] *= 1e-3
        bias[..., -2:] *= 1e-3

    def logits():
        q, k = (per_head(x, weight, bias, heads) for weight, bias in zip(tensors, biases, strict=True))
        return q @ k.mT / math.sqrt(width // heads)

    before = logits()
    largest = before.abs().amax((-2, -1))
    factor = clip_queries_and_keys(largest, tau, tensors, biases)
    after = logits()
    assert torch.allclose(after.abs().amax((-2, -1)), largest.clamp(max=tau), rtol=1e-12)
    assert torch.allclose(after, before * factor.square()[..., None, None])
    assert torch.equal(after[..., -1, :, :], before[..., -1, :, :])


def test_bad_input_is_one_line():
    for call in (
        lambda: qk_norm(torch.ones(2, 2), "batch"),
        lambda: soft_cap(torch.ones(2), 0.0),
        lambda: clip_queries_and_keys(torch.ones(2), -1.0, []),
        lambda: HeadNorm(3, 8),
    ):
        with pytest.raises(ParameterError, match="allowed"):
            call()
