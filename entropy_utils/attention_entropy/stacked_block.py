"""The blocks of a stack of tiny transformers: the plain version, which states the equations, and a fast one for a CPU.

Activations are (S, features, tokens x batch), the images last: a layer is one product from the left. With tensors of a
whole stack in every operation, most of the time would go into fetching them from memory; `FastBlocks` takes one model of the
stack through all blocks after the other, so that what an operation needs is still in the cache from the one before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .rivals import soft_cap
from .stacked_kernels import EPS, blocks_backward, blocks_forward


class Weights(NamedTuple):
    """Of the L blocks of S models: weights (S, n, outputs, inputs), biases (S, n, outputs), gains and shifts (S, n, width).

    n is L; it is 2 L where two layers share a tensor: queries and keys (and the LayerNorm that the heads of a block share),
    values and outputs, the two of a block side by side. None: there is no such LayerNorm.
    """

    qk: Tensor
    b_qk: Tensor
    vo: Tensor
    b_vo: Tensor
    up: Tensor
    b_up: Tensor
    down: Tensor
    b_down: Tensor
    gain1: Tensor | None = None
    shift1: Tensor | None = None
    gain2: Tensor | None = None
    shift2: Tensor | None = None
    gain_qk: Tensor | None = None
    shift_qk: Tensor | None = None


class Shape(NamedTuple):
    """How to read the tensors: `queries` is the number of tokens, the first ones, that the last block has an output for."""

    heads: int
    tokens: int
    queries: int
    scale: float
    norm: str
    cap: float | None = None


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm over the last axis but one of (..., features, n); gain and shift (..., features)."""
    variance, mean = torch.var_mean(x, -2, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + EPS) * gain[..., None] + shift[..., None]


def attention(
    q: Tensor, k: Tensor, v: Tensor, queries: int, scale: float, cap: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax attention on queries, keys and values, (S, heads, width of a head, tokens, batch).

    Returns the output of the first `queries` tokens, (S, heads, width of a head, queries, batch), and without gradient,
    per model and head, (S, heads): mean row entropy (nats, all queries) and largest absolute logit.
    """
    logits = scale * torch.einsum("shcib,shcjb->shijb", q, k)
    if cap is not None:
        logits = soft_cap(logits, cap)
    log_p = logits.log_softmax(3)
    p = log_p.exp()
    with torch.no_grad():
        entropy, largest = -(p * log_p).sum(3).mean((2, 3)), logits.abs().amax((2, 3, 4))
    return torch.einsum("shijb,shcjb->shcib", p[:, :, :queries], v), entropy, largest


def block(x: Tensor, w: Weights, shape: Shape, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """Output of block i for x (S, width, tokens x batch); entropies and largest logits as `attention`."""
    heads, tokens, queries, scale, norm, cap = shape
    if i < w.up.shape[1] - 1:
        queries = tokens
    y = layer_norm(x, w.gain1[:, i], w.shift1[:, i]) if norm == "pre" else x
    layers = ((w.qk, w.b_qk, 2 * i), (w.qk, w.b_qk, 2 * i + 1), (w.vo, w.b_vo, 2 * i))
    q, k, v = ((weight[:, at] @ y + bias[:, at, :, None]).unflatten(1, (heads, -1)) for weight, bias, at in layers)
    if w.gain_qk is not None:
        parts = ((q, 2 * i), (k, 2 * i + 1))
        q, k = (layer_norm(part, w.gain_qk[:, None, at], w.shift_qk[:, None, at]) for part, at in parts)
    mixed, *found = attention(*(part.unflatten(-1, (tokens, -1)) for part in (q, k, v)), queries, scale, cap)
    mixed = mixed.flatten(3).flatten(1, 2)
    x = x[..., : mixed.shape[2]] + w.vo[:, 2 * i + 1] @ mixed + w.b_vo[:, 2 * i + 1, :, None]
    x = layer_norm(x, w.gain1[:, i], w.shift1[:, i]) if norm == "post" else x
    y = layer_norm(x, w.gain2[:, i], w.shift2[:, i]) if norm == "pre" else x
    x = x + w.down[:, i] @ F.gelu(w.up[:, i] @ y + w.b_up[:, i, :, None]) + w.b_down[:, i, :, None]
    x = layer_norm(x, w.gain2[:, i], w.shift2[:, i]) if norm == "post" else x
    return x, *found


def blocks(x: Tensor, w: Weights, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Output (S, width, queries x batch) of all blocks for x (S, width, tokens x batch); entropies (nats) and largest
    absolute logits (S, L, heads)."""
    seen = []
    for i in range(w.up.shape[1]):
        x, *found = block(x, w, shape, i)
        seen.append(found)
    return x, *(torch.stack(part, 1) for part in zip(*seen, strict=True))


class Kept(NamedTuple):
    """What the gradient needs of the forward pass, (S, L, features, n), names as in `block`.

    a and c are the sums after attention and MLP, y1 is what the MLP gets of a LayerNorm behind attention, raw the queries
    and keys before their LayerNorm, active and slope are GELU and its derivative; moments are those of the LayerNorms.
    What a LayerNorm before a sublayer gives is worked out again. Empty: not needed.
    """

    x: Tensor
    joint: Tensor
    raw: Tensor
    p: Tensor
    mixed: Tensor
    a: Tensor
    y1: Tensor
    active: Tensor
    slope: Tensor
    c: Tensor
    moments1: Tensor
    moments2: Tensor
    moments_qk: Tensor


class FastBlocks(torch.autograd.Function):
    """`blocks` in float32 on a CPU: ``FastBlocks.apply(x, shape, *weights)``.

    No second derivatives: torch raises when they are asked for.
    """

    @staticmethod
    def forward(ctx, x, shape, *weights):
        ctx.shape, ctx.given = shape, [part is not None for part in weights]
        w = Weights(*(x.new_empty((len(x), 0, 0)) if part is None else part.contiguous() for part in weights))
        (stack, width, n), (layers, hidden) = x.shape, w.up.shape[1:3]
        pre, post, qk = shape.norm == "pre", shape.norm == "post", w.gain_qk.numel() > 0

        def room(rows, columns=n, wanted=True):
            return x.new_empty((stack, layers, rows, columns if wanted else 0))

        kept = Kept(
            x=room(width),
            joint=room(3 * width),
            raw=room(2 * width, wanted=qk),
            p=room(shape.heads * shape.tokens**2, n // shape.tokens),
            mixed=room(width),
            a=room(width),
            y1=room(width, wanted=post),
            active=room(hidden),
            slope=room(hidden),
            c=room(width, wanted=post),
            moments1=room(2),
            moments2=room(2),
            moments_qk=x.new_empty((stack, layers, 2 * shape.heads, 2, n if qk else 0)),
        )
        kept.x[:, 0] = x
        result = x.new_empty((stack, width, n // shape.tokens * shape.queries))
        entropy, largest = x.new_empty((2, stack, layers, shape.heads))
        arrays = (part.numpy() for part in (result, entropy, largest))
        how = (shape.tokens, shape.queries, shape.scale, shape.cap or 0.0, pre, post, qk)
        blocks_forward(_arrays(w), _arrays(kept), *arrays, *how)
        ctx.save_for_backward(*w, *kept)
        ctx.mark_non_differentiable(entropy, largest)
        return result, entropy, largest

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        shape, w = ctx.shape, Weights(*ctx.saved_tensors[: len(Weights._fields)])
        kept, d = Kept(*ctx.saved_tensors[len(w) :]), Weights(*map(torch.empty_like, w))
        d_x = torch.empty_like(kept.x[:, 0])
        pre, post, qk = shape.norm == "pre", shape.norm == "post", w.gain_qk.numel() > 0
        arrays = (_arrays(w), _arrays(kept), grad.contiguous().numpy(), d_x.numpy(), _arrays(d))
        how = (shape.tokens, shape.queries, shape.scale, shape.cap or 0.0, pre, post, qk)
        blocks_backward(*arrays, shape.heads, *how)
        return d_x, None, *(part if given else None for part, given in zip(d, ctx.given, strict=True))


def _arrays(tensors: Weights | Kept) -> Weights | Kept:
    return type(tensors)(*(tensor.detach().numpy() for tensor in tensors))
