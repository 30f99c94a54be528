"""Attention entropy: known values, scipy, the blocks against the whole matrix, rows without a choice, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import entropy as scipy_entropy

from entropy_utils.attention_entropy.entropy import (
    attention_entropy,
    attention_entropy_from_qk,
    attention_logits,
    attention_rows,
    attention_rows_from_qk,
    effective_rank,
    normalised,
)

INF = math.inf


def random_qk(batch=2, heads=4, key_heads=4, queries=9, keys=9, d=8, dtype=torch.float64, size=2.0):
    g = torch.Generator().manual_seed(0)
    q = torch.randn(batch, heads, queries, d, generator=g, dtype=torch.float64) * size
    k = torch.randn(batch, key_heads, keys, d, generator=g, dtype=torch.float64)
    return q.to(dtype), k.to(dtype)


def by_hand(q, k, visible, scale=None):
    """Entropy by numpy and scipy, one row at a time; `visible` (batch, heads, queries, keys)."""
    group = q.shape[1] // k.shape[1]
    found = np.zeros(q.shape[:3])
    for b, h, i in np.ndindex(*found.shape):
        keys = np.flatnonzero(visible[b, h, i])
        if len(keys):
            a = k[b, h // group].double().numpy()[keys] @ q[b, h, i].double().numpy()
            a *= q.shape[3] ** -0.5 if scale is None else scale
            found[b, h, i] = scipy_entropy(np.exp(a - logsumexp(a)))
    return torch.from_numpy(found)


def test_known_rows():
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]])
    expected = [math.log(4), 0, math.log(2), -0.7 * math.log(0.7) - 0.3 * math.log(0.1)]
    torch.testing.assert_close(attention_entropy(weights), torch.tensor(expected))
    assert attention_entropy(weights.bfloat16()).dtype == torch.float32


def test_one_hot_with_enormous_logits_has_entropy_zero_and_a_finite_gradient():
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, -INF, -INF], [-INF, -INF, -INF]], requires_grad=True)
    rows = attention_rows(logits)
    assert rows.entropy.tolist() == [0, 0, 0]
    assert rows.visible.tolist() == [3, 1, 0]
    assert rows.largest.tolist() == [1e4, 0, -INF]
    rows.entropy.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("low", [-INF, -1e9, torch.finfo(torch.float32).min])
def test_every_customary_mask_hides_keys(low):
    logits = torch.tensor([[0.0, 1.0, low], [low, low, low]])
    rows = attention_rows(logits)
    pair = attention_rows(torch.tensor([[0.0, 1.0]])).entropy
    torch.testing.assert_close(rows.entropy, torch.stack([pair[0], torch.tensor(0.0)]))
    assert rows.visible.tolist() == [2, 0]
    assert rows.seen.tolist() == [True, True, False]


def test_half_precision_masks_and_nan_logits():
    low = torch.finfo(torch.float16).min
    assert attention_rows(torch.tensor([[0.0, -3000.0, low]], dtype=torch.float16)).visible.item() == 2
    assert attention_rows(torch.tensor([[0.0, math.nan]])).entropy.isnan().all()


def test_normalised_is_one_for_uniform_rows_and_undefined_without_a_choice():
    visible = torch.tensor([[0, 1, 2, 7]])
    share = normalised(torch.tensor([[0.0, 0.0, math.log(2), math.log(7)]]), visible)
    torch.testing.assert_close(share, torch.tensor([[math.nan, math.nan, 1, 1]]), equal_nan=True)
    assert normalised(torch.tensor([math.log(5)]), 5).item() == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_blocks_give_what_scipy_gives(data):
    key_heads = data.draw(st.sampled_from([1, 2, 4]), "key heads")  # multi-query, grouped, plain
    queries = data.draw(st.integers(1, 7), "queries")
    keys = data.draw(st.integers(queries, 9), "keys")
    causal = data.draw(st.booleans(), "causal")
    block = data.draw(st.sampled_from([None, 1, 2, 3, 10, 1000]), "block")
    kind = data.draw(st.sampled_from(["none", "bool", "float"]), "mask")
    heads = data.draw(st.sampled_from([1, 4]), "heads of the mask")
    scale = data.draw(st.sampled_from([None, 0.3]), "scale")
    q, k = random_qk(key_heads=key_heads, queries=queries, keys=keys)
    seed = data.draw(st.integers(0, 99), "seed")
    mask = torch.rand(2, heads, queries, keys, generator=torch.Generator().manual_seed(seed)) < 0.7  # some rows see nothing
    visible = mask.expand(2, 4, queries, keys) if kind != "none" else torch.ones(2, 4, queries, keys, dtype=torch.bool)
    if causal:
        visible = visible & torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    given = {"none": None, "bool": mask, "float": torch.zeros(mask.shape).masked_fill(~mask, -1e9)}[kind]
    rows = attention_rows_from_qk(q, k, mask=given, causal=causal, scale=scale, block=block)
    torch.testing.assert_close(rows.entropy, by_hand(q, k, visible, scale), atol=1e-10, rtol=1e-10)
    assert torch.equal(rows.visible, visible.sum(-1))
    assert torch.equal(rows.seen, visible.any(-2))
    logits = attention_logits(q, k, mask=given, causal=causal, scale=scale)
    torch.testing.assert_close(rows.largest, logits.masked_fill(~visible, -INF).amax(-1))
    torch.testing.assert_close(attention_entropy(logits.softmax(-1).nan_to_num(), visible), rows.entropy)


def test_an_additive_mask_that_hides_nothing_is_a_bias():
    q, k = random_qk()
    bias = torch.randn(4, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = attention_rows(q @ k.mT * 8**-0.5 + bias)
    for found, value in zip(attention_rows_from_qk(q, k, mask=bias, block=5), expected, strict=True):
        torch.testing.assert_close(found, value)


def test_low_precision_input_is_computed_in_float32():
    q, k = random_qk(dtype=torch.bfloat16, keys=40)
    found = attention_entropy_from_qk(q, k)
    assert found.dtype == torch.float32
    exact = attention_entropy_from_qk(q.double(), k.double())
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(attention_entropy_from_qk(q.float(), k.float()), found)
        logits = attention_logits(q, k)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), q.double() @ k.double().mT * 8**-0.5, atol=1e-5, rtol=1e-5)


def test_gradient_is_that_of_the_formula():
    """dH/da_j = -p_j (log p_j + H), through q; in blocks as in one piece."""
    q, k = random_qk(queries=5, keys=6)
    q.requires_grad_()
    attention_entropy_from_qk(q, k, causal=True, block=3).sum().backward()
    logits = attention_logits(q.detach(), k, causal=True)
    p = logits.softmax(-1)
    log_p = p.clamp_min(1e-300).log()
    slope = -p * (log_p + attention_entropy(p)[..., None])
    torch.testing.assert_close(q.grad, slope @ k * 8**-0.5)


def test_effective_rank_tells_looking_at_oneself_from_looking_at_one_token():
    one_token = torch.zeros(6, 6).index_fill(1, torch.tensor([2]), 1.0)
    several = torch.stack([torch.eye(6), one_token, torch.full((6, 6), 1 / 6), torch.zeros(6, 6)])
    torch.testing.assert_close(effective_rank(several), torch.tensor([6.0, 1, 1, 0]), atol=1e-3, rtol=0)
    assert attention_entropy(several[0]).sum() == attention_entropy(several[1]).sum() == 0


def test_weights_after_dropout_are_refused():
    weights = torch.nn.functional.dropout(torch.full((3, 4, 20), 0.05), 0.5)
    with pytest.raises(ValueError, match="before dropout"):
        attention_entropy(weights)
    with pytest.raises(ValueError, match="before dropout"):
        attention_entropy(torch.tensor([math.nan, 1.0]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"q": torch.zeros(2, 4, 9)}, "q, k"),
        ({"k": torch.zeros(2, 3, 9, 8)}, "'k'"),
        ({"k": torch.zeros(2, 4, 0, 8)}, "q, k"),
        ({"k": torch.zeros(2, 4, 5, 8), "causal": True}, "causal"),
        ({"mask": torch.ones(3, 1, 9, 9)}, "mask"),
        ({"mask": torch.ones(9, 9, dtype=torch.long)}, "mask"),
        ({"scale": math.nan}, "scale"),
        ({"block": 0}, "block"),
        ({"q": torch.zeros(2, 4, 9, 8, dtype=torch.long)}, "q, k"),
    ],
)
def test_wrong_input_is_named_in_one_line(change, named):
    q, k = random_qk()
    with pytest.raises(ValueError, match=named) as error:
        attention_entropy_from_qk(**{"q": q, "k": k, **change})
    assert "\n" not in str(error.value)
