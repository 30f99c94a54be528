"""What must hold of every distribution, tried on many (hypothesis)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from entropy_utils import information as info

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
SIZES = st.integers(1, 12)


def for_all(*strategies):
    """Try the test on 60 draws, the same in every run."""
    return lambda test: settings(deadline=None, max_examples=60, derandomize=True)(given(*strategies)(test))


def weights(*shape):
    """Non-negative numbers of very different sizes, zeros among them."""
    entry = st.one_of(st.just(0.0), st.floats(1e-12, 1e-3), st.floats(1e-3, 1.0))
    return arrays(np.float64, shape, elements=entry).filter(lambda w: w.sum() > 1e-6)


@st.composite
def distributions(draw, count=1, outcomes=SIZES):
    """`count` distributions over the same outcomes."""
    n = draw(outcomes)
    drawn = [draw(weights(n)) for _ in range(count)]
    drawn = [w / w.sum() for w in drawn]
    return drawn[0] if count == 1 else drawn


@st.composite
def joints(draw):
    w = draw(weights(draw(st.integers(1, 6)), draw(st.integers(1, 6))))
    return w / w.sum()


@st.composite
def channels(draw, inputs):
    """A stochastic matrix [inputs, outputs]: every row a distribution."""
    outputs = draw(st.integers(1, 6))
    rows = np.stack([draw(weights(outputs)) for _ in range(inputs)])
    return rows / rows.sum(1, keepdims=True)


@for_all(distributions())
def test_bounds(p):
    n = (p > 0).sum()
    assert 0 <= info.shannon_entropy(p) <= np.log(n) + 1e-9
    assert 1 - 1e-9 <= info.perplexity(p) <= n + 1e-6
    assert info.varentropy(p) >= 0
    assert info.shannon_entropy(np.eye(len(p))[0]) == 0
    assert info.shannon_entropy(np.full(len(p), 1 / len(p))) == pytest.approx(np.log(len(p)), abs=1e-12)


@for_all(distributions(count=2))
def test_divergences_are_not_negative_and_bounded(pair):
    p, q = pair
    assert info.kl_divergence(p, q) >= 0
    assert info.kl_divergence(p, p) == 0
    assert 0 <= info.js_divergence(p, q) <= np.log(2) + 1e-12
    assert info.js_divergence(p, q) == pytest.approx(info.js_divergence(q, p), abs=1e-14)
    assert info.js_divergence(p, p) == pytest.approx(0, abs=1e-15)
    assert np.isinf(info.kl_divergence(p, q)) == bool(((p > 0) & (q == 0)).any())
    assert info.kl_divergence(p, q) >= 0.5 * np.abs(p - q).sum() ** 2 - 1e-12  # Pinsker


@for_all(distributions(count=2))
def test_cross_entropy_is_entropy_plus_divergence(pair):
    p, q = pair
    np.testing.assert_allclose(info.cross_entropy(p, q), info.shannon_entropy(p) + info.kl_divergence(p, q), **CLOSE)
    np.testing.assert_allclose(info.cross_entropy(p, p), info.shannon_entropy(p), **CLOSE)
    assert info.cross_entropy(p, q) >= info.shannon_entropy(p) - 1e-9  # Gibbs


@for_all(distributions())
def test_entropy_and_varentropy_are_mean_and_variance_of_the_surprisal(p):
    p, s = p[p > 0], info.surprisal(p[p > 0])
    np.testing.assert_allclose((p * s).sum(), info.shannon_entropy(p), **CLOSE)
    np.testing.assert_allclose((p * s**2).sum() - (p * s).sum() ** 2, info.varentropy(p), rtol=1e-7, atol=1e-9)


@for_all(joints())
def test_chain_rule(joint):
    x, y = joint.sum(1), joint.sum(0)
    both = info.shannon_entropy(joint, axis=(0, 1))
    np.testing.assert_allclose(both, info.shannon_entropy(x) + info.conditional_entropy(joint), **CLOSE)
    np.testing.assert_allclose(both, info.shannon_entropy(y) + info.conditional_entropy(joint, axes=(1, 0)), **CLOSE)
    mutual = info.mutual_information(joint)
    np.testing.assert_allclose(mutual, info.shannon_entropy(y) - info.conditional_entropy(joint), **CLOSE)
    np.testing.assert_allclose(mutual, info.kl_divergence(joint, np.outer(x, y), axis=None), **CLOSE)
    assert 0 <= mutual <= min(info.shannon_entropy(x), info.shannon_entropy(y)) + 1e-9


@for_all(joints(), st.data())
def test_processing_makes_no_information(joint, data):
    channel = data.draw(channels(joint.shape[1]))
    assert info.mutual_information(joint @ channel) <= info.mutual_information(joint) + 1e-9


@for_all(distributions(count=2, outcomes=st.integers(2, 6)), st.data())
def test_processing_brings_distributions_closer(pair, data):
    p, q = pair
    channel = data.draw(channels(len(p)))
    assert info.kl_divergence(p @ channel, q @ channel) <= info.kl_divergence(p, q) + 1e-9
    assert info.js_divergence(p @ channel, q @ channel) <= info.js_divergence(p, q) + 1e-9


@for_all(distributions(count=2), st.randoms(use_true_random=False), st.floats(0, 6))
def test_names_of_the_outcomes_do_not_matter(pair, random, order):
    p, q = pair
    to = list(range(len(p)))
    random.shuffle(to)
    for f in (info.shannon_entropy, info.varentropy, lambda p: info.renyi_entropy(p, order)):
        np.testing.assert_allclose(f(p[to]), f(p), **CLOSE)
        np.testing.assert_allclose(f(np.append(p, [0, 0])), f(p), **CLOSE)
    np.testing.assert_allclose(info.kl_divergence(p[to], q[to]), info.kl_divergence(p, q), **CLOSE)


@for_all(distributions(count=4), st.floats(0, 1))
def test_entropy_is_concave_and_divergence_convex(four, t):
    p, q, r, s = four
    mixed, other = t * p + (1 - t) * q, t * r + (1 - t) * s
    assert info.shannon_entropy(mixed) >= t * info.shannon_entropy(p) + (1 - t) * info.shannon_entropy(q) - 1e-9
    if 0 < t < 1:
        bound = t * info.kl_divergence(p, r) + (1 - t) * info.kl_divergence(q, s)
        assert info.kl_divergence(mixed, other) <= bound + 1e-9


@for_all(distributions(), distributions(), st.sampled_from([0, 0.3, 1, 2, 7.5, np.inf]))
def test_independent_things_add_up(p, q, order):
    both = np.outer(p, q)
    total = info.renyi_entropy(p, order) + info.renyi_entropy(q, order)
    np.testing.assert_allclose(info.renyi_entropy(both, order, axis=None), total, **CLOSE)
    added = info.varentropy(p) + info.varentropy(q)
    np.testing.assert_allclose(info.varentropy(both, axis=None), added, rtol=1e-7, atol=1e-9)
    assert info.mutual_information(both) == pytest.approx(0, abs=1e-12)


@for_all(distributions(), st.lists(st.one_of(st.floats(0, 3), st.floats(3, 1e4)), min_size=2, max_size=5))
def test_renyi_never_increases_with_the_order(p, orders):
    values = [info.renyi_entropy(p, order) for order in [0, *sorted(orders), np.inf]]
    assert (np.diff(values) <= 1e-9).all()


@for_all(distributions())
def test_renyi_meets_its_limits(p):
    np.testing.assert_allclose(info.renyi_entropy(p, 0), np.log((p > 0).sum()), **CLOSE)
    np.testing.assert_allclose(info.renyi_entropy(p, 2), -np.log((p**2).sum()), **CLOSE)
    np.testing.assert_allclose(info.renyi_entropy(p, np.inf), -np.log(p.max()), **CLOSE)
    np.testing.assert_allclose(info.renyi_entropy(p, 1e6), info.renyi_entropy(p, np.inf), rtol=2e-6, atol=2e-5)
    for near in (1 - 1e-9, 1 + 1e-9):
        np.testing.assert_allclose(info.renyi_entropy(p, near), info.shannon_entropy(p), rtol=1e-6, atol=1e-6)
    for order in (0.75, 1.25):  # where the two ways to compute it meet
        above, below = info.renyi_entropy(p, np.nextafter(order, 9)), info.renyi_entropy(p, np.nextafter(order, -9))
        np.testing.assert_allclose(above, below, rtol=1e-8, atol=1e-8)


@for_all(arrays(np.float64, SIZES, elements=st.floats(-700, 700)), st.floats(-1e5, 1e5), st.floats(0.1, 9))
def test_entropy_from_logits(z, shift, temperature):
    scaled = z / temperature - (z / temperature).max()
    p = np.exp(scaled) / np.exp(scaled).sum()
    got = info.shannon_entropy_from_logits(z, temperature=temperature)
    np.testing.assert_allclose(got, info.shannon_entropy(p), rtol=1e-8, atol=1e-10)
    moved = info.shannon_entropy_from_logits(z + shift, temperature=temperature)
    np.testing.assert_allclose(moved, got, rtol=1e-6, atol=1e-6)
    hotter = info.shannon_entropy_from_logits(z, temperature=2 * temperature)
    assert hotter >= got - 1e-9


COUNTS = arrays(np.int64, st.integers(1, 8), elements=st.integers(0, 40)).filter(lambda n: n.sum() > 0)


@for_all(COUNTS)
def test_estimates_from_counts_are_ordered(n):
    plug_in = info.plug_in_entropy(n)
    assert 0 <= info.exact_factorial_entropy(n) <= plug_in + 1e-12  # W <= exp(N H)
    assert info.miller_madow_entropy(n) >= plug_in
    outcomes, total = len(n), n.sum()
    assert info.log_multiplicity(n) >= total * plug_in - outcomes * np.log(total + 1) - 1e-9  # C&T theorem 11.1.3
    np.testing.assert_allclose(plug_in, info.shannon_entropy(n / total), **CLOSE)


@for_all(COUNTS, st.integers(0, 8))
def test_multiplicity_of_a_division_in_two_steps(n, split):
    """W(all) = W(two heaps) W(first heap) W(second heap)."""
    first, second = n[:split], n[split:]
    stages = info.log_multiplicity([first.sum(), second.sum()])
    stages += sum(info.log_multiplicity(part) for part in (first, second))
    np.testing.assert_allclose(info.log_multiplicity(n), stages, **CLOSE)


@for_all(distributions(count=2), joints(), st.floats(1.01, 1e3))
def test_base_is_a_unit(pair, joint, base):
    p, q = pair
    unit = np.log(base)
    calls = [
        (1, lambda **b: info.shannon_entropy(p, **b)),
        (1, lambda **b: info.renyi_entropy(p, 1.7, **b)),
        (2, lambda **b: info.varentropy(p, **b)),
        (1, lambda **b: info.surprisal(p[p > 0], **b)),
        (1, lambda **b: info.cross_entropy(p, (p + q) / 2, **b)),
        (1, lambda **b: info.kl_divergence(p, (p + q) / 2, **b)),
        (1, lambda **b: info.js_divergence(p, q, **b)),
        (1, lambda **b: info.mutual_information(joint, **b)),
        (1, lambda **b: info.conditional_entropy(joint, **b)),
        (1, lambda **b: info.log_multiplicity([3, 4, 5], **b)),
        (1, lambda **b: info.plug_in_entropy([3, 4, 5], **b)),
        (1, lambda **b: info.miller_madow_entropy([3, 4, 5], **b)),
        (1, lambda **b: info.exact_factorial_entropy([3, 4, 5], **b)),
        (1, lambda **b: info.gaussian_differential_entropy(2.0, **b)),
        (1, lambda **b: info.shannon_entropy_from_logits(p, **b)),
    ]
    for power, call in calls:
        np.testing.assert_allclose(call(base=base) * unit**power, call(), rtol=1e-12, atol=1e-15)
