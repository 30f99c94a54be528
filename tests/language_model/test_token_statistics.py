"""token_statistics against the naive float64 formula and against autograd of that formula."""

import math

import numpy as np
import pytest
import torch

from entropy_utils.language_model import token_statistics, token_statistics_reference

NAMES = ("log_prob", "entropy", "sum_p2", "sum_p2_log_p")


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


def draw(g, *shape, scale=1.0, dtype=torch.float32):
    return (torch.randn(*shape, generator=g, dtype=torch.float64) * scale).to(dtype)


def ids(g, vocabulary, *shape):
    return torch.randint(0, vocabulary, shape, generator=g)


def naive(tokens, logits, temperature=1.0):
    """The four quantities in float64 numpy, with nothing of the package in them."""
    z = logits.detach().double().numpy() / temperature
    z = z - z.max(-1, keepdims=True)
    with np.errstate(under="ignore"):
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        p = np.exp(log_p)
    terms = np.where(p > 0, p * log_p, 0.0)
    log_prob = np.take_along_axis(log_p, tokens.numpy()[..., None], -1)[..., 0]
    return log_prob, -terms.sum(-1), (p * p).sum(-1), (p * terms).sum(-1)


def agree(found, wanted, rtol=1e-5, atol=1e-30):
    for name, ours, theirs in zip(NAMES, found, wanted, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), np.asarray(theirs), rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 20.0])
def test_logits_match_the_naive_formula(g, scale, temperature):
    z, y = draw(g, 6, 9, 501, scale=scale), ids(g, 501, 6, 9)
    found = token_statistics(y, z, temperature=temperature)
    assert found.entropy.shape == (6, 9)
    assert found.entropy.dtype == torch.float32
    agree(found, naive(y, z, temperature), atol=1e-12)


def test_reference_matches_the_naive_formula(g):
    z, y = draw(g, 40, 77, scale=3, dtype=torch.float64), ids(g, 77, 40)
    agree(token_statistics_reference(y, z, temperature=0.7), naive(y, z, 0.7), rtol=1e-11)


@pytest.mark.parametrize("block", [None, (1, 1), (3, 7), (5, 100), (13, 101), (64, 1000)])
def test_hidden_states_with_any_block(g, block):
    h, w, b, y = draw(g, 13, 24), draw(g, 101, 24, scale=0.3), draw(g, 101), ids(g, 101, 13)
    found = token_statistics(y, hidden=h, weight=w, bias=b, temperature=0.8, block=block)
    agree(found, naive(y, h.double() @ w.double().T + b, 0.8))
    without = token_statistics(y, hidden=h, weight=w, block=block)
    agree(without, naive(y, h.double() @ w.double().T))


@pytest.mark.parametrize("block", [(4, 10), (2, 1), (100, 1000)])
def test_logits_with_any_block(g, block):
    z, y = draw(g, 11, 33, scale=8), ids(g, 33, 11)
    agree(token_statistics(y, z, block=block), naive(y, z))


def test_large_vocabulary(g):
    h, w, y = draw(g, 3, 16), draw(g, 151_936, 16), ids(g, 151_936, 3)
    agree(token_statistics(y, hidden=h, weight=w), naive(y, h.double() @ w.double().T))
    z = draw(g, 2, 151_936, scale=2)
    y = torch.tensor([151_935, 0])
    agree(token_statistics(y, z), naive(y, z))
    flat = token_statistics(torch.tensor([5]), torch.zeros(1, 151_936))
    assert flat.entropy.item() == pytest.approx(math.log(151_936), rel=1e-7)
    assert flat.sum_p2.item() == pytest.approx(1 / 151_936, rel=1e-6)


@pytest.mark.parametrize("block", [None, (2, 3)])
def test_extreme_logits(block):
    z = torch.tensor([[1e4, -1e4, 0, 0, 0], [-1e4, -1e4, 1e4, 1e4, -1e4], [1e4, 9999, 9998, -1e4, -1e4], [-1e4] * 5])
    y = torch.tensor([0, 2, 1, 4])
    found = token_statistics(y, z, block=block)
    agree(found, naive(y, z))
    assert found.entropy[0] == 0
    assert found.log_prob[0] == 0
    assert found.entropy[1].item() == pytest.approx(math.log(2))
    impossible = token_statistics(torch.tensor([1]), z[:1], block=block)
    assert impossible.log_prob.item() == -2e4
    assert torch.isfinite(torch.stack(impossible)).all()


def test_small_entropies_keep_their_digits():
    """One token of probability 1 - r: entropy r (1 - log r) + O(r^2). Plain float32 log-softmax loses all of it."""
    gap = torch.tensor([10.0, 14.0, 18.0, 22.0])
    z = torch.stack([gap, torch.zeros(4), torch.full((4,), -1e4)], 1)
    y = torch.zeros(4, dtype=torch.long)
    agree(token_statistics(y, z), naive(y, z))
    assert token_statistics_reference(y, z).log_prob[3] == 0
    assert token_statistics(y, z).log_prob[3] < 0


@pytest.mark.parametrize("block", [None, (1, 2), (2, 2)])
def test_impossible_tokens(block):
    """-inf logits, also filling whole blocks, count as probability 0."""
    z = torch.tensor([[-math.inf, -math.inf, 1.0, -math.inf, 2.0], [0.5, -math.inf, -math.inf, -math.inf, -math.inf]])
    found = token_statistics(torch.tensor([1, 0]), z, block=block)
    p = torch.tensor([1.0, 2.0]).double().softmax(0)
    assert found.log_prob.tolist() == [-math.inf, 0.0]
    np.testing.assert_allclose(found.entropy.numpy(), [-(p * p.log()).sum(), 0], rtol=1e-6)
    np.testing.assert_allclose(found.sum_p2_log_p.numpy(), [(p**2 * p.log()).sum(), 0], rtol=1e-6)
    logits = z.clone().requires_grad_()
    out = token_statistics(torch.tensor([2, 0]), logits, entropy_grad=True, block=block)
    (out.log_prob + out.entropy).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_float32(g, dtype):
    h, w, b, y = draw(g, 20, 32, dtype=dtype), draw(g, 300, 32, dtype=dtype), draw(g, 300, dtype=dtype), ids(g, 300, 20)
    exact = h.double() @ w.double().T + b.double()
    found = token_statistics(y, hidden=h, weight=w, bias=b, block=(7, 50))
    assert found.entropy.dtype == torch.float32
    agree(found, naive(y, exact), rtol=3e-5)
    z = exact.to(dtype)
    agree(token_statistics(y, z, temperature=0.9), naive(y, z, 0.9))
    with torch.autocast("cpu", torch.bfloat16):
        agree(token_statistics(y, hidden=h.float(), weight=w.float(), bias=b.float()), naive(y, exact), rtol=3e-5)


def gradients(statistics, leaves, a, b):
    """Gradient of a weighted sum of the log-probabilities and, when b is given, the entropies."""
    loss = (a * statistics.log_prob).sum()
    if b is not None:
        loss = loss + (b * statistics.entropy).sum()
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("block", [None, (4, 9)])
def test_gradients_match_autograd_of_the_naive_form(g, block, with_entropy):
    sizes = ((3, 5, 16), (61, 16), (61,))
    leaves = [draw(g, *size, scale=0.7).requires_grad_() for size in sizes]
    exact = [x.detach().double().requires_grad_() for x in leaves]
    y, a, b = ids(g, 61, 3, 5), draw(g, 3, 5), draw(g, 3, 5) if with_entropy else None
    options = {"temperature": 0.6, "entropy_grad": with_entropy}
    h, w, bias = leaves
    ours = gradients(token_statistics(y, hidden=h, weight=w, bias=bias, block=block, **options), leaves, a, b)
    z = torch.nn.functional.linear(*exact)
    wanted = gradients(token_statistics_reference(y, z, **options), exact, a, b)
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)
    z32 = z.detach().float().requires_grad_()
    z64 = z32.detach().double().requires_grad_()
    (ours,) = gradients(token_statistics(y, z32, block=block, **options), [z32], a, b)
    (wanted,) = gradients(token_statistics_reference(y, z64, **options), [z64], a, b)
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-5, atol=1e-6)


def test_gradcheck(g):
    h, w, b = (draw(g, *size, dtype=torch.float64).requires_grad_() for size in ((7, 4), (10, 4), (10,)))
    y = ids(g, 10, 7)

    def call(h, w, b):
        return token_statistics(y, hidden=h, weight=w, bias=b, temperature=1.3, entropy_grad=True, block=(3, 4))[:2]

    assert torch.autograd.gradcheck(call, (h, w, b))
    assert torch.autograd.gradcheck(
        lambda z: token_statistics(y, z, entropy_grad=True)[:2], ((h @ w.T).detach().requires_grad_(),)
    )


def test_gradients_of_half_precision_parameters(g):
    h, w = draw(g, 40, 8, dtype=torch.bfloat16).requires_grad_(), draw(g, 30, 8, dtype=torch.bfloat16).requires_grad_()
    y = ids(g, 30, 40)
    token_statistics(y, hidden=h, weight=w, block=(3, 7)).log_prob.sum().backward()
    exact = [x.detach().double().requires_grad_() for x in (h, w)]
    token_statistics_reference(y, exact[0] @ exact[1].T).log_prob.sum().backward()
    for half, full in zip((h, w), exact, strict=True):
        assert half.grad.dtype == torch.bfloat16
        torch.testing.assert_close(half.grad.double(), full.grad, rtol=2**-8, atol=1e-3)


def test_what_carries_a_gradient(g):
    z, y = draw(g, 4, 6).requires_grad_(), ids(g, 6, 4)
    assert [x.requires_grad for x in token_statistics(y, z)] == [True, False, False, False]
    assert [x.requires_grad for x in token_statistics(y, z, entropy_grad=True)] == [True, True, False, False]
    assert [x.requires_grad for x in token_statistics_reference(y, z)] == [True, False, False, False]
    assert [x.requires_grad for x in token_statistics_reference(y, z, entropy_grad=True)] == [True, True, False, False]
    h, w = draw(g, 4, 3).requires_grad_(), draw(g, 6, 3)
    token_statistics(y, hidden=h, weight=w).log_prob.sum().backward()
    assert h.grad is not None
    assert w.grad is None


def test_reference_works_under_vmap(g):
    z, y = draw(g, 3, 4, 6), ids(g, 6, 3, 4)
    stacked = torch.func.vmap(token_statistics_reference)(y, z)
    agree(stacked, naive(y, z), rtol=1e-4)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0)])
def test_empty_batch(shape):
    y, h, w = torch.zeros(shape, dtype=torch.long), torch.zeros(*shape, 4, requires_grad=True), torch.zeros(9, 4)
    w.requires_grad_()
    for found in (token_statistics(y, hidden=h, weight=w), token_statistics(y, torch.zeros(*shape, 9))):
        assert all(value.shape == shape for value in found)
    token_statistics(y, hidden=h, weight=w).log_prob.sum().backward()
    assert h.grad.shape == h.shape
    assert (w.grad == 0).all()


def test_one_token_and_one_word():
    alone = token_statistics(torch.tensor(2), torch.tensor([0.0, 0.0, 0.0, 0.0]))
    assert alone.entropy.shape == ()
    assert alone.entropy.item() == pytest.approx(math.log(4))
    certain = token_statistics(torch.tensor([0]), torch.tensor([[3.0]]))
    assert [value.item() for value in certain] == [0, 0, 1, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_numbers(bad):
    z, y = torch.zeros(5, 8), torch.zeros(5, dtype=torch.long)
    z[3, 6] = bad
    with pytest.raises(ValueError, match=r"^logits: got NaN or \+inf at token 3, allowed: [^\n]*$"):
        token_statistics(y, z, block=(2, 3))
    with pytest.raises(ValueError, match=r"^hidden @ weight.T: got NaN or \+inf at token 3, [^\n]*$"):
        token_statistics(y, hidden=z, weight=torch.ones(4, 8))
    with pytest.raises(ValueError, match=r"^logits: got -inf everywhere at token 1, [^\n]*$"):
        token_statistics(y[:2], torch.tensor([[0.0, 0.0], [-math.inf, -math.inf]]))


Y, H, W = torch.zeros(3, dtype=torch.long), torch.zeros(3, 4), torch.zeros(9, 4)
BAD = {
    "no logits and no hidden": (Y, {}, "logits: got none or both forms"),
    "both": (Y, {"logits": H, "hidden": H, "weight": W}, "logits: got none or both forms"),
    "hidden without weight": (Y, {"hidden": H}, "logits: got none or both forms"),
    "bias without weight": (Y, {"logits": H, "bias": torch.zeros(4)}, "logits: got none or both forms"),
    "wrong length": (Y, {"logits": torch.zeros(2, 9)}, r"logits: got \(2, 9\) torch.float32, allowed:"),
    "integers": (Y, {"logits": torch.zeros(3, 9, dtype=torch.long)}, r"logits: got \(3, 9\) torch.int64"),
    "no vocabulary": (Y[:0], {"logits": torch.zeros(0, 0)}, r"logits: got \(0, 0\)"),
    "weight turned": (
        Y,
        {"hidden": H, "weight": W.T},
        r"weight: got \(4, 9\), allowed: \(vocabulary of at least 1, 4\)",
    ),
    "bias too long": (Y, {"hidden": H, "weight": W, "bias": torch.zeros(8)}, r"bias: got \(8,\), allowed: \(9,\)"),
    "tokens floating": (Y.float(), {"logits": H}, "tokens: got torch.float32, allowed: torch.int64"),
    "id too large": (Y + 9, {"hidden": H, "weight": W}, "tokens: got ids from 9 to 9, allowed: 0 to 8"),
    "id negative": (Y - 100, {"logits": H}, "tokens: got ids from -100 to -100, allowed: 0 to 3"),
    "temperature 0": (Y, {"logits": H, "temperature": 0}, "temperature: got 0, allowed: a finite number above 0"),
    "temperature nan": (Y, {"logits": H, "temperature": math.nan}, "temperature: got nan"),
    "temperature text": (Y, {"logits": H, "temperature": "1"}, "temperature: got '1'"),
    "empty block": (Y, {"logits": H, "block": (0, 5)}, r"block: got \(0, 5\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(case):
    tokens, given, message = BAD[case]
    with pytest.raises(ValueError, match="^" + message) as caught:
        token_statistics(tokens, **given)
    assert "\n" not in str(caught.value)
