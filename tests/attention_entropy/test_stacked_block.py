"""The compiled blocks against their plain version, in values, statistics and gradients, and the plain one against torch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.attention_entropy.stacked_block import FastBlocks, Shape, Weights, attention, blocks, layer_norm


def inputs(stack, layers, heads, size, tokens, batch, hidden, norm, qk, spread=1.0) -> tuple[torch.Tensor, Weights]:
    width, normal = heads * size, torch.randn
    weights = {
        "qk": spread * normal(stack, 2 * layers, width, width) / math.sqrt(width),
        "b_qk": normal(stack, 2 * layers, width),
        "vo": normal(stack, 2 * layers, width, width) / math.sqrt(width),
        "b_vo": normal(stack, 2 * layers, width),
        "up": normal(stack, layers, hidden, width) / math.sqrt(width),
        "b_up": normal(stack, layers, hidden),
        "down": normal(stack, layers, width, hidden) / math.sqrt(hidden),
        "b_down": normal(stack, layers, width),
    }
    if norm != "none":
        weights |= {name: normal(stack, layers, width) for name in ("gain1", "shift1", "gain2", "shift2")}
    if qk:
        weights |= {name: normal(stack, 2 * layers, size) for name in ("gain_qk", "shift_qk")}
    return normal(stack, width, tokens * batch), Weights(**weights)


def results(x, weights, shape, dtype, fast) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What the blocks return, and the gradients of x and all weights from the same sum of the output."""
    leaves = [None if part is None else part.to(dtype).clone().requires_grad_() for part in (x, *weights)]
    given = leaves[0], Weights(*leaves[1:])
    found = FastBlocks.apply(given[0], shape, *given[1]) if fast else blocks(*given, shape)
    (found[0] * torch.linspace(-1, 2, found[0].numel(), dtype=dtype).view_as(found[0])).sum().backward()
    return [part.detach().double() for part in found], [leaf.grad.double() for leaf in leaves if leaf is not None]


def compare(x, weights, shape):
    """In float32, as near to the plain blocks in float64 as the plain ones in float32 are, within a factor."""
    exact = results(x, weights, shape, torch.float64, False)
    peer = results(x, weights, shape, torch.float32, False)
    fast = results(x, weights, shape, torch.float32, True)
    for some in zip(exact, peer, fast, strict=True):
        for truth, plain, found in zip(*some, strict=True):
            scale = truth.abs().max() + 1e-3
            assert (found - truth).abs().max() < 10 * (plain - truth).abs().max() + 2e-5 * scale


@settings(max_examples=40, deadline=None)
@given(
    stack=st.integers(1, 3), layers=st.integers(1, 2), heads=st.integers(1, 3), size=st.integers(4, 18),
    tokens=st.integers(1, 19), batch=st.integers(1, 20), hidden=st.integers(1, 21),
    norm=st.sampled_from(["pre", "post", "none"]), qk=st.booleans(), all_queries=st.booleans(),
    cap=st.sampled_from([None, 0.7, 20.0]), spread=st.sampled_from([0.1, 1.0, 3.0]), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_fast_and_plain(stack, layers, heads, size, tokens, batch, hidden, norm, qk, all_queries, cap, spread, seed):
    torch.manual_seed(seed)
    x, weights = inputs(stack, layers, heads, size, tokens, batch, hidden, norm, qk, spread)
    compare(x, weights, Shape(heads, tokens, tokens if all_queries else 1, 0.3, norm, cap))


@pytest.mark.parametrize("size", [4, 8, 9, 16, 17])  # terms of the sums over features: none, 8 or 16 of them at once
@pytest.mark.parametrize("tokens", [1, 7, 8, 16, 19])  # and of those over tokens
def test_fast_and_plain_with_64_images(size, tokens):
    """64 images take sums in tiles of four rows, any other number row by row."""
    torch.manual_seed(size + tokens)
    for cap, queries in ((None, tokens), (0.7, 1)):
        x, weights = inputs(1, 2, 2, size, tokens, 64, 5, "pre", False)
        compare(x, weights, Shape(2, tokens, queries, 0.3, "pre", cap))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(4, 40), st.integers(1, 70), st.integers(0, 10**6))
def test_layer_norm(stack, features, n, seed):
    torch.manual_seed(seed)
    parts = 3 + 2 * torch.randn(stack, features, n), torch.randn(stack, features), torch.randn(stack, features)
    for found, x, gain, shift in zip(layer_norm(*parts), *parts, strict=True):
        expected = torch.nn.functional.layer_norm(x.T, (features,), gain, shift).T
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def straight(joint: torch.Tensor) -> tuple[torch.Tensor, Weights]:
    """x and weights of one block whose queries, keys and values are `joint` (S, 3, heads, size, tokens, batch), whose output
    is that of its attention and x: x has `joint` in it, the weights pick it out."""
    stack, _, heads, size, tokens, batch = joint.shape
    part, width = heads * size, 3 * heads * size
    zero = torch.zeros
    qk, vo = zero(stack, 2, width, width), zero(stack, 2, width, width)
    for third, weight in enumerate((qk[:, 0], qk[:, 1], vo[:, 0])):
        weight[:, :part, third * part : (third + 1) * part] = torch.eye(part)
    vo[:, 1, :part, :part] = torch.eye(part)
    weights = Weights(qk, zero(stack, 2, width), vo, zero(stack, 2, width), zero(stack, 1, 1, width), zero(stack, 1, 1),
                      zero(stack, 1, width, 1), zero(stack, 1, width))  # fmt: skip
    return joint.reshape(stack, width, tokens * batch), weights


def test_huge_logits_give_a_one_hot_row_and_no_overflow():
    joint = torch.zeros(1, 3, 1, 8, 5, 3)
    joint[0, 0], joint[0, 1, :, :, 2] = 100.0, 100.0
    joint[0, 2] = torch.arange(5.0)[:, None]
    x, weights = straight(joint)
    out, entropy, largest = FastBlocks.apply(x, Shape(3, 5, 5, 1.0, "none"), *weights)
    torch.testing.assert_close((out - x)[:, :8], torch.full((1, 8, 15), 2.0))
    assert entropy[0, 0, 0].item() == pytest.approx(0, abs=1e-6)
    assert entropy[0, 0, 1:].tolist() == pytest.approx([math.log(5)] * 2)
    assert largest.tolist() == [[[80_000, 0, 0]]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_what_is_not_finite_stays_visible(value, part):
    """A NaN or an infinity in queries, keys or values must reach the output: the loss tells that a run diverged."""
    joint = torch.randn(2, 3, 2, 8, 5, 9)
    joint[1, part, 0, 3, 0, 4] = value
    x, weights = straight(joint)
    out, *_ = FastBlocks.apply(x, Shape(6, 5, 5, 1.0, "none"), *weights)
    assert out[0].isfinite().all()
    assert not out[1].unflatten(1, (5, 9))[:, :, 4].isfinite().all()


def test_a_nan_among_the_logits_is_in_the_largest():
    joint = torch.randn(1, 3, 2, 8, 5, 9)
    joint[0, 0, 0, 3, 1, 4] = float("nan")
    x, weights = straight(joint)
    shape = Shape(6, 5, 5, 1.0, "none")
    largest = FastBlocks.apply(x, shape, *weights)[2]
    torch.testing.assert_close(largest, blocks(x, weights, shape)[2], equal_nan=True)
    assert largest[0, 0, 0].isnan()


def test_entropies_and_largest_logits_are_those_of_the_plain_attention():
    joint = 3 * torch.randn(2, 3, 4, 8, 17, 33)
    out, entropy, largest = attention(*joint.double().unbind(1), 17, 0.4, None)
    x, weights = straight(joint)
    found = FastBlocks.apply(x, Shape(12, 17, 17, 0.4, "none"), *weights)
    torch.testing.assert_close((found[0] - x)[:, :32].double(), out.flatten(1, 2).flatten(2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1][:, 0, :4].double(), entropy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[2][:, 0, :4].double(), largest, rtol=1e-5, atol=1e-6)


def test_second_derivatives_are_refused():
    x, weights = inputs(1, 1, 1, 4, 5, 3, 4, "pre", True)
    x.requires_grad_()
    out, *_ = FastBlocks.apply(x, Shape(1, 5, 5, 1.0, "pre"), *weights)
    (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
