"""Against scipy, against counting by hand, and bad input."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats

from entropy_utils import information as info


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, *shape):
    """Distributions along the last axis, some entries 0."""
    w = rng.exponential(size=shape) ** 3 * (rng.random(shape) > 0.2)
    w[..., 0] += 0.1
    return w / w.sum(-1, keepdims=True)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("base", [None, 2, 10])
def test_against_scipy_along_any_axis(rng, axis, base):
    p, q = (np.moveaxis(drawn(rng, 3, 4, 7), -1, axis) for _ in range(2))
    np.testing.assert_allclose(info.shannon_entropy(p, axis, base), scipy.stats.entropy(p, axis=axis, base=base))
    np.testing.assert_allclose(info.kl_divergence(p, q, axis, base), scipy.stats.entropy(p, q, axis=axis, base=base))
    js = scipy.spatial.distance.jensenshannon(p, q, axis=axis, base=base) ** 2
    np.testing.assert_allclose(info.js_divergence(p, q, axis, base), js, rtol=1e-10)
    np.testing.assert_allclose(info.kl_divergence(p, q, axis), scipy.special.rel_entr(p, q).sum(axis), rtol=1e-10)


def test_whole_arrays_and_several_axes(rng):
    p = drawn(rng, 5, 12).reshape(5, 3, 4)
    flat = scipy.stats.entropy(p.reshape(5, 12), axis=1)
    np.testing.assert_allclose(info.shannon_entropy(p, axis=(1, 2)), flat)
    np.testing.assert_allclose(info.shannon_entropy(p / 5, axis=None), scipy.stats.entropy(p.ravel() / 5))
    for order in (0, 0.5, 0.9, 1, 2, 3.5, np.inf):
        rows = info.renyi_entropy(p.reshape(5, 12), order)
        np.testing.assert_allclose(info.renyi_entropy(p, order, axis=(1, 2)), rows, rtol=1e-12)
        np.testing.assert_allclose(info.renyi_entropy(p[0], order, axis=None), rows[0], rtol=1e-12)
    np.testing.assert_allclose(info.varentropy(p, axis=(1, 2)), info.varentropy(p.reshape(5, 12)))


def test_pairs_broadcast(rng):
    p, q = drawn(rng, 4, 6), np.full(6, 1 / 6)
    np.testing.assert_allclose(info.kl_divergence(p, q), np.log(6) - info.shannon_entropy(p))
    np.testing.assert_allclose(info.cross_entropy(p, q), np.full(4, np.log(6)))


def test_entropy_from_logits_against_scipy(rng):
    z = rng.normal(size=(6, 50)) * 5
    wanted = scipy.stats.entropy(scipy.special.softmax(z / 0.7, axis=0), axis=0)
    np.testing.assert_allclose(info.shannon_entropy_from_logits(z, axis=0, temperature=0.7), wanted)
    assert info.shannon_entropy_from_logits([1e4, -1e4, 0]) == 0
    assert info.shannon_entropy_from_logits([-np.inf, 1e300, 1e300, -1e308]) == pytest.approx(math.log(2))
    tiny = info.shannon_entropy_from_logits([30.0, 0.0])
    assert tiny == pytest.approx(math.exp(-30) * 31, rel=1e-2)


def test_surprisal():
    np.testing.assert_allclose(info.surprisal([1, 0.5, 0.125, 0], base=2), [0, 1, 3, np.inf])
    assert str(info.surprisal(1.0)) == "0.0"


def test_varentropy_of_a_coin():
    p = 0.2
    assert info.varentropy([p, 1 - p]) == pytest.approx(p * (1 - p) * math.log(p / (1 - p)) ** 2)
    assert info.varentropy(np.full(8, 1 / 8)) == pytest.approx(0, abs=1e-30)


def test_effective_number_of_outcomes():
    np.testing.assert_allclose(info.perplexity([0.25] * 4, order=2), 4)
    p = np.array([0.5, 0.3, 0.2])
    assert info.perplexity(p, order=2) == pytest.approx(1 / (p**2).sum())
    assert info.perplexity(p, order=np.inf) == pytest.approx(2)
    assert info.perplexity(p) == pytest.approx(np.exp(scipy.stats.entropy(p)))


def test_renyi_with_probabilities_near_the_smallest_number():
    p = np.array([1.0, 5e-324, 1e-310])
    for order in (1e-3, 0.5, 0.76, 0.999, 1.001, 1.3, 2, 1e5):
        assert np.isfinite(info.renyi_entropy(p, order))
    assert info.renyi_entropy(p, 1e-9) == pytest.approx(math.log(3), rel=1e-5)


def test_mutual_information_by_enumeration(rng):
    """Two dice: what the larger tells of the sum, counted over all 36 throws."""
    joint = np.zeros((7, 13))
    for a, b in itertools.product(range(1, 7), repeat=2):
        joint[max(a, b), a + b] += 1 / 36
    wanted = 0.0
    for x, y in itertools.product(range(7), range(13)):
        if joint[x, y]:
            wanted += joint[x, y] * math.log2(joint[x, y] / (joint[x].sum() * joint[:, y].sum()))
    assert info.mutual_information(joint, base=2) == pytest.approx(wanted, rel=1e-12)
    left = sum(joint[x].sum() * scipy.stats.entropy(joint[x], base=2) for x in range(1, 7))
    assert info.conditional_entropy(joint, base=2) == pytest.approx(left, rel=1e-12)


def test_mutual_information_along_named_axes(rng):
    joint = drawn(rng, 5, 12).reshape(5, 3, 4)
    turned = np.moveaxis(joint, 0, 1)  # [3, 5, 4], X along 0, Y along 2
    np.testing.assert_allclose(info.mutual_information(turned, axes=(0, 2)), info.mutual_information(joint))
    np.testing.assert_allclose(info.conditional_entropy(turned, axes=(0, -1)), info.conditional_entropy(joint))
    np.testing.assert_allclose(info.mutual_information(np.eye(4) / 4, base=2), 2)


@pytest.mark.parametrize("word", ["a", "ab", "aab", "aabb", "abcd", "banana", "abcdef", "aaabbcc"])
def test_multiplicity_by_listing_arrangements(word):
    counts = [word.count(letter) for letter in sorted(set(word))]
    arrangements = len(set(itertools.permutations(word)))
    assert info.log_multiplicity([*counts, 0]) == pytest.approx(math.log(arrangements), rel=1e-13, abs=1e-13)
    assert info.exact_factorial_entropy(counts) == pytest.approx(math.log(arrangements) / len(word), abs=1e-14)


def test_log_factorial_against_scipy():
    n = np.concatenate([np.arange(200), [10**3, 10**6, 10**9, 10**12, 2**53]])
    np.testing.assert_allclose(info.log_factorial(n), scipy.special.gammaln(n + 1.0), rtol=4e-15, atol=1e-15)
    assert info.log_factorial(5) == math.log(120)
    exact = [math.lgamma(k + 1) for k in (20, 21, 22)]
    np.testing.assert_allclose(info.log_factorial([20, 21, 22]), exact, rtol=1e-15)


def test_multiplicity_along_an_axis(rng):
    n = rng.integers(0, 60, (4, 5, 6))
    wanted = scipy.special.gammaln(n.sum(1) + 1) - scipy.special.gammaln(n + 1).sum(1)
    np.testing.assert_allclose(info.log_multiplicity(n, axis=1), wanted, rtol=1e-12)
    np.testing.assert_allclose(info.log_multiplicity(n[0], axis=None), info.log_multiplicity(n[0].ravel()))
    assert info.log_multiplicity([10**12, 0, 0]) == 0
    assert info.log_multiplicity([0, 0]) == 0


def test_estimators_along_an_axis(rng):
    n = rng.integers(0, 9, (3, 7, 2))
    n[:, 0] += 1
    np.testing.assert_allclose(info.plug_in_entropy(n, axis=1), scipy.stats.entropy(n, axis=1))
    shift = ((n > 0).sum(1) - 1) / (2 * n.sum(1)) / math.log(2)
    np.testing.assert_allclose(
        info.miller_madow_entropy(n, axis=1, base=2), scipy.stats.entropy(n, axis=1, base=2) + shift
    )
    whole = info.exact_factorial_entropy(n, axis=None)
    assert whole == pytest.approx(info.log_multiplicity(n.ravel()) / n.sum())


def test_log_multiplicity_per_thing_approaches_the_entropy():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    gaps = [scipy.stats.entropy(p) - info.exact_factorial_entropy((p * 8 * 10**k).astype(int)) for k in range(8)]
    assert all(0 < b < a / 4 for a, b in itertools.pairwise(gaps))


def test_miller_madow_has_less_bias(rng):
    p = np.full(8, 1 / 8)
    n = rng.multinomial(40, p, size=4000)
    plain = np.log(8) - info.plug_in_entropy(n).mean()
    corrected = np.log(8) - info.miller_madow_entropy(n).mean()
    assert plain == pytest.approx(7 / 80, rel=0.15)
    assert abs(corrected) < plain / 5


def test_gaussian(rng):
    a = rng.normal(size=(6, 4, 4))
    cov = a @ np.swapaxes(a, 1, 2) + 0.1 * np.eye(4)
    wanted = [scipy.stats.multivariate_normal(cov=c).entropy() for c in cov]
    np.testing.assert_allclose(info.gaussian_differential_entropy(cov), wanted, rtol=1e-10)
    assert info.gaussian_differential_entropy(0.01) == pytest.approx(scipy.stats.norm(scale=0.1).entropy())
    split = info.gaussian_differential_entropy(np.diag([2.0, 3.0]))
    assert split == pytest.approx(info.gaussian_differential_entropy(2.0) + info.gaussian_differential_entropy(3.0))


def test_single_precision_and_lists(rng):
    p = drawn(rng, 3, 50_000).astype(np.float32)
    np.testing.assert_allclose(info.shannon_entropy(p), scipy.stats.entropy(p.astype(float), axis=1), rtol=1e-4)
    assert info.shannon_entropy(p).dtype == np.float64
    assert info.shannon_entropy([1, 0]) == 0
    assert str(info.shannon_entropy([1, 0])) == "0.0"
    assert info.shannon_entropy(np.zeros((0, 4))).shape == (0,)


HALF = [0.5, 0.5]
BAD = [
    (
        lambda: info.shannon_entropy([0.5, -0.1, 0.6]),
        r"p: got -0.1 at index \(1,\), allowed: probabilities, numbers from",
    ),
    (lambda: info.shannon_entropy([[0.5, 0.5], [np.nan, 1]]), r"p: got nan at index \(1, 0\), allowed"),
    (
        lambda: info.shannon_entropy([[0.5, 0.5], [0.5, 0.6]]),
        r"p: got sum 1.1 at index \(1,\) along axis -1, allowed: 1 ",
    ),
    (lambda: info.shannon_entropy([np.inf, 0]), r"p: got sum inf along axis -1, allowed: 1 within 1e-06"),
    (lambda: info.shannon_entropy([]), "p: got sum 0 along axis -1, allowed: 1"),
    (lambda: info.shannon_entropy(["x", "y"]), "p: got list .*, allowed: an array of real numbers"),
    (lambda: info.shannon_entropy([[0.5, 0.5], [1]]), "p: got list .*, allowed: an array of real numbers"),
    (lambda: info.shannon_entropy([0.5j, 1]), "p: got list .*, allowed: an array of real numbers"),
    (lambda: info.shannon_entropy(HALF, axis=1), "axis 1 is out of bounds"),
    (lambda: info.shannon_entropy(HALF, base=1), "base: got 1, allowed: a finite number above 1, or None for nats"),
    (lambda: info.shannon_entropy(HALF, base="2"), "base: got '2', allowed"),
    (lambda: info.cross_entropy(HALF, [0.5, 0.4]), "q: got sum 0.9 along axis -1, allowed: 1"),
    (lambda: info.kl_divergence(HALF, [0.2, 0.3, 0.5]), r"q: got shape \(3,\), allowed: one that goes with p \(2,\)"),
    (lambda: info.js_divergence([2, -1], HALF), r"p: got -1 at index \(1,\)"),
    (lambda: info.surprisal(1.5), "p: got 1.5, allowed: probabilities from 0 to 1"),
    (lambda: info.surprisal([0.1, np.nan]), r"p: got nan at index \(1,\)"),
    (lambda: info.varentropy([0.1, 0.1]), "p: got sum 0.2"),
    (lambda: info.renyi_entropy(HALF, -1), "order: got -1, allowed: a number of at least 0, or infinity"),
    (lambda: info.renyi_entropy(HALF, math.nan), "order: got nan"),
    (lambda: info.perplexity(HALF, order="2"), "order: got '2'"),
    (lambda: info.shannon_entropy_from_logits([0, np.nan]), r"logits: got nan at index \(1,\), allowed: finite"),
    (lambda: info.shannon_entropy_from_logits([0, np.inf]), r"logits: got inf at index \(1,\)"),
    (lambda: info.shannon_entropy_from_logits([-np.inf]), "logits: got -inf everywhere along the axis"),
    (lambda: info.shannon_entropy_from_logits([]), "logits: got -inf everywhere along the axis"),
    (
        lambda: info.shannon_entropy_from_logits([0, 1], temperature=0),
        "temperature: got 0, allowed: a finite number above 0",
    ),
    (lambda: info.mutual_information([[0.5, 0.6]]), r"joint: got sum 1.1 along axis \(-2, -1\)"),
    (lambda: info.mutual_information(HALF), r"axes: got \(-2, -1\), allowed: two different axes of an array of 1 dim"),
    (lambda: info.mutual_information(np.eye(2) / 2, axes=(1, -1)), r"axes: got \(1, -1\), allowed: two different axes"),
    (lambda: info.conditional_entropy(np.eye(2) / 2, axes=0), "axes: got 0, allowed: two different axes"),
    (
        lambda: info.log_multiplicity([3, 1.5]),
        r"counts: got 1.5 at index \(1,\), allowed: whole numbers from 0 to 2\^53",
    ),
    (lambda: info.log_multiplicity([3, -1]), r"counts: got -1 at index \(1,\)"),
    (lambda: info.log_multiplicity([2**53, 2**53]), r"counts: got a total of 1.80144e\+16, allowed: at most 2\^53"),
    (lambda: info.log_factorial(np.nan), "n: got nan, allowed: whole numbers"),
    (lambda: info.plug_in_entropy([[1, 2], [0, 0]]), "counts: got nothing but 0 along axis -1, allowed: at least one"),
    (lambda: info.miller_madow_entropy([]), "counts: got nothing but 0"),
    (lambda: info.exact_factorial_entropy([np.inf]), "counts: got inf"),
    (lambda: info.gaussian_differential_entropy(-1), "cov: got smallest eigenvalue -1, allowed: positive definite"),
    (
        lambda: info.gaussian_differential_entropy([[1, 2], [2, 1]]),
        "cov: got smallest eigenvalue -1, allowed: positive",
    ),
    (
        lambda: info.gaussian_differential_entropy([[1, 2], [0, 9]]),
        "cov: got entries that differ by 2 from their mirror",
    ),
    (lambda: info.gaussian_differential_entropy([1, 2]), r"cov: got shape \(2,\), allowed: one variance, or square"),
    (
        lambda: info.gaussian_differential_entropy([[np.nan]]),
        r"cov: got nan at index \(0, 0\), allowed: finite numbers",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_is_one_clear_line(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match="^" + message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


def test_no_warnings_on_edges(recwarn):
    certain, coin = [1.0, 0.0], [0.5, 0.5]
    info.kl_divergence(coin, certain)
    info.cross_entropy(coin, certain)
    info.js_divergence(coin, certain)
    info.surprisal(0.0)
    for order in (0, 0.5, 0.9, 1, 3, np.inf):
        info.renyi_entropy(certain, order)
    info.mutual_information(np.diag(certain))
    info.shannon_entropy_from_logits([-np.inf, 1e308, -1e308])
    info.log_multiplicity([0, 0])
    assert not recwarn.list


def test_imports_nothing_but_numpy():
    code = "import sys, entropy_utils.information; print({'scipy', 'torch', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
