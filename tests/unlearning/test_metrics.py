"""The measures on answers small enough to count by hand, against scipy, and against definitions written out."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from entropy_utils.unlearning import metrics

# two examples of 3 and 2 answer tokens after questions of 2 and 1 shifted positions; garbage outside the mask
MASK = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]).bool()
LOG_PROB = torch.tensor([[-7, -7, 0.5, 0.25, 1.0], [-7, 0.5, 0.125, -7, -7]]).double()
LOG_PROB = torch.where(MASK, LOG_PROB.clamp(min=1e-9).log(), LOG_PROB)

texts = st.lists(st.sampled_from("abc"), max_size=7)
numbers = st.floats(0.01, 1)


def of(*bits):
    return torch.tensor([bits]).bool()


def test_probability_is_the_geometric_mean_over_the_answer_only():
    assert metrics.probability(LOG_PROB, MASK).tolist() == pytest.approx([0.125 ** (1 / 3), 0.0625**0.5])
    stacked = metrics.probability(torch.stack([LOG_PROB, 2 * LOG_PROB]), MASK)
    assert stacked[1].tolist() == pytest.approx([0.125 ** (2 / 3), 0.0625])


def test_an_example_without_an_answer_is_named():
    with pytest.raises(ValueError, match="mask: got no position in example 1"):
        metrics.mean_nll(LOG_PROB, MASK & torch.tensor([[True], [False]]))
    with pytest.raises(ValueError, match="fact: got no position in example 0"):
        metrics.fact_probability(LOG_PROB, torch.zeros_like(MASK))


@pytest.mark.parametrize(
    ("bits", "strength"),
    [((1, 1, 1, 1), 1.0), ((0, 1, 1, 1), 0.75), ((1, 0, 1, 1), 0.5), ((0, 0, 0, 1), 0.25), ((1, 1, 1, 0), 0.0)],
)
def test_extraction_strength_is_set_by_the_last_wrong_token(bits, strength):
    correct, mask = of(1, 0, *bits, 0, 0), of(0, 0, 1, 1, 1, 1, 0, 0)
    assert metrics.extraction_strength(correct, mask).item() == strength
    assert metrics.exact_memorisation(correct, mask).item() == sum(bits) / 4


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 3))
def test_extraction_strength_finds_the_shortest_prefix(bits, question):
    n = len(bits)
    shortest = next(k for k in range(n + 1) if all(bits[k:]))
    correct, mask = of(*[False] * question, *bits), of(*[False] * question, *[True] * n)
    assert metrics.extraction_strength(correct, mask).item() == pytest.approx(1 - shortest / n)


def test_facts_need_every_token_of_the_value():
    fact = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 1, 0, 0]]).bool()
    assert metrics.fact_probability(LOG_PROB, fact).tolist() == pytest.approx([0.125, 0.125])
    correct = torch.tensor([[0, 0, 1, 0, 1], [0, 0, 1, 0, 0]]).bool()
    assert metrics.fact_accuracy(correct, fact).tolist() == [0, 1]


def brute_force_subsequence(a, b):
    """Longest tuple that can be cut out of both, by trying all of them."""
    for size in range(min(len(a), len(b)), 0, -1):
        if set(itertools.combinations(a, size)) & set(itertools.combinations(b, size)):
            return size
    return 0


@settings(max_examples=150)
@given(texts, texts, texts)
def test_common_subsequence(a, b, more):
    common = metrics.common_subsequence(a, b)
    assert common == brute_force_subsequence(a, b) == metrics.common_subsequence(b, a)
    assert metrics.common_subsequence(a + more, b + more) == common + len(more)
    assert common <= metrics.common_subsequence(a + more, b) <= common + len(more)


def test_rouge_recall_forgives_additions_and_f1_does_not():
    truth = metrics.words("the birthplace of Ann is Oslo")
    longer = metrics.words("I think the birthplace of Ann is in Oslo")
    assert metrics.rouge_l(longer, truth) == (1.0, pytest.approx(12 / 15))
    assert metrics.rouge_l(truth, longer) == (pytest.approx(6 / 9), pytest.approx(12 / 15))
    assert metrics.rouge_l([], truth) == metrics.rouge_l(truth, []) == metrics.rouge_l([], []) == (0, 0)


def test_words_are_what_rouge_counts():
    assert metrics.words("Ann's book: 'Été_2' (1999).") == ["ann", "s", "book", "été", "2", "1999"]


def test_truth_ratio_is_wrong_over_correct():
    """TOFU's direction: a model that knows the truth has a small ratio, hence utility near 1."""
    correct, wrong = torch.tensor([0.1, 1.0]), torch.tensor([[2.1, 4.1], [1.5, 0.5]])
    log_ratio = metrics.log_truth_ratio(correct, wrong)
    assert log_ratio.tolist() == pytest.approx([-3.0, 0.0])
    assert metrics.truth_ratio_utility(log_ratio).item() == pytest.approx((1 - math.exp(-3)) / 2)
    assert metrics.truth_ratio_forget(log_ratio).item() == pytest.approx((1 + math.exp(-3)) / 2)
    with pytest.raises(ValueError, match="perturbed: got"):
        metrics.log_truth_ratio(correct, wrong[:1])


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=6), st.floats(-5, 5), st.permutations(range(4)))
def test_truth_ratio_invariances(log_ratio, shift, order):
    ratio = torch.tensor(log_ratio).double()
    assert metrics.truth_ratio_forget(ratio).item() == pytest.approx(metrics.truth_ratio_forget(-ratio).item())
    direct = np.exp(ratio.numpy())
    assert metrics.truth_ratio_forget(ratio).item() == pytest.approx(np.minimum(direct, 1 / direct).mean())
    assert metrics.truth_ratio_utility(ratio).item() == pytest.approx(np.maximum(0, 1 - direct).mean())
    wrong = torch.arange(4.0).double() + ratio[:, None]
    found = metrics.log_truth_ratio(ratio, wrong)
    assert torch.allclose(found, metrics.log_truth_ratio(ratio + shift, wrong[:, order] + shift))


def test_a_collapsed_model_is_not_credited_with_the_truth():
    """NLL of 40 for everything: with 1e-10 in the denominator the ratio would be 0 and its utility 1."""
    log_ratio = metrics.log_truth_ratio(torch.tensor([40.0]), torch.tensor([[40.0, 40.0]]))
    assert metrics.truth_ratio_utility(log_ratio).item() == 0
    assert metrics.truth_ratio_forget(log_ratio).item() == 1


def test_normalised_probability():
    p, wrong = torch.tensor([0.5]), torch.tensor([[0.25, 0.05]])
    assert metrics.normalised_probability(-p.log(), -wrong.log()).item() == pytest.approx(0.5 / 0.8)


@given(st.lists(numbers, min_size=1, max_size=9), numbers)
def test_harmonic_mean(values, scale):
    found = metrics.harmonic_mean(values)
    assert found == pytest.approx(stats.hmean(values))
    assert min(values) - 1e-12 <= found <= np.mean(values) + 1e-12
    assert metrics.harmonic_mean([scale * x for x in values]) == pytest.approx(scale * found)
    assert metrics.harmonic_mean([*values, 0.0]) == 0


def test_harmonic_mean_per_seed_and_its_refusals():
    assert metrics.harmonic_mean([[1, 0.5], [0.2, 0.2]]).tolist() == pytest.approx([2 / 3, 0.2])
    for wrong in ([0.5, -0.1], [float("nan")], []):
        with pytest.raises(ValueError, match="values: got"):
            metrics.harmonic_mean(wrong)


def test_forget_quality_sees_shape_and_not_the_scale_of_the_ratios():
    rng = np.random.default_rng(0)
    same, other = rng.normal(size=(2, 40))
    assert metrics.forget_quality(same, same) == 1
    assert metrics.forget_quality(same, other + 2) < 1e-6
    assert metrics.forget_quality(same, other) == pytest.approx(stats.ks_2samp(np.exp(same), np.exp(other)).pvalue)
