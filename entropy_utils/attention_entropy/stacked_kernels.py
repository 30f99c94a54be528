"""The compiled parts of `stacked_block.FastBlocks`: attention, LayerNorm, products and GELU of one model after the other,
the images along the last axis.

A tiny model's attention is thousands of 17 x 8 matrices, too small for any matrix product to be fast. With the images of a
batch last in memory, every multiplication acts on a whole row of images at once.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"contract", "nsz", "arcp", "reassoc"}  # reorder sums; NaN and infinity stay what they are
ZERO, ONE, TWO, THREE, FOUR, EIGHT, SIXTEEN = (np.uint64(number) for number in (0, 1, 2, 3, 4, 8, 16))
ROW = np.uint64(64)  # images for which attention is fastest: the experiment's default
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


@njit(inline="always", fastmath=FAST, error_model="numpy")
def _four(into, at, a, first_a, step_a, b, first_b, next_b, step_b, terms, more):
    """Four neighbouring rows of `_sums` in flat arrays with `ROW` numbers a row; `more`: added to what is there."""
    for x in range(ROW):
        s0 = s1 = s2 = s3 = np.float32(0)
        if more:
            s0, s1, s2, s3 = into[at + x], into[at + ROW + x], into[at + TWO * ROW + x], into[at + THREE * ROW + x]
        for k in range(terms):
            one, r = a[first_a + k * step_a + x], first_b + k * step_b + x
            s0 += one * b[r]
            s1 += one * b[r + next_b]
            s2 += one * b[r + TWO * next_b]
            s3 += one * b[r + THREE * next_b]
        into[at + x], into[at + ROW + x], into[at + TWO * ROW + x], into[at + THREE * ROW + x] = s0, s1, s2, s3


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _sums(into, at, a, first_a, step_a, b, first_b, next_b, step_b, count, rows):
    """into[at + m] = sum over k < count of a[first_a + k step_a] b[first_b + m next_b + k step_b], for m < rows.

    Each is one `_products`. Four together read the rows of a once, but are vectorised only where the compiler knows how
    far rows lie apart: with `ROW` images, and with the steps that attention has.
    """
    near, done = step_a == 1 and step_b == 1, 0
    if into.shape[1] == ROW and (count >= 16 if near else next_b == 1 and count >= 8):
        done, begun = rows - rows % 4, SIXTEEN if count >= 16 else EIGHT
        to, flat_a, flat_b = into.reshape(-1), a.reshape(-1), b.reshape(-1)
        ahead_a, ahead_b, beside = np.uint64(step_a) * ROW, np.uint64(step_b) * ROW, np.uint64(next_b) * ROW
        for m in range(0, done, 4):
            o, f, g = np.uint64(at + m) * ROW, np.uint64(first_a) * ROW, np.uint64(first_b + m * next_b) * ROW
            if near:
                _four(to, o, flat_a, f, ROW, flat_b, g, beside, ROW, SIXTEEN, False)
            elif count >= 16:
                _four(to, o, flat_a, f, ahead_a, flat_b, g, ROW, ahead_b, SIXTEEN, False)
            else:
                _four(to, o, flat_a, f, ahead_a, flat_b, g, ROW, ahead_b, EIGHT, False)
            for k in range(begun, np.uint64(count)):
                _four(to, o, flat_a, f + k * ahead_a, ahead_a, flat_b, g + k * ahead_b, beside, ahead_b, ONE, True)
    for m in range(done, rows):
        _products(into, at + m, a, first_a, step_a, b, first_b + m * next_b, step_b, count)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _exp(into, exponents, power):
    """into = exp of numbers from -87 to 0, (n,) each; `power` is room to work in.

    exp as 2^n times a polynomial on [-log(2) / 2, log(2) / 2] (coefficients: Cephes library), good to float32's last
    digit. The bits of 2^n, read as an integer, are 2^23 (n + 127).
    """
    numbers, bits = np.uint64(len(exponents)), power.view(np.int32)
    for x in range(numbers):
        n = np.floor(exponents[x] * np.float32(1.44269504) + np.float32(0.5))
        bits[x] = np.int32(n * LAST_BIT + ONE_BITS)
        into[x] = exponents[x] - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    for x in range(numbers):
        r = into[x]
        y = np.float32(1.9875691500e-4)
        y = y * r + np.float32(1.3981999507e-3)
        y = y * r + np.float32(8.3334519073e-3)
        y = y * r + np.float32(4.1665795894e-2)
        y = y * r + np.float32(1.6666665459e-1)
        y = y * r + np.float32(5.0000001201e-1)
        into[x] = (y * r * r + r + np.float32(1)) * power[x]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _softmax(p, scale, most, work, away, power):
    """Products q k of one query, p (tokens, batch), become probabilities; returns the sum of the entropies.

    Probabilities below e^-87 of the largest are taken for that. `most` becomes the largest absolute logit so far; unlike
    max, np.maximum hands on a NaN (and is the faster one here). work (4, batch), away as p and power (tokens batch,) are
    room to work in.
    """
    tokens, batch = np.uint64(p.shape[0]), np.uint64(p.shape[1])
    top, low, total, weighted = work[0], work[1], work[2], work[3]
    top[:], low[:] = -np.inf, np.inf
    total[:], weighted[:] = 0, 0
    for j in range(tokens):
        for x in range(batch):
            top[x] = np.maximum(top[x], p[j, x])
            low[x] = np.minimum(low[x], p[j, x])
    for x in range(batch):
        most[x] = np.maximum(most[x], scale * np.maximum(top[x], -low[x]))
    for j in range(tokens):
        for x in range(batch):
            below = scale * (p[j, x] - top[x])
            away[j, x] = LEAST if below < LEAST else below
    _exp(p.reshape(-1), away.reshape(-1), power)
    for j in range(tokens):
        for x in range(batch):
            total[x] += p[j, x]
            weighted[x] += p[j, x] * away[j, x]
    entropy, product = 0.0, 1.0
    for x in range(batch):
        entropy -= weighted[x] / total[x]
        product *= total[x]
        if product > LARGE:  # one logarithm for many factors
            entropy += np.log(product)
            product = 1.0
        total[x] = np.float32(1) / total[x]
    for j in range(tokens):
        for x in range(batch):
            p[j, x] *= total[x]
    return entropy + np.log(product)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _tanh(z, scale, e, exponents, power):
    """z = tanh(scale z), by exp of negative numbers; (n,), like `e`, `exponents` and `power`, which are room to work in."""
    n = np.uint64(len(z))
    for x in range(n):
        below = np.float32(-2) * abs(scale * z[x])
        exponents[x] = LEAST if below < LEAST else below
    _exp(e, exponents, power)
    for x in range(n):
        size = (np.float32(1) - e[x]) / (np.float32(1) + e[x])
        z[x] = size if z[x] > np.float32(0) else -size


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _attention_forward(joint, out, p, entropy, largest, queries, tokens, scale, cap):
    """Arrays as rows of images: joint (3 heads size tokens, batch), out (heads size queries, batch), p (heads tokens tokens,
    batch); p[head, query, key], entropy and largest (heads,) are filled on the way. `size`: width of a head; cap: of the
    logits, 0 for none."""
    heads, size, scale, cap = len(entropy), len(joint) // (3 * len(entropy) * tokens), np.float32(scale), np.float32(cap)
    batch, factor = joint.shape[1], scale if cap == 0 else cap
    work, most, away = np.empty((4, batch), np.float32), np.empty(batch, np.float32), np.empty((tokens, batch), np.float32)
    e, power = np.empty(tokens * batch, np.float32), np.empty(tokens * batch, np.float32)
    part = heads * size * tokens
    for h in range(heads):
        q, rows, o = h * size * tokens, h * tokens * tokens, h * size * queries
        k, v = q + part, q + 2 * part
        most[:] = 0
        found = 0.0
        for i in range(tokens):
            at = rows + i * tokens
            _sums(p, at, joint, q + i, tokens, joint, k, 1, tokens, size, tokens)
            if cap > 0:
                _tanh(p[at : at + tokens].reshape(-1), scale / cap, e, away.reshape(-1), power)
            found += _softmax(p[at : at + tokens], factor, most, work, away, power)
        for c in range(size):
            _sums(out, o + c * queries, joint, v + c * tokens, 1, p, rows, tokens, 1, tokens, queries)
        entropy[h] = found / (tokens * batch)
        largest[h] = most.max()


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _attention_backward(joint, out, p, grad, found, heads, queries, tokens, scale, cap):
    """With G the gradient of the output O: dV = p^T G, dS = p (G V^T - sum of G O), dQ = dS K, dK = dS^T Q; with a soft-cap
    dS has the factor 1 - tanh^2."""
    size, scale, cap, batch = len(joint) // (3 * heads * tokens), np.float32(scale), np.float32(cap), joint.shape[1]
    inner, d_logits = np.empty((1, batch), np.float32), np.empty((queries * tokens, batch), np.float32)
    capped, work = np.empty((tokens, batch), np.float32), np.empty((3, tokens * batch), np.float32)
    part = heads * size * tokens
    for h in range(heads):
        q, rows, o = h * size * tokens, h * tokens * tokens, h * size * queries
        k, v = q + part, q + 2 * part
        for i in range(queries):
            _products(inner, 0, grad, o + i, queries, out, o + i, queries, size)
            _sums(d_logits, i * tokens, grad, o + i, queries, joint, v, 1, tokens, size, tokens)
            for at in range(i * tokens, (i + 1) * tokens):
                for x in range(batch):
                    d_logits[at, x] = scale * p[rows + at, x] * (d_logits[at, x] - inner[0, x])
            if cap > 0:
                _sums(capped, 0, joint, q + i, tokens, joint, k, 1, tokens, size, tokens)
                _tanh(capped.reshape(-1), scale / cap, work[0], work[1], work[2])
                for j in range(tokens):
                    for x in range(batch):
                        d_logits[i * tokens + j, x] *= np.float32(1) - capped[j, x] * capped[j, x]
        for c in range(size):
            _sums(found, q + c * tokens, joint, k + c * tokens, 1, d_logits, 0, tokens, 1, tokens, queries)
            for i in range(queries, tokens):
                found[q + c * tokens + i] = 0
            _sums(found, k + c * tokens, joint, q + c * tokens, 1, d_logits, 0, 1, tokens, queries, tokens)
            _sums(found, v + c * tokens, grad, o + c * queries, 1, p, rows, 1, tokens, queries, tokens)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _norm_again(x, gain, shift, out, moments):
    """What `_norm_forward` gave: with its moments, cheaper than to fetch it from memory."""
    for f in range(x.shape[0]):
        g, a = gain[f], shift[f]
        for b in range(x.shape[1]):
            out[f, b] = (x[f, b] - moments[0, b]) * moments[1, b] * g + a


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
    _norm_again(x, gain, shift, out, moments)


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
def _gelu(z, out, slope):
    """z Phi(z) and its slope Phi(z) + z phi(z); all (features, n).

    Phi, the normal distribution, to 1e-7 (Abramowitz and Stegun 1964, 7.1.26).
    """
    n = np.uint64(z.shape[1])
    exponents, power = np.empty(z.shape[1], np.float32), np.empty(z.shape[1], np.float32)
    for row in range(np.uint64(len(z))):
        for b in range(n):
            below = np.float32(-0.5) * z[row, b] * z[row, b]
            exponents[b] = LEAST if below < LEAST else below
        _exp(slope[row], exponents, power)
        for b in range(n):
            at, e = z[row, b], slope[row, b]
            t = np.float32(1) / (np.float32(1) + np.float32(0.3275911 * HALF_ROOT) * abs(at))
            y = np.float32(1.061405429)
            y = y * t - np.float32(1.453152027)
            y = y * t + np.float32(1.421413741)
            y = y * t - np.float32(0.284496736)
            y = y * t + np.float32(0.254829592)
            tail = np.float32(0.5) * y * t * e
            below = tail if at < np.float32(0) else np.float32(1) - tail
            out[row, b] = at * below
            slope[row, b] = below + at * e * np.float32(DENSITY)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _begin(into, bias, also):
    """into = also + bias; into (features, n), also at least as wide."""
    for f in range(into.shape[0]):
        for b in range(into.shape[1]):
            into[f, b] = also[f, b] + bias[f]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _product(weight, x, into):
    """into += weight @ x. Four rows of x, read once, serve two of the result: BLAS is slower for so few rows so long."""
    if weight.shape[0] % 2 or weight.shape[1] % 4:
        into += np.dot(weight, x)
        return
    for row in range(ZERO, np.uint64(weight.shape[0]), TWO):
        below = row + ONE
        for k in range(ZERO, np.uint64(weight.shape[1]), FOUR):
            k1, k2, k3 = k + ONE, k + TWO, k + THREE
            for b in range(np.uint64(x.shape[1])):
                x0, x1, x2, x3 = x[k, b], x[k1, b], x[k2, b], x[k3, b]
                into[row, b] += weight[row, k] * x0 + weight[row, k1] * x1 + weight[row, k2] * x2 + weight[row, k3] * x3
                more = weight[below, k] * x0 + weight[below, k1] * x1
                into[below, b] += more + weight[below, k2] * x2 + weight[below, k3] * x3


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
def _short(rows, n):
    """As many rows of `n` numbers in the memory of an array of longer ones: what the last block, of fewer queries, needs."""
    return rows.reshape(-1)[: len(rows) * n].reshape(len(rows), n)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _join(qk, vo, i, into):
    """The weights of queries, keys and values of block i, one below the other."""
    width = into.shape[1]
    into[:width] = qk[2 * i]
    into[width : 2 * width] = qk[2 * i + 1]
    into[2 * width :] = vo[2 * i]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def blocks_forward(w, kept, result, entropy, largest, tokens, queries, scale, cap, pre, post, qk):
    """`stacked_block.blocks` of one model after the other; `w` and `kept` hold arrays (S, ...)."""
    stack, layers, heads = entropy.shape
    width, n = kept.x.shape[2:]
    batch, size = n // tokens, width // heads
    hidden, joined = np.empty((kept.active.shape[2], n), np.float32), np.empty((3 * width, width), np.float32)
    normed = np.empty((width, n), np.float32)
    for s in range(stack):
        for i in range(layers):
            last = i == layers - 1
            asked = queries if last else tokens
            m = asked * batch
            x, joint, p, into = kept.x[s, i], kept.joint[s, i], kept.p[s, i], result[s] if last else kept.x[s, i + 1]
            mixed, a, active = _short(kept.mixed[s, i], m), _short(kept.a[s, i], m), _short(kept.active[s, i], m)
            moments1, moments2 = kept.moments1[s, i], _short(kept.moments2[s, i], m)
            y, x1, y1, c = x, a, a, into
            if pre:
                y, y1 = normed, _short(normed, m)
                _norm_forward(x, w.gain1[s, i], w.shift1[s, i], y, moments1)
            if post:
                x1, y1, c = _short(kept.y1[s, i], m), _short(kept.y1[s, i], m), _short(kept.c[s, i], m)
            _join(w.qk[s], w.vo[s], i, joined)
            for f in range(width):
                joint[f], joint[width + f] = w.b_qk[s, 2 * i, f], w.b_qk[s, 2 * i + 1, f]
                joint[2 * width + f] = w.b_vo[s, 2 * i, f]
            _product(joined, y, joint)
            if qk:
                raw = kept.raw[s, i]
                raw[:] = joint[: 2 * width]
                for h in range(2 * heads):
                    at, to, of = h * size, (h + 1) * size, 2 * i + h // heads
                    _norm_forward(raw[at:to], w.gain_qk[s, of], w.shift_qk[s, of], joint[at:to], kept.moments_qk[s, i, h])
            rows = (joint.reshape(-1, batch), mixed.reshape(-1, batch), p)
            _attention_forward(rows[0], rows[1], rows[2], entropy[s, i], largest[s, i], asked, tokens, scale, cap)
            _begin(a, w.b_vo[s, 2 * i + 1], x)
            _product(w.vo[s, 2 * i + 1], mixed, a)
            if post:
                _norm_forward(a, w.gain1[s, i], w.shift1[s, i], x1, _short(moments1, m))
            if pre:
                _norm_forward(x1, w.gain2[s, i], w.shift2[s, i], y1, moments2)
            z = _short(hidden, m)
            for f in range(len(z)):
                z[f] = w.b_up[s, i, f]
            _product(w.up[s, i], y1, z)
            _gelu(z, active, _short(kept.slope[s, i], m))
            _begin(c, w.b_down[s, i], x1)
            _product(w.down[s, i], active, c)
            if post:
                _norm_forward(c, w.gain2[s, i], w.shift2[s, i], into, moments2)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def blocks_backward(w, kept, grad, d_x, d, heads, tokens, queries, scale, cap, pre, post, qk):
    """From the gradient of the result that of x and of the weights: `d` like `w`."""
    stack, layers, width, n = kept.x.shape
    batch, size, hidden = n // tokens, width // heads, kept.active.shape[2]
    work, d_result = np.empty((4, width, n), np.float32), np.empty((width, n), np.float32)
    normed = np.empty((width, n), np.float32)
    d_joint, d_raw = np.empty((3 * width, n), np.float32), np.empty((2 * width, n), np.float32)
    d_hidden, joined = np.empty((hidden, n), np.float32), np.empty((3 * width, width), np.float32)
    d_joined, d_bias = np.empty((3 * width, width), np.float32), np.empty(3 * width, np.float32)
    d_gain, d_shift = np.empty(size, np.float32), np.empty(size, np.float32)
    for s in range(stack):
        for i in range(layers - 1, -1, -1):
            m = batch * (queries if i == layers - 1 else tokens)
            x, joint, p = kept.x[s, i], kept.joint[s, i], kept.p[s, i]
            mixed, a, active = _short(kept.mixed[s, i], m), _short(kept.a[s, i], m), _short(kept.active[s, i], m)
            moments1, moments2 = kept.moments1[s, i], _short(kept.moments2[s, i], m)
            y, y1 = x, a
            if pre:
                y, y1 = normed, _short(normed, m)
                _norm_again(a, w.gain2[s, i], w.shift2[s, i], y1, moments2)
            if post:
                y1 = _short(kept.y1[s, i], m)
            d_c = grad[s] if i == layers - 1 else d_result
            d_x1, d_y1, d_mixed, d_z = _short(work[0], m), _short(work[1], m), _short(work[2], m), _short(d_hidden, m)
            d_a, into = d_x1, d_x[s] if i == 0 else d_result
            if post:
                d_sum, d_a = _short(work[3], m), d_y1
                _norm_backward(_short(kept.c[s, i], m), w.gain2[s, i], moments2, d_c, d_sum, d.gain2[s, i], d.shift2[s, i])
                d_c = d_sum
            _product_backward(d_c, active, d.down[s, i], d.b_down[s, i])
            d_z[:] = 0
            _product(np.ascontiguousarray(w.down[s, i].T), d_c, d_z)
            slope = _short(kept.slope[s, i], m)
            for f in range(hidden):
                d_z[f] *= slope[f]
            _product_backward(d_z, y1, d.up[s, i], d.b_up[s, i])
            up = np.ascontiguousarray(w.up[s, i].T)
            if pre:
                d_y1[:] = 0
                _product(up, d_z, d_y1)
                _norm_backward(a, w.gain2[s, i], moments2, d_y1, d_x1, d.gain2[s, i], d.shift2[s, i])
                d_x1 += d_c
            else:
                d_x1[:] = d_c
                _product(up, d_z, d_x1)
            if post:
                _norm_backward(a, w.gain1[s, i], _short(moments1, m), d_x1, d_a, d.gain1[s, i], d.shift1[s, i])
            _product_backward(d_a, mixed, d.vo[s, 2 * i + 1], d.b_vo[s, 2 * i + 1])
            d_mixed[:] = 0
            _product(np.ascontiguousarray(w.vo[s, 2 * i + 1].T), d_a, d_mixed)
            rows = (joint.reshape(-1, batch), mixed.reshape(-1, batch), p, d_mixed.reshape(-1, batch))
            to = d_joint.reshape(-1, batch)
            _attention_backward(rows[0], rows[1], rows[2], rows[3], to, heads, m // batch, tokens, scale, cap)
            if qk:
                for part in (2 * i, 2 * i + 1):
                    d.gain_qk[s, part], d.shift_qk[s, part] = 0, 0
                for h in range(2 * heads):
                    at, to, of = h * size, (h + 1) * size, 2 * i + h // heads
                    part, raw = d_joint[at:to], kept.raw[s, i, at:to]
                    _norm_backward(raw, w.gain_qk[s, of], kept.moments_qk[s, i, h], part, d_raw[at:to], d_gain, d_shift)
                    d.gain_qk[s, of] += d_gain
                    d.shift_qk[s, of] += d_shift
                d_joint[: 2 * width] = d_raw
            _join(w.qk[s], w.vo[s], i, joined)
            if pre:
                _norm_again(x, w.gain1[s, i], w.shift1[s, i], y, moments1)
            _product_backward(d_joint, y, d_joined, d_bias)
            for f in range(width):
                d.qk[s, 2 * i, f], d.b_qk[s, 2 * i, f] = d_joined[f], d_bias[f]
                d.qk[s, 2 * i + 1, f], d.b_qk[s, 2 * i + 1, f] = d_joined[width + f], d_bias[width + f]
                d.vo[s, 2 * i, f], d.b_vo[s, 2 * i, f] = d_joined[2 * width + f], d_bias[2 * width + f]
            transposed = np.ascontiguousarray(joined.T)
            if pre:
                d_y = work[1]
                d_y[:] = 0
                _product(transposed, d_joint, d_y)
                _norm_backward(x, w.gain1[s, i], moments1, d_y, into, d.gain1[s, i], d.shift1[s, i])
                for f in range(width):
                    for b in range(m):
                        into[f, b] += d_a[f, b]
            else:
                for f in range(width):
                    into[f, :m] = d_a[f]
                    into[f, m:] = 0
                _product(transposed, d_joint, into)
