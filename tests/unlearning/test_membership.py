"""The membership attack on scores counted by hand and against scipy's Mann-Whitney statistic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from entropy_utils.unlearning.membership import auc, min_k_score, privleak

scores = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def answer(*log_prob, before=1, after=2):
    """One example: answer tokens with question positions before and padding after, both with tempting low numbers."""
    values = [-99.0] * before + list(log_prob) + [-99.0] * after
    mask = [False] * before + [True] * len(log_prob) + [False] * after
    return torch.tensor([values]), torch.tensor([mask])


def test_the_lowest_tokens_count_and_the_end_token_does_not():
    log_prob, mask = answer(-1.0, -5.0, -2.0, -4.0, -3.0, -50.0)  # 5 tokens and the end token
    assert min_k_score(log_prob, mask).item() == pytest.approx(4.5)  # floor(0.4 x 5) = 2 of them
    assert min_k_score(log_prob, mask, k=1.0).item() == pytest.approx(3.0)
    assert min_k_score(log_prob, mask, k=0.01).item() == pytest.approx(5.0)  # one at least
    assert min_k_score(torch.stack([log_prob, 2 * log_prob]), mask).flatten().tolist() == pytest.approx([4.5, 9.0])


def test_answers_of_unequal_length_do_not_touch_each_other():
    short, long = answer(-1.0, -3.0, -9.0, before=0, after=3), answer(-1.0, -1.0, -1.0, -1.0, -2.0, -9.0, before=0, after=0)
    found = min_k_score(torch.cat([short[0], long[0]]), torch.cat([short[1], long[1]]))
    assert found.tolist() == pytest.approx([3.0, 1.5])


@given(st.integers(1, 30), st.integers(1, 20))
def test_the_number_of_tokens_is_the_floor_of_the_share(length, twentieths):
    log_prob, mask = answer(*-np.arange(1.0, length + 1), -99.0)
    count = max(1, twentieths * length // 20)
    expected = np.arange(length - count + 1, length + 1).mean()
    assert min_k_score(log_prob, mask, k=twentieths / 20).item() == pytest.approx(expected)


def test_refusals_name_the_argument():
    log_prob, mask = answer(-1.0)
    with pytest.raises(ValueError, match="mask: got an answer of its end token alone"):
        min_k_score(log_prob, mask)
    with pytest.raises(ValueError, match="k: got 0"):
        min_k_score(log_prob, mask, k=0)
    with pytest.raises(ValueError, match="scores: got an empty set"):
        auc([], [1.0])
    with pytest.raises(ValueError, match=r"reference: got an AUC of -0\.1"):
        privleak(0.5, -0.1)


@given(scores, scores)
def test_auc_is_the_mann_whitney_statistic(forget, holdout):
    u = mannwhitneyu(holdout, forget).statistic  # holdout above forget
    assert auc(forget, holdout) == pytest.approx(u / (len(forget) * len(holdout)))
    assert auc(forget, holdout) + auc(holdout, forget) == pytest.approx(1)


def test_auc_of_stacked_models_is_each_models_own():
    forget, holdout = np.array([[1.0, 2.0], [3.0, 3.0]]), np.array([[3.0, 4.0, 5.0], [1.0, 3.0, 5.0]])
    assert auc(forget, holdout).tolist() == pytest.approx([1.0, 0.5])


def test_privleak_signs():
    """Members recognised: -100. Like the reference: 0. Forget texts that look stranger than unseen ones: positive."""
    assert privleak(1.0, 0.4) == pytest.approx(-100)
    assert privleak(0.4, 0.4) == 0
    assert privleak(0.0, 0.4) == pytest.approx(100 * 0.4 / 0.6)
    assert privleak(0.25) == pytest.approx(50)
    assert privleak(np.array([1.0, 0.5]), np.array([0.5, 0.5])).tolist() == [-100, 0]
    assert np.isnan(privleak(1.0, 1.0))
