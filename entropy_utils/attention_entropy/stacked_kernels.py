"""The compiled parts of `stacked_vit.StackedViT` on a CPU: attention and LayerNorm with the images along the last axis.

A tiny model's attention is thousands of 17 x 8 matrices, too small for any matrix product to be fast. With the images of a
batch last in memory, every multiplication acts on a whole row of images at once. Each kernel has its plain version
(`attention`, `layer_norm`) in torch, which states the equation, works in any precision and on any device, and which the
compiled one is tested against.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from .rivals import soft_cap

FAST = {"contract", "nsz", "arcp", "reassoc"}  # reorder sums; NaN and infinity stay what they are
EPS = 1e-5  # of torch's LayerNorm


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


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm over axis 1 of (S, features, n); gain and shift (S, features)."""
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + EPS) * gain[..., None] + shift[..., None]


class FastAttention(torch.autograd.Function):
    """`attention` without soft-cap in float32 on a CPU. No second derivatives: torch raises when they are asked for."""

    @staticmethod
    def forward(ctx, joint, queries, scale):
        stack, _, heads, size, tokens, batch = joint.shape
        joint = joint.contiguous()
        out = joint.new_empty(stack, heads, size, queries, batch)
        p = joint.new_empty(stack, heads, tokens, tokens, batch)
        entropy, largest = joint.new_empty(2, stack, heads)
        _attention_forward(*_rows(joint, out, p), entropy.numpy(), largest.numpy(), queries, tokens, size, np.float32(scale))
        ctx.save_for_backward(joint, out, p)
        ctx.scale = scale
        ctx.mark_non_differentiable(entropy, largest)
        return out, entropy, largest

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        joint, out, p = ctx.saved_tensors
        found = torch.empty_like(joint)
        sizes = (joint.shape[0], joint.shape[2], out.shape[3], joint.shape[4], joint.shape[3])
        _attention_backward(*_rows(joint, out, p, grad.contiguous(), found), *sizes, np.float32(ctx.scale))
        return found, None, None


class FastLayerNorm(torch.autograd.Function):
    """`layer_norm` in float32 on a CPU, without second derivatives."""

    @staticmethod
    def forward(ctx, x, gain, shift):
        x, gain, shift = x.contiguous(), gain.contiguous(), shift.contiguous()
        out, moments = torch.empty_like(x), x.new_empty(len(x), 2, x.shape[2])
        _norm_forward(*(tensor.detach().numpy() for tensor in (x, gain, shift, out, moments)))
        ctx.save_for_backward(x, gain, moments)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, gain, moments = ctx.saved_tensors
        found, d_gain, d_shift = torch.empty_like(x), torch.empty_like(gain), torch.empty_like(gain)
        arrays = (x, gain, moments, grad.contiguous(), found, d_gain, d_shift)
        _norm_backward(*(tensor.detach().numpy() for tensor in arrays))
        return found, d_gain, d_shift


def _rows(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as arrays of two axes that share their memory: rows of images."""
    return [tensor.detach().numpy().reshape(-1, tensor.shape[-1]) for tensor in tensors]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _products(into, at, a, first_a, step_a, b, first_b, step_b, count):
    """into[at] = sum over k < count of a[first_a + k step_a] b[first_b + k step_b]; rows of images, multiplied one by one.

    Eight terms at once: a sum of known length stays in registers.
    """
    batch, whole = into.shape[1], count - count % 8
    if not whole:
        into[at] = 0
    for k in range(0, whole, 8):
        for x in range(batch):
            found = np.float32(0)
            for m in range(8):
                found += a[first_a + (k + m) * step_a, x] * b[first_b + (k + m) * step_b, x]
            if k == 0:
                into[at, x] = found
            else:
                into[at, x] += found
    for k in range(whole, count):
        for x in range(batch):
            into[at, x] += a[first_a + k * step_a, x] * b[first_b + k * step_b, x]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _softmax(p, first, tokens, scale, most, work):
    """Logits over `scale` in the `tokens` rows from `first` on become probabilities; returns the sum of the entropies.

    exp as 2^n times a polynomial on [-log(2) / 2, log(2) / 2] (coefficients: Cephes library), good to float32's last
    digit; probabilities below e^-87 of the largest are taken for that.
    """
    batch = p.shape[1]
    top, total, weighted, away, power = work[0], work[1], work[2], work[3], work[4]
    bits = power.view(np.int32)
    top[:] = -np.inf
    total[:] = 0
    weighted[:] = 0
    for row in range(first, first + tokens):
        for x in range(batch):
            logit = scale * p[row, x]
            p[row, x] = logit
            top[x] = logit if logit > top[x] else top[x]
            size = abs(logit)
            most[x] = most[x] if most[x] >= size or most[x] != most[x] else size  # a NaN comes in, and stays
    for row in range(first, first + tokens):
        for x in range(batch):
            below = p[row, x] - top[x]
            below = np.float32(-87) if below < np.float32(-87) else below
            n = np.floor(below * np.float32(1.44269504) + np.float32(0.5))
            r = below - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
            y = np.float32(1.9875691500e-4)
            y = y * r + np.float32(1.3981999507e-3)
            y = y * r + np.float32(8.3334519073e-3)
            y = y * r + np.float32(4.1665795894e-2)
            y = y * r + np.float32(1.6666665459e-1)
            y = y * r + np.float32(5.0000001201e-1)
            bits[x] = (np.int32(n) + np.int32(127)) << np.int32(23)
            away[x] = below
            p[row, x] = y * r * r + r + np.float32(1)
        for x in range(batch):
            e = p[row, x] * power[x]
            p[row, x] = e
            total[x] += e
            weighted[x] += e * away[x]
    entropy = 0.0
    for x in range(batch):
        entropy += np.log(total[x]) - weighted[x] / total[x]
        total[x] = np.float32(1) / total[x]
    for row in range(first, first + tokens):
        for x in range(batch):
            p[row, x] *= total[x]
    return entropy


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _attention_forward(joint, out, p, entropy, largest, queries, tokens, size, scale):
    """Arrays as rows of images: joint (S 3 heads size tokens, batch), out (S heads size queries, batch), p (S heads tokens
    tokens, batch); p[query, key] is filled on the way."""
    stack, heads = entropy.shape
    work, most = np.empty((5, joint.shape[1]), np.float32), np.empty(joint.shape[1], np.float32)
    part = heads * size * tokens
    for s in range(stack):
        for h in range(heads):
            q = 3 * s * part + h * size * tokens
            k, v, rows, o = q + part, q + 2 * part, (s * heads + h) * tokens * tokens, (s * heads + h) * size * queries
            most[:] = 0
            found = 0.0
            for i in range(tokens):
                for j in range(tokens):
                    _products(p, rows + i * tokens + j, joint, q + i, tokens, joint, k + j, tokens, size)
                found += _softmax(p, rows + i * tokens, tokens, scale, most, work)
                if i < queries:
                    for c in range(size):
                        at = o + c * queries + i
                        _products(out, at, p, rows + i * tokens, 1, joint, v + c * tokens, 1, tokens)
            entropy[s, h] = found / (tokens * joint.shape[1])
            largest[s, h] = most.max()


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _attention_backward(joint, out, p, grad, found, stack, heads, queries, tokens, size, scale):
    """With G the gradient of the output O: dV = p^T G, dS = p (G V^T - sum of G O), dQ = dS K, dK = dS^T Q."""
    inner, d_logits = np.empty((1, joint.shape[1]), np.float32), np.empty((queries * tokens, joint.shape[1]), np.float32)
    part = heads * size * tokens
    for s in range(stack):
        for h in range(heads):
            q = 3 * s * part + h * size * tokens
            k, v, rows, o = q + part, q + 2 * part, (s * heads + h) * tokens * tokens, (s * heads + h) * size * queries
            for i in range(queries):
                _products(inner, 0, grad, o + i, queries, out, o + i, queries, size)
                for j in range(tokens):
                    at = i * tokens + j
                    _products(d_logits, at, grad, o + i, queries, joint, v + j, tokens, size)
                    for x in range(joint.shape[1]):
                        d_logits[at, x] = scale * p[rows + at, x] * (d_logits[at, x] - inner[0, x])
            for c in range(size):
                for i in range(queries):
                    _products(found, q + c * tokens + i, d_logits, i * tokens, 1, joint, k + c * tokens, 1, tokens)
                for i in range(queries, tokens):
                    found[q + c * tokens + i] = 0
                for j in range(tokens):
                    at = c * tokens + j
                    _products(found, k + at, d_logits, j, tokens, joint, q + c * tokens, 1, queries)
                    _products(found, v + at, p, rows + j, tokens, grad, o + c * queries, 1, queries)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _norm_forward(x, gain, shift, out, moments):
    stack, features, n = x.shape
    for s in range(stack):
        mean, scale = moments[s, 0], moments[s, 1]
        mean[:] = 0
        scale[:] = 0
        for f in range(features):
            for b in range(n):
                mean[b] += x[s, f, b]
        for b in range(n):
            mean[b] /= np.float32(features)
        for f in range(features):
            for b in range(n):
                away = x[s, f, b] - mean[b]
                scale[b] += away * away
        for b in range(n):
            scale[b] = np.float32(1) / np.sqrt(scale[b] / np.float32(features) + np.float32(EPS))
        for f in range(features):
            g, a = gain[s, f], shift[s, f]
            for b in range(n):
                out[s, f, b] = (x[s, f, b] - mean[b]) * scale[b] * g + a


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _norm_backward(x, gain, moments, grad, found, d_gain, d_shift):
    stack, features, n = x.shape
    sums = np.empty((2, n), np.float32)
    for s in range(stack):
        mean, scale = moments[s, 0], moments[s, 1]
        sums[:] = 0
        for f in range(features):
            g, along, total = gain[s, f], np.float32(0), np.float32(0)
            for b in range(n):
                unit = (x[s, f, b] - mean[b]) * scale[b]
                along += grad[s, f, b] * unit
                total += grad[s, f, b]
                sums[0, b] += g * grad[s, f, b]
                sums[1, b] += g * grad[s, f, b] * unit
            d_gain[s, f], d_shift[s, f] = along, total
        for b in range(n):
            sums[0, b] /= np.float32(features)
            sums[1, b] /= np.float32(features)
        for f in range(features):
            g = gain[s, f]
            for b in range(n):
                unit = (x[s, f, b] - mean[b]) * scale[b]
                found[s, f, b] = scale[b] * (g * grad[s, f, b] - sums[0, b] - unit * sums[1, b])
