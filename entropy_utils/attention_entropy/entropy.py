"""The entropy of attention, row by row: from weights, from logits, or from queries and keys without the T x T matrix.

Row i of the attention matrix is A_i = softmax(a_i), and its entropy is H_i = - sum_j A_ij log A_ij, in nats, between 0
(one key gets everything) and log(number of keys that the query may see). Zhai et al. 2023 follow its mean over rows.

All of it is computed in float32 at least, from log_softmax, with 0 log 0 = 0. A key is hidden where its logit is -inf
or one of the finite numbers that stand for it (`hidden_keys`). Rows without a choice have these values: a row that sees
no key has entropy 0, and where fewer than two keys are visible H / log(keys) has no meaning and is NaN.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

CACHED = 2**18  # logits per block on a CPU: 1 MiB in float32
BUFFERED = 2**24  # and on an accelerator, where few large kernels are wanted


class AttentionRows(NamedTuple):
    """What is known of each row, each of shape (..., queries) but `seen`.

    `entropy`: nats. `visible`: number of keys that the query may see. `largest`: its largest logit, -inf if it sees no key.
    `seen` (..., keys): whether at least one query may see the key; in self-attention the others are padding.
    """

    entropy: Tensor
    visible: Tensor
    largest: Tensor
    seen: Tensor

    @property
    def normalised(self) -> Tensor:
        """Entropy over the log of the visible keys, see `normalised`."""
        return normalised(self.entropy, self.visible)


def attention_entropy(weights: Tensor, visible: Tensor | None = None) -> Tensor:
    """Entropy in nats of attention weights (..., queries, keys), of shape (..., queries).

    `visible`, boolean and of a shape that broadcasts, says which keys a query may see; weights of the others count as 0
    whatever they are. ValueError for rows that do not sum to 1 (or to 0, where nothing is visible): so are weights
    after dropout, whose entropy means nothing.
    """
    weights = _wide(weights)
    if visible is not None:
        weights = torch.where(visible, weights, 0)
    total = weights.detach().sum(-1)
    # a bfloat16 weight is off by up to 2^-9 of itself
    if not ((total - 1).abs().le(0.01) | total.eq(0)).all() or bool((weights < 0).any()):
        got = f"rows that sum to {total.min().item():.3g} to {total.max().item():.3g}"
        raise ParameterError.of("weights", got, "non-negative rows of sum 1, as they are before dropout")
    return torch.special.entr(weights).sum(-1)


def normalised(entropy: Tensor, visible: Tensor | int) -> Tensor:
    """Entropy over log(visible keys): 1 for a uniform row, 0 for a one-hot row, NaN for a row that sees fewer than two."""
    count = torch.as_tensor(visible, device=entropy.device)
    return torch.where(count > 1, entropy / count.to(entropy.dtype).log(), math.nan)


def hidden_keys(logits: Tensor) -> Tensor:
    """Where a logit says that the query may not see the key.

    -inf, the lowest number of the dtype (transformers) and -1e9 are all in use as masks: everything at or below -5e8 (in
    float16 half the lowest number) is taken for one. NaN is not: it must show.
    """
    return logits <= max(torch.finfo(logits.dtype).min / 2, -5e8)


def attention_rows(logits: Tensor, weights: Tensor | None = None) -> AttentionRows:
    """Statistics of each row of softmax(logits), logits (..., queries, keys) with hidden keys as in `hidden_keys`.

    `weights` is softmax(logits), where it is there already: float32 ones save time.
    """
    hidden = hidden_keys(logits)
    visible = logits.shape[-1] - hidden.sum(-1)
    none = visible == 0
    wide = _wide(logits)
    largest = wide.amax(-1).masked_fill(none, -math.inf)
    return AttentionRows(_entropy(wide, none, weights), visible, largest, ~hidden.all(-2))


def attention_logits(
    q: Tensor, k: Tensor, *, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """The whole matrix scale q k^T + mask (batch, heads, queries, keys); arguments as in `attention_rows_from_qk`."""
    _check(q, k, mask, causal, scale, None)
    keys, queries = k.shape[2], q.shape[2]
    scale = q.shape[3] ** -0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):
        logits = _wide(q) * scale @ _wide(k).repeat_interleave(q.shape[1] // k.shape[1], 1).mT
    if mask is not None:
        logits = _masked(logits, mask)
    if causal:
        future = torch.ones(queries, keys, dtype=torch.bool, device=q.device).triu(keys - queries + 1)
        logits = logits.masked_fill(future, -math.inf)
    return logits


def attention_rows_from_qk(
    q: Tensor,
    k: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    block: int | None = None,
) -> AttentionRows:
    """Statistics of each row of softmax(`attention_logits`) without the matrix, holding `block` rows of logits at a time.

    `q` (batch, heads, queries, d) and `k` (batch, key heads, keys, d) with heads a multiple of key heads (grouped and
    multi-query attention). `mask` broadcasts to (batch, heads, queries, keys): True where a key is visible, or a number
    added to the logits. `causal`: the last query sees all keys, the one before it all but the last, and so on; no
    work is done for blocks that are hidden. `scale` is 1 / sqrt(d) by default.

    `block` counts rows over all heads and sequences; by default as many as fit a processor's cache. Gradients flow
    through entropy and largest, but then autograd keeps what the blocks made: for little memory use `torch.no_grad()`.
    """
    _check(q, k, mask, causal, scale, block)
    batch, heads, queries, d = q.shape
    keys = k.shape[2]
    group = heads // k.shape[1]
    scale = d**-0.5 if scale is None else scale
    if block is None:
        block = max(1, (CACHED if q.device.type == "cpu" else BUFFERED) // keys)
    together, rows = max(1, block // queries), min(queries, block)  # heads, and queries of each, per block
    if mask is not None:
        mask = mask.expand(batch, heads, queries, keys)
    q, k = q.reshape(batch * heads, queries, d), k.reshape(-1, keys, d)
    number = torch.arange(batch * heads, device=q.device)
    seen = torch.zeros(batch * heads, keys, dtype=torch.bool, device=q.device)
    # filled in place: small results kept between large blocks would keep the allocator from using their memory again
    entropy = torch.empty(batch * heads, queries, dtype=_wide(q[:0]).dtype, device=q.device)
    largest = torch.empty_like(entropy)
    visible = torch.empty(batch * heads, queries, dtype=torch.long, device=q.device)
    with torch.autocast(q.device.type, enabled=False):
        for start in range(0, batch * heads, together):
            chosen = slice(start, start + together)
            which = number[chosen]
            some_q, some_k = _wide(q[chosen]) * scale, _wide(k[which // group]).mT
            for first in range(0, queries, rows):
                last = min(first + rows, queries)
                end = last + keys - queries if causal else keys  # keys after this one are hidden to the block
                logits = some_q[:, first:last] @ some_k[..., :end]
                if mask is not None:
                    logits = _masked(logits, mask[which // heads, which % heads, first:last, :end])
                if causal:
                    future = torch.ones(last - first, end, dtype=torch.bool, device=q.device)
                    logits = logits.masked_fill(future.triu(first + keys - queries + 1), -math.inf)
                found = attention_rows(logits)
                seen[chosen, :end] |= found.seen
                place = chosen, slice(first, last)
                entropy[place], visible[place], largest[place] = found[:3]
    entropy, visible, largest = (x.view(batch, heads, queries) for x in (entropy, visible, largest))
    return AttentionRows(entropy, visible, largest, seen.view(batch, heads, keys))


def attention_entropy_from_qk(
    q: Tensor,
    k: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    block: int | None = None,
) -> Tensor:
    """Entropy in nats (batch, heads, queries) of softmax(scale q k^T + mask); arguments as in `attention_rows_from_qk`."""
    return attention_rows_from_qk(q, k, mask=mask, causal=causal, scale=scale, block=block).entropy


def effective_rank(weights: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of attention matrices (..., queries, keys) (Roy, Vetterli 2007).

    1 when all rows agree, the number of tokens when each looks at itself alone. Low entropy does harm where this is low
    too. A matrix of zeros has rank 0.
    """
    singular = torch.linalg.svdvals(_wide(weights))
    total = singular.sum(-1, keepdim=True)
    rank = torch.special.entr(singular / total.clamp_min(torch.finfo(singular.dtype).tiny)).sum(-1).exp()
    return rank * (total[..., 0] > 0)


def _entropy(logits: Tensor, none: Tensor, weights: Tensor | None) -> Tensor:
    """The definition; 0 for the rows in `none` (those that see no key)."""
    logits = logits.masked_fill(none[..., None], 0)  # a row of -inf has no softmax
    log_p = logits.log_softmax(-1).clamp(min=torch.finfo(logits.dtype).min)  # 0 log 0 = 0
    if weights is None or weights.dtype != logits.dtype:
        weights = logits.softmax(-1)
    return -torch.linalg.vecdot(weights, log_p).masked_fill(none, 0)


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return logits.masked_fill(~mask, -math.inf)
    return (logits + mask).masked_fill(hidden_keys(mask), -math.inf)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check(q, k, mask, causal, scale, block):
    """Raise a ValueError that names the argument, before any work."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}"
    if q.ndim != 4 or k.ndim != 4 or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or 0 in (*q.shape, *k.shape):
        raise ParameterError.of("q, k", shapes, "(batch, heads, queries, d) and (batch, key heads, keys, d)")
    if q.shape[1] % k.shape[1]:
        raise ParameterError.of("k", shapes, "a number of key heads that divides the heads of q")
    if causal and q.shape[2] > k.shape[2]:
        raise ParameterError.of("causal", shapes, "False, or at least as many keys as queries")
    if not (q.is_floating_point() and k.is_floating_point()):
        raise ParameterError.of("q, k", f"{q.dtype}, {k.dtype}", "floating tensors")
    full = (*q.shape[:3], k.shape[2])
    if mask is not None:
        fits = mask.ndim <= 4 and all(m in (1, n) for m, n in zip(mask.shape[::-1], full[::-1], strict=False))
        if not fits or not (mask.dtype == torch.bool or mask.is_floating_point()):
            raise ParameterError.of("mask", f"{tuple(mask.shape)} {mask.dtype}", f"bool or float that broadcasts to {full}")
    if scale is not None and not math.isfinite(scale):
        raise ParameterError.of("scale", scale, "finite number, or None for 1 / sqrt(d)")
    if block is not None and not (isinstance(block, int) and block >= 1):
        raise ParameterError.of("block", block, "number of rows from 1, or None")
