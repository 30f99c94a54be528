"""The rivals of sigmaReparam, and what each of them bounds.

On the weights of a whole model, in place (torch's own parametrizations): `spectral_norm`, `weight_norm`. On tensors, for
one model or a stack of models along leading axes: `qk_norm`, `soft_cap`, and `clip_queries_and_keys` after the
optimiser's step. None of them bounds the entropy from below by more than its bound on the logits does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from entropy_utils.lab.errors import ParameterError

from .sigma_reparam import chosen

Only = Callable[[str], bool] | Iterable[str] | str | None


def spectral_norm(model: nn.Module, only: Only = None) -> nn.Module:
    """W / sigma(W) on all linear layers (or those that pass `only`, see `sigma_reparam.chosen`): sigmaReparam with gamma
    fixed at 1 (Miyato et al. 2018). Bounds the gain of every layer by 1. Returns the model.

    Torch's own, as a peer; `training.Training` freezes sigmaReparam's gamma instead, which is the same once u has converged.
    """
    for layer, tensor in _plain(model, only).values():
        parametrizations.spectral_norm(layer, tensor)
    return model


def weight_norm(model: nn.Module, only: Only = None) -> nn.Module:
    """g w / |w| for the weights w of each output, with learned g (Salimans and Kingma 2016); changes no output at first.

    Bounds the norms of the rows by g, hence the spectral norm by the root of the sum of g^2 only. Returns the model.
    """
    for layer, tensor in _plain(model, only).values():
        transposed = type(layer).__name__ == "Conv1D"  # of transformers: its weight is (inputs, outputs)
        parametrizations.weight_norm(layer, tensor, dim=1 if transposed else 0)
    return model


class HeadNorm(nn.Module):
    """Normalises every head's slice of the last axis, with one learned gain (and shift, if `kind` is ``layer``) for all.

    Behind the query and the key projection of a model it makes QK-norm: ``attention.q_proj = nn.Sequential(
    attention.q_proj, HeadNorm(heads, width))``.
    """

    def __init__(self, heads: int, width: int, kind: Literal["layer", "rms"] = "layer"):
        super().__init__()
        if heads < 1 or width % heads:
            raise ParameterError.of("heads", heads, f"a divisor of the width {width}")
        self.heads, self.kind = heads, kind
        self.gain = nn.Parameter(torch.ones(width // heads))
        self.shift = nn.Parameter(torch.zeros(width // heads)) if kind == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        y = qk_norm(x.unflatten(-1, (self.heads, -1)), self.kind) * self.gain
        return (y if self.shift is None else y + self.shift).flatten(-2)


def qk_norm(x: Tensor, kind: Literal["layer", "rms"] = "layer") -> Tensor:
    """Queries or keys (..., width of a head), each normalised (ViT-22B, arXiv 2302.05442), without a gain.

    Their norms are then at most sqrt(width of a head) =: sqrt(d), so that |logit| <= sqrt(d) at the scale 1 / sqrt(d),
    times the largest gains if there are any. The entropy floor under that bound is still close to 0 for large d.
    """
    if kind not in ("layer", "rms"):
        raise ParameterError.of("kind", kind, "'layer' or 'rms'")
    return F.layer_norm(x, x.shape[-1:]) if kind == "layer" else F.rms_norm(x, x.shape[-1:])


def soft_cap(logits: Tensor, cap: float) -> Tensor:
    """c tanh(logit / c): |result| <= c, and nearly the logit where that is small (Gemma 2). Order is kept."""
    if not cap > 0:
        raise ParameterError.of("cap", cap, "number above 0")
    return cap * torch.tanh(logits / cap)


@torch.no_grad()
def clip_queries_and_keys(
    largest: Tensor,
    limit: float,
    weights: Iterable[Tensor],
    biases: Iterable[Tensor] = (),
) -> Tensor:
    """QK-clip, in place, after the optimiser's step (Kimi K2, arXiv 2507.20534); returns the heads' factors.

    `largest` (..., heads): largest logit of each head on the batch, at the scale in use. Kimi K2 takes the signed maximum;
    our stack passes the largest |logit|, which is stricter: it bounds the negative ones too. `weights`: those of queries and
    keys, (..., heads x width, inputs), `biases` (..., heads x width), with the same leading axes (a stack of models; none
    for one). Both are scaled by sqrt(min(1, limit / largest)) per head, so the same batch's logits have at most `limit`
    (if the step itself changed nothing; the next batch may exceed it, and is clipped in turn).
    """
    if not limit > 0:
        raise ParameterError.of("limit", limit, "number above 0")
    heads = largest.shape[-1]
    factor = (limit / largest.clamp_min(limit)).sqrt()
    for tensor, axis in [*((weight, -2) for weight in weights), *((bias, -1) for bias in biases)]:
        by_head = factor.repeat_interleave(tensor.shape[axis] // heads, -1)
        tensor.mul_(by_head[..., None] if axis == -2 else by_head)
    return factor


def _plain(model: nn.Module, only: Only) -> dict[str, tuple[nn.Module, str]]:
    layers = chosen(model, only)
    for name, (layer, tensor) in layers.items():
        if parametrize.is_parametrized(layer, tensor):
            raise ParameterError.of("model", name, "layers without a parametrization; leave it out by only")
    return layers
