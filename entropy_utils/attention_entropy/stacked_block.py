"""One block of a stack of tiny transformers: the plain version, which states the equations, and a fast one for a CPU.

Activations are (S, features, tokens x batch), the images last: a layer is one product from the left. With tensors of a
whole stack in every operation, most of the time would go into fetching them from memory; `FastBlock` takes one model of the
stack through the block after the other, so that what an operation needs is still in the cache from the one before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .rivals import soft_cap
from .stacked_kernels import EPS, block_backward, block_forward


class Weights(NamedTuple):
    """Of one block of S models: weights (S, outputs, inputs), biases (S, outputs), gains and shifts (S, width).

    Those of the LayerNorm on queries and keys are (S, 2 heads, width of a head). None: there is no such LayerNorm.
    """

    qkv: Tensor
    b_qkv: Tensor
    out: Tensor
    b_out: Tensor
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
    """How to read a block's tensors: `queries` is the number of tokens, the first ones, that the block has an output for."""

    heads: int
    tokens: int
    queries: int
    scale: float
    norm: str
    cap: float | None = None


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm over axis 1 of (S, features, n); gain and shift (S, features)."""
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + EPS) * gain[..., None] + shift[..., None]


def attention(joint: Tensor, queries: int, scale: float, cap: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax attention on queries, keys and values in one tensor (S, 3, heads, width of a head, tokens, batch).

    Returns the output of the first `queries` tokens, (S, heads, width of a head, queries, batch), and without gradient,
    per model and head, (S, heads): mean row entropy (nats, all queries) and largest absolute logit.
    """
    q, k, v = joint.unbind(1)
    logits = scale * torch.einsum("shcib,shcjb->shijb", q, k)
    if cap is not None:
        logits = soft_cap(logits, cap)
    log_p = logits.log_softmax(3)
    p = log_p.exp()
    with torch.no_grad():
        entropy, largest = -(p * log_p).sum(3).mean((2, 3)), logits.abs().amax((2, 3, 4))
    return torch.einsum("shijb,shcjb->shcib", p[:, :, :queries], v), entropy, largest


def block(x: Tensor, weights: Weights, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Output (S, width, queries x batch) of x (S, width, tokens x batch); entropies and largest logits as `attention`."""
    w, (heads, tokens, queries, scale, norm, cap) = weights, shape
    y = layer_norm(x, w.gain1, w.shift1) if norm == "pre" else x
    joint = (w.qkv @ y + w.b_qkv[..., None]).view(len(x), 3, heads, -1, tokens, x.shape[2] // tokens)
    if w.gain_qk is not None:
        qk, v = joint.split([2, 1], 1)
        normed = layer_norm(qk.flatten(4).flatten(0, 2), w.gain_qk.flatten(0, 1), w.shift_qk.flatten(0, 1))
        joint = torch.cat([normed.view_as(qk), v], 1)
    mixed, *found = attention(joint, queries, scale, cap)
    mixed = mixed.flatten(1, 2).flatten(2)
    x = x[..., : mixed.shape[2]] + w.out @ mixed + w.b_out[..., None]
    x = layer_norm(x, w.gain1, w.shift1) if norm == "post" else x
    y = layer_norm(x, w.gain2, w.shift2) if norm == "pre" else x
    x = x + w.down @ F.gelu(w.up @ y + w.b_up[..., None]) + w.b_down[..., None]
    x = layer_norm(x, w.gain2, w.shift2) if norm == "post" else x
    return x, *found


class Kept(NamedTuple):
    """What the gradient needs of the forward pass, names as in `block`: (S, features, n) and moments of the LayerNorms.

    y and y1 are the inputs of the products, a and c the sums after attention and MLP, x1 what the second half gets, raw the
    queries and keys before their LayerNorm, active and slope GELU and its derivative.
    """

    x: Tensor
    y: Tensor
    joint: Tensor
    raw: Tensor
    p: Tensor
    mixed: Tensor
    a: Tensor
    x1: Tensor
    y1: Tensor
    active: Tensor
    slope: Tensor
    c: Tensor
    moments1: Tensor
    moments2: Tensor
    moments_qk: Tensor


class FastBlock(torch.autograd.Function):
    """`block` in float32 on a CPU: ``FastBlock.apply(x, shape, *weights)``.

    No second derivatives: torch raises when they are asked for.
    """

    @staticmethod
    def forward(ctx, x, shape, *weights):
        ctx.shape, ctx.given = shape, [part is not None for part in weights]
        x, given = x.contiguous(), Weights(*weights)._asdict()
        w = Weights(*(_missing(name, x) if part is None else part.contiguous() for name, part in given.items()))
        (stack, width, n), m = x.shape, x.shape[2] // shape.tokens * shape.queries
        full, short, hidden = (stack, width, n), (stack, width, m), (stack, w.up.shape[1], m)
        pre, post, qk = shape.norm == "pre", shape.norm == "post", w.gain_qk.numel() > 0
        new, a, c = x.new_empty, x.new_empty(short), x.new_empty(short)
        x1 = new(short) if post else a
        kept = Kept(
            x=x,
            y=new(full) if pre else x,
            joint=new(stack, 3 * width, n),
            raw=new(stack, 2 * width, n if qk else 0),
            p=new(stack, shape.heads * shape.tokens**2, n // shape.tokens),
            mixed=new(short),
            a=a,
            x1=x1,
            y1=new(short) if pre else x1,
            active=new(hidden),
            slope=new(hidden),
            c=c,
            moments1=new(stack, 2, n if pre else m),
            moments2=new(stack, 2, m),
            moments_qk=new(stack, 2 * shape.heads, 2, n if qk else 0),
        )
        result, (entropy, largest) = new(short) if post else c, new(2, stack, shape.heads)
        arrays = (part.numpy() for part in (result, entropy, largest))
        how = (shape.tokens, shape.queries, shape.scale, shape.cap or 0.0, pre, post, qk)
        block_forward(_arrays(w), _arrays(kept), *arrays, *how)
        ctx.save_for_backward(*w, *kept)
        ctx.mark_non_differentiable(entropy, largest)
        return result, entropy, largest

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        shape, w = ctx.shape, Weights(*ctx.saved_tensors[: len(Weights._fields)])
        kept, d = Kept(*ctx.saved_tensors[len(w) :]), Weights(*map(torch.empty_like, w))
        d_x = torch.empty_like(kept.x)
        pre, post, qk = shape.norm == "pre", shape.norm == "post", w.gain_qk.numel() > 0
        arrays = (_arrays(w), _arrays(kept), grad.contiguous().numpy(), d_x.numpy(), _arrays(d))
        how = (shape.tokens, shape.queries, shape.scale, shape.cap or 0.0, pre, post, qk)
        block_backward(*arrays, shape.heads, *how)
        return d_x, None, *(part if given else None for part, given in zip(d, ctx.given, strict=True))


def _missing(name: str, x: Tensor) -> Tensor:
    """What stands for the gain or shift of a LayerNorm that is not there."""
    return x.new_empty((len(x), 0, 0) if name.endswith("qk") else (len(x), 0))


def _arrays(tensors: Weights | Kept) -> Weights | Kept:
    return type(tensors)(*(tensor.detach().numpy() for tensor in tensors))
