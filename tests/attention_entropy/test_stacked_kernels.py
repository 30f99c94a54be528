"""The compiled attention and LayerNorm against their plain versions, in values, statistics and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.attention_entropy.stacked_kernels import FastAttention, FastLayerNorm, attention, layer_norm


def both(plain, fast, inputs: list[torch.Tensor], tolerance: float) -> None:
    """Plain in float64 and compiled in float32: first outputs and gradients of all inputs agree."""
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    single = [tensor.float().requires_grad_() for tensor in inputs]
    expected, found = plain(*exact), fast(*single)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights.float()).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(single, exact, strict=True):
        scale = theirs.grad.abs().max().item() + 1e-3
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=0, atol=tolerance * scale)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 19), st.integers(1, 19), st.integers(1, 20), st.booleans(),
    st.sampled_from([0.1, 1.0, 5.0]), st.integers(0, 10**6),
)  # fmt: skip
def test_attention(stack, heads, size, tokens, batch, all_queries, spread, seed):
    torch.manual_seed(seed)
    joint = spread * torch.randn(stack, 3, heads, size, tokens, batch)
    queries = tokens if all_queries else 1
    both(lambda x: attention(x, queries, 0.3, None)[0], lambda x: FastAttention.apply(x, queries, 0.3)[0], [joint], 3e-4)
    _, entropy, largest = FastAttention.apply(joint, queries, 0.3)
    _, exact_entropy, exact_largest = attention(joint.double(), queries, 0.3, None)
    torch.testing.assert_close(entropy.double(), exact_entropy, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(largest.double(), exact_largest, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(4, 40), st.integers(1, 70), st.integers(0, 10**6))
def test_layer_norm(stack, features, n, seed):
    """From four features on: the gradient of two is a difference that cancels to nearly 0 in float32."""
    torch.manual_seed(seed)
    inputs = [3 + 2 * torch.randn(stack, features, n), torch.randn(stack, features), torch.randn(stack, features)]
    both(layer_norm, FastLayerNorm.apply, inputs, 1e-3)
    for found, x, gain, shift in zip(layer_norm(*inputs), *inputs, strict=True):
        expected = torch.nn.functional.layer_norm(x.T, (features,), gain, shift).T
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_huge_logits_give_a_one_hot_row_and_no_overflow():
    joint = torch.zeros(1, 3, 1, 8, 5, 3)
    joint[0, 0], joint[0, 1, :, :, 2] = 100.0, 100.0
    joint[0, 2] = torch.arange(5.0)[:, None]
    out, entropy, largest = FastAttention.apply(joint, 5, 1.0)
    torch.testing.assert_close(out, torch.full_like(out, 2.0))
    assert entropy.item() == pytest.approx(0, abs=1e-6)
    assert largest.item() == 80_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_what_is_not_finite_stays_visible(value, part):
    """A NaN or an infinity in queries, keys or values must reach the output: the loss tells that a run diverged."""
    joint = torch.randn(2, 3, 2, 8, 5, 9)
    joint[1, part, 0, 3, 0, 4] = value
    out, *_ = FastAttention.apply(joint, 5, 1.0)
    plain, *_ = attention(joint, 5, 1.0, None)
    assert out[0].isfinite().all()
    assert not out[1, :, :, :, 4].isfinite().all()
    assert torch.equal(out.isfinite().all(2), plain.isfinite().all(2))


def test_a_nan_among_the_logits_is_in_the_largest():
    joint = torch.randn(1, 3, 2, 8, 5, 9)
    joint[0, 0, 0, 3, 1, 4] = float("nan")
    *_, largest = FastAttention.apply(joint, 5, 1.0)
    *_, expected = attention(joint, 5, 1.0, None)
    torch.testing.assert_close(largest, expected, equal_nan=True)
    assert largest[0].isnan().tolist() == [True, False]


def test_second_derivatives_are_refused():
    joint = torch.randn(1, 3, 1, 4, 5, 3, requires_grad=True)
    norm = [torch.randn(*shape, requires_grad=True) for shape in ((1, 4, 6), (1, 4), (1, 4))]
    for out, x in ((FastAttention.apply(joint, 5, 1.0)[0], joint), (FastLayerNorm.apply(*norm), norm[0])):
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()
