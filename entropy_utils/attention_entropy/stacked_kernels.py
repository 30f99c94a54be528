"""The compiled parts of `stacked_block.FastBlock`: attention, LayerNorm and GELU of one model, the images along the last
axis.

A tiny model's attention is thousands of 17 x 8 matrices, too small for any matrix product to be fast. With the images of a
batch last in memory, every multiplication acts on a whole row of images at once.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"contract", "nsz", "arcp", "reassoc"}  # reorder sums; NaN and infinity stay what they are
ZERO, ONE, TWO, THREE, FOUR, EIGHT, SIXTEEN = (np.uint64(number) for number in (0, 1, 2, 3, 4, 8, 16))
LEAST = np.float32(-87)  # exp of less is not a normal number of float32
LAST_BIT, ONE_BITS = np.float32(2**23), np.float32(127 * 2**23)  # the last bit of a float32's exponent; the bits of 1.0
LARGE = 1e200  # of a product, before its logarithm is taken
HALF_ROOT, DENSITY = 2**-0.5, (2 * np.pi) ** -0.5  # 1 / sqrt(2); the normal density at 0
EPS = 1e-5  # of torch's LayerNorm


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _products(into, at, a, first_a, step_a, b, first_b, step_b, count):
    """into[at] = sum over k < count of a[first_a + k step_a] b[first_b + k step_b]; rows of images, multiplied one by one.

    The first 16 or 8 terms at once: a sum of known length stays in registers. Numbers of rows are unsigned: numba would
    ask of a signed one whether it counts from the end, which takes as long as the products.
    """
    at, batch, begun = np.uint64(at), np.uint64(into.shape[1]), np.uint64(0)
    first_a, step_a, first_b, step_b = np.uint64(first_a), np.uint64(step_a), np.uint64(first_b), np.uint64(step_b)
    if count >= 16:
        begun = SIXTEEN
        for x in range(batch):
            found = np.float32(0)
            for k in range(SIXTEEN):
                found += a[first_a + k * step_a, x] * b[first_b + k * step_b, x]
            into[at, x] = found
    elif count >= 8:
        begun = EIGHT
        for x in range(batch):
            found = np.float32(0)
            for k in range(EIGHT):
                found += a[first_a + k * step_a, x] * b[first_b + k * step_b, x]
            into[at, x] = found
    else:
        into[at] = 0
    for k in range(begun, np.uint64(count)):
        for x in range(batch):
            into[at, x] += a[first_a + k * step_a, x] * b[first_b + k * step_b, x]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _exp(into, at, exponents, power):
    """into[at] = exp of a row of numbers from -87 to 0; `power` is a row to work in.

    exp as 2^n times a polynomial on [-log(2) / 2, log(2) / 2] (coefficients: Cephes library), good to float32's last
    digit. The bits of 2^n, read as an integer, are 2^23 (n + 127).
    """
    at, batch, bits = np.uint64(at), np.uint64(into.shape[1]), power.view(np.int32)
    for x in range(batch):
        n = np.floor(exponents[x] * np.float32(1.44269504) + np.float32(0.5))
        bits[x] = np.int32(n * LAST_BIT + ONE_BITS)
        into[at, x] = exponents[x] - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    for x in range(batch):
        r = into[at, x]
        y = np.float32(1.9875691500e-4)
        y = y * r + np.float32(1.3981999507e-3)
        y = y * r + np.float32(8.3334519073e-3)
        y = y * r + np.float32(4.1665795894e-2)
        y = y * r + np.float32(1.6666665459e-1)
        y = y * r + np.float32(5.0000001201e-1)
        into[at, x] = (y * r * r + r + np.float32(1)) * power[x]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _softmax(p, first, tokens, scale, most, work):
    """Products q k in the `tokens` rows from `first` on become probabilities; returns the sum of the entropies.

    Probabilities below e^-87 of the largest are taken for that. `most` becomes the largest absolute logit so far; unlike
    max, np.maximum hands on a NaN (and is the faster one here).
    """
    batch = np.uint64(p.shape[1])
    top, low, total, weighted, away, power = work[0], work[1], work[2], work[3], work[4], work[5]
    top[:], low[:] = -np.inf, np.inf
    total[:], weighted[:] = 0, 0
    for row in range(np.uint64(first), np.uint64(first + tokens)):
        for x in range(batch):
            top[x] = np.maximum(top[x], p[row, x])
            low[x] = np.minimum(low[x], p[row, x])
    for x in range(batch):
        most[x] = np.maximum(most[x], scale * np.maximum(top[x], -low[x]))
    for row in range(np.uint64(first), np.uint64(first + tokens)):
        for x in range(batch):
            below = scale * (p[row, x] - top[x])
            away[x] = LEAST if below < LEAST else below
        _exp(p, row, away, power)
        for x in range(batch):
            total[x] += p[row, x]
            weighted[x] += p[row, x] * away[x]
    entropy, product = 0.0, 1.0
    for x in range(batch):
        entropy -= weighted[x] / total[x]
        product *= total[x]
        if product > LARGE:  # one logarithm for many factors
            entropy += np.log(product)
            product = 1.0
        total[x] = np.float32(1) / total[x]
    for row in range(np.uint64(first), np.uint64(first + tokens)):
        for x in range(batch):
            p[row, x] *= total[x]
    return entropy + np.log(product)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _tanh(rows, at, scale, work):
    """rows[at] = tanh(scale rows[at]), by exp of a negative number."""
    at, batch, e, exponents, power = np.uint64(at), np.uint64(rows.shape[1]), work[:1], work[1], work[2]
    for x in range(batch):
        below = np.float32(-2) * abs(scale * rows[at, x])
        exponents[x] = LEAST if below < LEAST else below
    _exp(e, 0, exponents, power)
    for x in range(batch):
        size = (np.float32(1) - e[ZERO, x]) / (np.float32(1) + e[ZERO, x])
        rows[at, x] = size if rows[at, x] > np.float32(0) else -size


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _attention_forward(joint, out, p, entropy, largest, queries, tokens, scale, cap):
    """Arrays as rows of images: joint (3 heads size tokens, batch), out (heads size queries, batch), p (heads tokens tokens,
    batch); p[head, query, key], entropy and largest (heads,) are filled on the way. `size`: width of a head; cap: of the
    logits, 0 for none."""
    heads, size, scale, cap = len(entropy), len(joint) // (3 * len(entropy) * tokens), np.float32(scale), np.float32(cap)
    work, most = np.empty((6, joint.shape[1]), np.float32), np.empty(joint.shape[1], np.float32)
    part = heads * size * tokens
    for h in range(heads):
        q, rows, o = h * size * tokens, h * tokens * tokens, h * size * queries
        k, v = q + part, q + 2 * part
        most[:] = 0
        found = 0.0
        for i in range(tokens):
            for j in range(tokens):
                _products(p, rows + i * tokens + j, joint, q + i, tokens, joint, k + j, tokens, size)
                if cap > 0:
                    _tanh(p, rows + i * tokens + j, scale / cap, work)
            found += _softmax(p, rows + i * tokens, tokens, cap if cap > 0 else scale, most, work)
            if i < queries:
                for c in range(size):
                    at = o + c * queries + i
                    _products(out, at, p, rows + i * tokens, 1, joint, v + c * tokens, 1, tokens)
        entropy[h] = found / (tokens * joint.shape[1])
        largest[h] = most.max()


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _attention_backward(joint, out, p, grad, found, heads, queries, tokens, scale, cap):
    """With G the gradient of the output O: dV = p^T G, dS = p (G V^T - sum of G O), dQ = dS K, dK = dS^T Q; with a soft-cap
    dS has the factor 1 - tanh^2."""
    size, scale, cap = len(joint) // (3 * heads * tokens), np.float32(scale), np.float32(cap)
    capped, work = np.empty((1, joint.shape[1]), np.float32), np.empty((3, joint.shape[1]), np.float32)
    inner, d_logits = np.empty((1, joint.shape[1]), np.float32), np.empty((queries * tokens, joint.shape[1]), np.float32)
    part = heads * size * tokens
    for h in range(heads):
        q, rows, o = h * size * tokens, h * tokens * tokens, h * size * queries
        k, v = q + part, q + 2 * part
        for i in range(queries):
            _products(inner, 0, grad, o + i, queries, out, o + i, queries, size)
            for j in range(tokens):
                at = i * tokens + j
                _products(d_logits, at, grad, o + i, queries, joint, v + j, tokens, size)
                for x in range(joint.shape[1]):
                    d_logits[at, x] = scale * p[rows + at, x] * (d_logits[at, x] - inner[0, x])
                if cap > 0:
                    _products(capped, 0, joint, q + i, tokens, joint, k + j, tokens, size)
                    _tanh(capped, 0, scale / cap, work)
                    for x in range(joint.shape[1]):
                        d_logits[at, x] *= np.float32(1) - capped[0, x] * capped[0, x]
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
    """LayerNorm over axis 0 of x (features, n); moments (2, n): mean and 1 / standard deviation."""
    features, n = x.shape
    mean, scale = moments[0], moments[1]
    mean[:] = 0
    scale[:] = 0
    for f in range(features):
        for b in range(n):
            mean[b] += x[f, b]
    for b in range(n):
        mean[b] /= np.float32(features)
    for f in range(features):
        for b in range(n):
            away = x[f, b] - mean[b]
            scale[b] += away * away
    for b in range(n):
        scale[b] = np.float32(1) / np.sqrt(scale[b] / np.float32(features) + np.float32(EPS))
    for f in range(features):
        g, a = gain[f], shift[f]
        for b in range(n):
            out[f, b] = (x[f, b] - mean[b]) * scale[b] * g + a


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _norm_backward(x, gain, moments, grad, found, d_gain, d_shift):
    features, n = x.shape
    sums = np.zeros((2, n), np.float32)
    mean, scale = moments[0], moments[1]
    for f in range(features):
        g, along, total = gain[f], np.float32(0), np.float32(0)
        for b in range(n):
            unit = (x[f, b] - mean[b]) * scale[b]
            along += grad[f, b] * unit
            total += grad[f, b]
            sums[0, b] += g * grad[f, b]
            sums[1, b] += g * grad[f, b] * unit
        d_gain[f], d_shift[f] = along, total
    for b in range(n):
        sums[0, b] /= np.float32(features)
        sums[1, b] /= np.float32(features)
    for f in range(features):
        g = gain[f]
        for b in range(n):
            unit = (x[f, b] - mean[b]) * scale[b]
            found[f, b] = scale[b] * (g * grad[f, b] - sums[0, b] - unit * sums[1, b])


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _gelu_forward(x, bias, out, slope):
    """z Phi(z) and its slope Phi(z) + z phi(z), for z = x + bias: x, out and slope (features, n), bias (features,).

    Phi, the normal distribution, to 1e-7 (Abramowitz and Stegun 1964, 7.1.26).
    """
    n = np.uint64(x.shape[1])
    exponents, power = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
    for row in range(np.uint64(len(bias))):
        shift = bias[row]
        for b in range(n):
            z = x[row, b] + shift
            below = np.float32(-0.5) * z * z
            exponents[b] = LEAST if below < LEAST else below
        _exp(slope, row, exponents, power)
        for b in range(n):
            z, e = x[row, b] + shift, slope[row, b]
            t = np.float32(1) / (np.float32(1) + np.float32(0.3275911 * HALF_ROOT) * abs(z))
            y = np.float32(1.061405429)
            y = y * t - np.float32(1.453152027)
            y = y * t + np.float32(1.421413741)
            y = y * t - np.float32(0.284496736)
            y = y * t + np.float32(0.254829592)
            tail = np.float32(0.5) * y * t * e
            below = tail if z < np.float32(0) else np.float32(1) - tail
            out[row, b] = z * below
            slope[row, b] = below + z * e * np.float32(DENSITY)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _add_bias(x, bias, also):
    """x += also + bias; x (features, n), also at least as wide."""
    for f in range(x.shape[0]):
        for b in range(x.shape[1]):
            x[f, b] += also[f, b] + bias[f]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _product(weight, x, into):
    """into = weight @ x. Four rows of x, read once, serve four of the result: BLAS is slower for so few rows so long."""
    if weight.shape[0] % 4 or weight.shape[1] % 4:
        np.dot(weight, x, into)
        return
    into[:] = 0
    for row in range(ZERO, np.uint64(weight.shape[0]), FOUR):
        for k in range(ZERO, np.uint64(weight.shape[1]), FOUR):
            for n in range(np.uint64(x.shape[1])):
                x0, x1, x2, x3 = x[k, n], x[k + ONE, n], x[k + TWO, n], x[k + THREE, n]
                for at in range(row, row + FOUR):
                    pair = weight[at, k] * x0 + weight[at, k + ONE] * x1
                    into[at, n] += pair + weight[at, k + TWO] * x2 + weight[at, k + THREE] * x3


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _product_backward(grad, x, d_weight, d_bias):
    """Gradients of weight and bias of a product weight @ x + bias: grad @ x^T, in tiles of 4 x 2, and the sums of rows."""
    for row in range(len(d_bias)):
        total = np.float32(0)
        for n in range(grad.shape[1]):
            total += grad[row, n]
        d_bias[row] = total
    if d_weight.shape[0] % 4 or d_weight.shape[1] % 2:
        np.dot(grad, x.T, d_weight)
        return
    for a in range(ZERO, np.uint64(len(grad)), FOUR):
        b, c, d = a + ONE, a + TWO, a + THREE
        for k in range(ZERO, np.uint64(len(x)), TWO):
            m = k + ONE
            ak = bk = ck = dk = am = bm = cm = dm = np.float32(0)
            for n in range(np.uint64(grad.shape[1])):
                ak += grad[a, n] * x[k, n]
                bk += grad[b, n] * x[k, n]
                ck += grad[c, n] * x[k, n]
                dk += grad[d, n] * x[k, n]
                am += grad[a, n] * x[m, n]
                bm += grad[b, n] * x[m, n]
                cm += grad[c, n] * x[m, n]
                dm += grad[d, n] * x[m, n]
            d_weight[a, k], d_weight[b, k], d_weight[c, k], d_weight[d, k] = ak, bk, ck, dk
            d_weight[a, m], d_weight[b, m], d_weight[c, m], d_weight[d, m] = am, bm, cm, dm


@njit(fastmath=FAST, error_model="numpy", cache=True)
def block_forward(w, kept, result, entropy, largest, tokens, queries, scale, cap, pre, post, qk):
    """`stacked_block.block` of one model after the other; `w` and `kept` hold arrays (S, ...)."""
    stack, heads = entropy.shape
    width, n = kept.x.shape[1:]
    batch, size = n // tokens, width // heads
    z = np.empty(kept.active.shape[1:], np.float32)
    for s in range(stack):
        joint, p, mixed, a, x1, c = kept.joint[s], kept.p[s], kept.mixed[s], kept.a[s], kept.x1[s], kept.c[s]
        if pre:
            _norm_forward(kept.x[s], w.gain1[s], w.shift1[s], kept.y[s], kept.moments1[s])
        _product(w.qkv[s], kept.y[s], joint)
        for f in range(3 * width):
            joint[f] += w.b_qkv[s, f]
        if qk:
            raw = kept.raw[s]
            raw[:] = joint[: 2 * width]
            for h in range(2 * heads):
                at, to = h * size, (h + 1) * size
                _norm_forward(raw[at:to], w.gain_qk[s, h], w.shift_qk[s, h], joint[at:to], kept.moments_qk[s, h])
        rows = (joint.reshape(-1, batch), mixed.reshape(-1, batch), p)
        _attention_forward(rows[0], rows[1], rows[2], entropy[s], largest[s], queries, tokens, scale, cap)
        _product(w.out[s], mixed, a)
        _add_bias(a, w.b_out[s], kept.x[s])
        if post:
            _norm_forward(a, w.gain1[s], w.shift1[s], x1, kept.moments1[s])
        if pre:
            _norm_forward(x1, w.gain2[s], w.shift2[s], kept.y1[s], kept.moments2[s])
        _product(w.up[s], kept.y1[s], z)
        _gelu_forward(z, w.b_up[s], kept.active[s], kept.slope[s])
        _product(w.down[s], kept.active[s], c)
        _add_bias(c, w.b_down[s], x1)
        if post:
            _norm_forward(c, w.gain2[s], w.shift2[s], result[s], kept.moments2[s])


@njit(fastmath=FAST, error_model="numpy", cache=True)
def block_backward(w, kept, grad, d_x, d, heads, tokens, queries, scale, cap, pre, post, qk):
    """From the gradient of the result that of x and of the weights: `d` like `w`."""
    stack, width, n = kept.x.shape
    m, batch, size = grad.shape[2], n // tokens, width // heads
    d_z, d_joint = np.empty(kept.active.shape[1:], np.float32), np.empty((3 * width, n), np.float32)
    d_raw, d_y = np.empty((2 * width, n), np.float32), np.empty((width, n), np.float32)
    d_sum, d_x1 = np.empty((width, m), np.float32), np.empty((width, m), np.float32)
    d_y1, d_mixed = np.empty((width, m), np.float32), np.empty((width, m), np.float32)
    for s in range(stack):
        d_c, d_a = grad[s], d_x1
        if post:
            d_c, d_a = d_sum, d_y1
            _norm_backward(kept.c[s], w.gain2[s], kept.moments2[s], grad[s], d_c, d.gain2[s], d.shift2[s])
        _product_backward(d_c, kept.active[s], d.down[s], d.b_down[s])
        _product(np.ascontiguousarray(w.down[s].T), d_c, d_z)
        for f in range(len(d_z)):
            d_z[f] *= kept.slope[s, f]
        _product_backward(d_z, kept.y1[s], d.up[s], d.b_up[s])
        if pre:
            _product(np.ascontiguousarray(w.up[s].T), d_z, d_y1)
            _norm_backward(kept.x1[s], w.gain2[s], kept.moments2[s], d_y1, d_x1, d.gain2[s], d.shift2[s])
        else:
            _product(np.ascontiguousarray(w.up[s].T), d_z, d_x1)
        d_x1 += d_c
        if post:
            _norm_backward(kept.a[s], w.gain1[s], kept.moments1[s], d_x1, d_a, d.gain1[s], d.shift1[s])
        _product_backward(d_a, kept.mixed[s], d.out[s], d.b_out[s])
        _product(np.ascontiguousarray(w.out[s].T), d_a, d_mixed)
        rows = (kept.joint[s].reshape(-1, batch), kept.mixed[s].reshape(-1, batch), kept.p[s], d_mixed.reshape(-1, batch))
        to = d_joint.reshape(-1, batch)
        _attention_backward(rows[0], rows[1], rows[2], rows[3], to, heads, queries, tokens, scale, cap)
        if qk:
            for h in range(2 * heads):
                at, to = h * size, (h + 1) * size
                part, raw, into = d_joint[at:to], kept.raw[s, at:to], d_raw[at:to]
                _norm_backward(raw, w.gain_qk[s, h], kept.moments_qk[s, h], part, into, d.gain_qk[s, h], d.shift_qk[s, h])
            d_joint[: 2 * width] = d_raw
        _product_backward(d_joint, kept.y[s], d.qkv[s], d.b_qkv[s])
        if pre:
            _product(np.ascontiguousarray(w.qkv[s].T), d_joint, d_y)
            _norm_backward(kept.x[s], w.gain1[s], kept.moments1[s], d_y, d_x[s], d.gain1[s], d.shift1[s])
        else:
            _product(np.ascontiguousarray(w.qkv[s].T), d_joint, d_x[s])
        for f in range(width):
            for b in range(m):
                d_x[s, f, b] += d_a[f, b]
