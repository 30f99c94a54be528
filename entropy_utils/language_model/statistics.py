"""What a softmax says about each token: its log-probability, the entropy, and two moments of the vocabulary.

`token_statistics_reference` is the definition. `token_statistics` gives the same numbers and gradients block by block:
of the logits z [tokens, vocabulary] it holds one block that fits a processor's cache, made from hidden states when z is
wanted only for this. Along the vocabulary it carries, for every token, the largest logit m seen so far and, with
z' = (z - m) / temperature and e = exp z', the four sums

    S = sum e,    A = sum e z',    B = sum e^2,    C = sum e^2 z',

rescaled whenever m grows (Milakov and Gimelshein 2018, arXiv:1805.02867, extended to four sums). At the end

    log p = z' - log S,   entropy = log S - A / S,   sum p^2 = B / S^2,   sum p^2 log p = (C - B log S) / S^2.

Because z' <= 0 and S >= 1 no difference of nearly equal numbers appears, so small entropies keep their digits.
Backward makes each block again: d log p_y / dz_j = [j = y] - p_j and d entropy / dz_j = -p_j (log p_j + entropy), both
over the temperature.
"""

import math
from typing import NamedTuple

import torch

CACHED = 2**18  # logits per block on a CPU: 1 MiB in float32
BUFFERED = 2**25  # and on an accelerator, where few large kernels are wanted
NARROWEST = 1024  # vocabulary entries per block, at least


class TokenStatistics(NamedTuple):
    """Per-token quantities of p = softmax(z / temperature), in nats, each of the shape of the tokens.

    `log_prob`: log p of the token itself. `entropy`: -sum p log p. `sum_p2`: sum p^2, the chance that two draws agree.
    `sum_p2_log_p`: sum p^2 log p.
    """

    log_prob: torch.Tensor
    entropy: torch.Tensor
    sum_p2: torch.Tensor
    sum_p2_log_p: torch.Tensor


def token_statistics_reference(
    tokens: torch.Tensor, logits: torch.Tensor, *, temperature: float = 1.0, entropy_grad: bool = False
) -> TokenStatistics:
    """The definition, written out: holds several arrays of the size of the logits. Works under `torch.func`.

    `tokens` int64 [...], `logits` [..., vocabulary]; computed in the precision of the logits, float32 at least.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    log_p = (logits / temperature).log_softmax(-1)
    log_prob = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    wide = log_p if entropy_grad else log_p.detach()
    p_log_p = wide.exp() * wide.clamp(min=torch.finfo(wide.dtype).min)  # 0 log 0 = 0
    with torch.no_grad():
        p = wide.exp()
        sum_p2, sum_p2_log_p = (p * p).sum(-1), (p * p_log_p).sum(-1)
    return TokenStatistics(log_prob, -p_log_p.sum(-1), sum_p2, sum_p2_log_p)


def token_statistics(
    tokens: torch.Tensor,
    logits: torch.Tensor | None = None,
    *,
    hidden: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    temperature: float = 1.0,
    entropy_grad: bool = False,
    block: tuple[int, int] | None = None,
) -> TokenStatistics:
    """Statistics of each token under softmax(z / temperature); see `TokenStatistics`.

    z is either `logits` [..., vocabulary] or `hidden` [..., d] @ `weight` [vocabulary, d].T + `bias` [vocabulary].
    Row t of z is the distribution that `tokens` [...] at t was drawn from: shifting by one is the caller's.
    Gradients flow through `log_prob` and, with `entropy_grad`, through `entropy`, once (not twice); the moments carry
    none. float16 and bfloat16 inputs are computed, and answered, in float32. A logit may be -inf (impossible token).
    `block` = (tokens, vocabulary entries) held at a time; by default what fits the cache.
    ValueError: shapes that do not fit, an id outside the vocabulary, a logit NaN or +inf, a row with nothing but -inf.
    """
    vocabulary = _check(tokens, logits, hidden, weight, bias, temperature, block)
    source = hidden if logits is None else logits
    flat = source.reshape(tokens.numel(), source.shape[-1])
    if block is None:
        room = CACHED if source.device.type == "cpu" else BUFFERED
        wide = min(vocabulary, max(NARROWEST, room // max(1, len(flat))))
        block = max(1, room // wide), wide
    with torch.autocast(source.device.type, enabled=False):
        found = _Blockwise.apply(tokens.reshape(-1), flat, weight, bias, temperature, entropy_grad, block)
    return TokenStatistics(*(value.reshape(tokens.shape) for value in found))


class _Blockwise(torch.autograd.Function):
    """`source` is logits [n, v] when `weight` is None, else hidden states [n, d]."""

    @staticmethod
    def forward(ctx, tokens, source, weight, bias, temperature, entropy_grad, block):
        ctx.options = temperature, entropy_grad, block
        dtype, exact = _dtypes(source)
        n = len(tokens)
        top = torch.full((n, 1), torch.finfo(dtype).min, dtype=dtype, device=source.device)
        own = torch.zeros((n, 1), dtype=dtype, device=source.device)
        sums = torch.zeros((4, n, 1), dtype=exact, device=source.device)
        for rows, columns, z in _blocks(source, weight, bias, block):
            _take_own(own[rows], z, tokens[rows], columns)
            m = torch.maximum(top[rows], z.amax(1, keepdim=True))
            e, z = _exponentials(z, m, temperature)
            s = e.sum(1, keepdim=True, dtype=exact)
            b = _dot(e, e)
            z.mul_(e)
            here = torch.stack([s, z.sum(1, keepdim=True).to(exact), b.to(exact), _dot(e, z).to(exact)])
            sums[:, rows] = _moved(sums[:, rows], (top[rows].to(exact) - m.to(exact)) / temperature) + here
            top[rows] = m
        s, a, b, c = sums
        bad = ~(s > 0)
        if bad.any():
            name = "logits" if weight is None else "hidden @ weight.T"
            row = bad[:, 0].nonzero()[0, 0].item()
            got = "-inf everywhere" if s[row] == 0 else "NaN or +inf"
            raise ValueError(
                f"{name}: got {got} at token {row}, allowed: finite numbers, and -inf for impossible tokens"
            )
        log_s = s.log()
        entropy = log_s - a / s
        log_prob = (own.to(exact) - top.to(exact)) / temperature - log_s
        ctx.save_for_backward(tokens, source, weight, bias, top, log_s.to(dtype), entropy.to(dtype))
        moments = b / s**2, (c - b * log_s) / s**2
        found = tuple(value[:, 0].to(dtype) for value in (log_prob, entropy, *moments))
        ctx.mark_non_differentiable(*found[2 if entropy_grad else 1 :])
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_log_prob, grad_entropy, *_):
        tokens, source, weight, bias, top, log_s, entropy = ctx.saved_tensors
        temperature, entropy_grad, block = ctx.options
        dtype, _ = _dtypes(source)
        _, needs_source, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        grad_source = torch.zeros_like(source, dtype=dtype if weight is not None else None) if needs_source else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=dtype) if needs_bias else None
        g = grad_log_prob.unsqueeze(1) / temperature
        h = grad_entropy.unsqueeze(1) / temperature if entropy_grad else None
        for rows, columns, z in _blocks(source, weight, bias, block):
            p, log_p = _exponentials(z, top[rows], temperature, log_s[rows])
            if entropy_grad:  # dz = -p (g + h (log p + H)), and g more at the token itself
                dz = log_p.add_(entropy[rows]).mul_(h[rows]).add_(g[rows]).mul_(p).neg_()
            else:
                dz = p.mul_(-g[rows])
            _add_own(dz, g[rows], tokens[rows], columns)
            if weight is None:
                grad_source[rows, columns] = dz
                continue
            if needs_source:
                grad_source[rows].addmm_(dz, weight[columns].to(dtype))
            if needs_weight:
                if rows.start == 0:
                    part = torch.zeros_like(weight[columns], dtype=dtype)
                grad_weight[columns] = part.addmm_(dz.T, source[rows].to(dtype))
            if needs_bias:
                grad_bias[columns] += dz.sum(0)
        grads = grad_source, grad_weight, grad_bias
        grads = [x if x is None else x.to(like.dtype) for x, like in zip(grads, (source, weight, bias), strict=True)]
        return None, *grads, None, None, None


def _dtypes(source):
    """The type the blocks are computed in, and that of the running sums (float64 where the device has it)."""
    dtype = torch.float64 if source.dtype == torch.float64 else torch.float32
    return dtype, dtype if source.device.type == "mps" else torch.float64


def _blocks(source, weight, bias, block):
    """Yield (rows, columns, z): slices, and the logits of that block in a buffer that the next block overwrites."""
    dtype, _ = _dtypes(source)
    n, v = len(source), source.shape[1] if weight is None else len(weight)
    buffer = torch.empty(min(n, block[0]) * min(v, block[1]), dtype=dtype, device=source.device)
    for first in range(0, v, block[1]):
        columns = slice(first, min(v, first + block[1]))
        if weight is not None:
            w = weight[columns].to(dtype).T
            shift = buffer.new_zeros(1) if bias is None else bias[columns].to(dtype)
        for start in range(0, n, block[0]):
            rows = slice(start, min(n, start + block[0]))
            shape = rows.stop - rows.start, columns.stop - columns.start
            z = buffer[: shape[0] * shape[1]].view(shape)
            if weight is None:
                z.copy_(source[rows, columns])
            else:
                torch.addmm(shift, source[rows].to(dtype), w, beta=0 if bias is None else 1, out=z)
            yield rows, columns, z


def _exponentials(z, m, temperature, log_s=None):
    """(exp z', z') with z' = (z - m) / temperature - log_s; overwrites z. Where exp is 0, z' is a finite number."""
    z.sub_(m)
    if temperature != 1:
        z.div_(temperature)
    if log_s is not None:
        z.sub_(log_s)
    z.clamp_(min=-110 if z.dtype == torch.float32 else -750)
    return z.exp(), z


def _moved(sums, shift):
    """The four sums [4, n, 1] over exp z' after every z' has become z' + shift, shift <= 0."""
    s, a, b, c = sums
    shift = shift.clamp(min=-750)
    factor = shift.exp()
    return torch.stack([s * factor, (a + shift * s) * factor, b * factor**2, (c + shift * b) * factor**2])


def _dot(x, y):
    return torch.linalg.vecdot(x, y).unsqueeze(1)


def _take_own(own, z, tokens, columns):
    """Put the logits of the tokens that lie in this block into `own` [n, 1]."""
    place = tokens - columns.start
    inside = (place >= 0) & (place < z.shape[1])
    own.copy_(torch.where(inside.unsqueeze(1), z.gather(1, place.clamp(0, z.shape[1] - 1).unsqueeze(1)), own))


def _add_own(dz, g, tokens, columns):
    """Add g [n, 1] at the tokens that lie in this block."""
    place = tokens - columns.start
    inside = (place >= 0) & (place < dz.shape[1])
    dz.scatter_add_(1, place.clamp(0, dz.shape[1] - 1).unsqueeze(1), torch.where(inside.unsqueeze(1), g, 0.0))


def _check(tokens, logits, hidden, weight, bias, temperature, block):
    """Raise a ValueError that names the argument; return the size of the vocabulary."""
    if (
        (logits is None) == (hidden is None)
        or (hidden is None) != (weight is None)
        or (weight is None and bias is not None)
    ):
        raise ValueError("logits: got none or both forms, allowed: logits, or hidden with weight (and perhaps bias)")
    source, name = (hidden, "hidden") if logits is None else (logits, "logits")
    if source.ndim == 0 or source.shape[:-1] != tokens.shape or not source.shape[-1] or not source.is_floating_point():
        got = f"{tuple(source.shape)} {source.dtype}"
        raise ValueError(f"{name}: got {got}, allowed: floating, of the tokens' shape {tuple(tokens.shape)} + (size,)")
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != hidden.shape[-1] or not len(weight)):
        raise ValueError(f"weight: got {tuple(weight.shape)}, allowed: (vocabulary of at least 1, {hidden.shape[-1]})")
    vocabulary = logits.shape[-1] if weight is None else len(weight)
    if bias is not None and bias.shape != (vocabulary,):
        raise ValueError(f"bias: got {tuple(bias.shape)}, allowed: ({vocabulary},)")
    if tokens.dtype != torch.long:
        raise ValueError(f"tokens: got {tokens.dtype}, allowed: torch.int64")
    if tokens.numel() and (tokens.min() < 0 or tokens.max() >= vocabulary):
        low, high = tokens.min().item(), tokens.max().item()
        raise ValueError(f"tokens: got ids from {low} to {high}, allowed: 0 to {vocabulary - 1}")
    if not (isinstance(temperature, (int, float)) and temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: got {temperature!r}, allowed: a finite number above 0")
    if block is not None and not (len(block) == 2 and min(block) >= 1):
        raise ValueError(f"block: got {block!r}, allowed: (tokens, vocabulary entries), each at least 1")
    return vocabulary
