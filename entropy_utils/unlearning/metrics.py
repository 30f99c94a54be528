"""How much of a text a model still knows: the measures of open-unlearning (locuslab/open-unlearning), per example.

Everything here works on the per-token numbers of a teacher-forced answer, or on finished strings and scores, so that
any model can be measured: tiny stacked ones and pretrained ones. With `...` for any leading axes (S stacked models),
N examples and T shifted positions:

- `log_prob` (..., N, T): log-probability of the answer's token, in nats, as `answer_log_prob` returns it;
- `correct` (..., N, T): whether that token is the most probable one;
- `mask` (..., N, T) or (N, T): which positions belong to the answer, its end token included.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def mean_nll(log_prob: Tensor, mask: Tensor) -> Tensor:
    """Mean negative log-probability per answer token, (..., N), nats. ValueError: an example without an answer."""
    count = _lengths(mask)
    return -(log_prob * mask).sum(-1) / count


def probability(log_prob: Tensor, mask: Tensor) -> Tensor:
    """exp(-mean NLL), (..., N): the geometric mean of the token probabilities (TOFU's "fkm" is its mean over N)."""
    return (-mean_nll(log_prob, mask)).exp()


def exact_memorisation(correct: Tensor, mask: Tensor) -> Tensor:
    """Share of the answer's tokens that are the model's first choice, (..., N)."""
    return (correct & mask).sum(-1) / _lengths(mask)


def extraction_strength(correct: Tensor, mask: Tensor) -> Tensor:
    """1 - k / n, (..., N): k is the shortest prefix of the n answer tokens after which every first choice is right.

    1 when the whole answer follows from the question alone; 0 when even the last token is wrong.
    """
    rank = mask.cumsum(-1)
    prefix = torch.where(mask & ~correct, rank, 0).amax(-1)
    return 1 - prefix / _lengths(mask)


def fact_probability(log_prob: Tensor, fact: Tensor) -> Tensor:
    """Probability of the whole value, (..., N): the product over its tokens; `fact` (N, T) marks them."""
    _lengths(fact, "fact")
    return (log_prob * fact).sum(-1).exp()


def fact_accuracy(correct: Tensor, fact: Tensor) -> Tensor:
    """1 where every token of the value is the first choice, else 0, (..., N)."""
    _lengths(fact, "fact")
    return (correct | ~fact).all(-1).double()


class Rouge(NamedTuple):
    """ROUGE-L of one text: the longest common subsequence over the length of the reference, and its F1."""

    recall: float
    f1: float


def rouge_l(candidate: Sequence[Hashable], reference: Sequence[Hashable]) -> Rouge:
    """ROUGE-L (Lin 2004) of two sequences of words or tokens; an empty sequence scores 0."""
    common = common_subsequence(candidate, reference)
    recall = common / len(reference) if len(reference) else 0.0
    both = len(candidate) + len(reference)
    return Rouge(recall, 2 * common / both if both else 0.0)


def common_subsequence(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence: words in the same order, gaps allowed."""
    if a == b:
        return len(a)
    best = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            diagonal, best[j] = best[j], diagonal + 1 if x == y else max(best[j], best[j - 1])
    return best[-1]


def words(text: str) -> list[str]:
    """A text as ROUGE counts it: lower case, letters and digits only (no stemming)."""
    return re.findall(r"[^\W_]+", text.lower())


def log_truth_ratio(correct: Tensor, perturbed: Tensor) -> Tensor:
    """log of TOFU's truth ratio, (..., N): mean NLL of the true answer minus that of its W wrong versions.

    `correct` (..., N) is the per-token NLL of the paraphrased true answer, `perturbed` (..., N, W) those of the wrong
    ones. The ratio is wrong over correct: below 0 the model prefers the truth. Kept as a logarithm, it stays exact for
    a collapsed model, where the usual 1e-10 in the denominator would turn "knows nothing" into "knows the truth".
    """
    if perturbed.shape[:-1] != correct.shape or not perturbed.shape[-1]:
        got = f"{tuple(perturbed.shape)} beside correct {tuple(correct.shape)}"
        raise ValueError(f"perturbed: got {got}, allowed: the shape of correct and a last axis of at least 1")
    return correct - perturbed.mean(-1)


def truth_ratio_forget(log_ratio: Tensor) -> Tensor:
    """Mean of min(TR, 1 / TR) over the forget set, (...): 1 when true and wrong answers are equally likely."""
    return (-log_ratio.abs()).exp().mean(-1)


def truth_ratio_utility(log_ratio: Tensor) -> Tensor:
    """Mean of max(0, 1 - TR) over a set to keep, (...): 1 when wrong answers have no probability."""
    return (1 - log_ratio.clamp(max=0).exp()).mean(-1)


def normalised_probability(correct: Tensor, perturbed: Tensor) -> Tensor:
    """p / (p + sum of the wrong answers' p), (..., N), p = exp(-mean NLL); arguments as `log_truth_ratio`."""
    log_p = -torch.cat([correct.unsqueeze(-1), perturbed], -1)
    return log_p.softmax(-1)[..., 0]


def harmonic_mean(values, axis: int = -1):
    """Harmonic mean of numbers of at least 0; 0 as soon as one of them is 0."""
    values = np.asarray(values, float)
    if not values.size or not (values >= 0).all():
        raise ValueError("values: got a negative number, NaN or none at all, allowed: numbers of at least 0")
    with np.errstate(divide="ignore"):
        return values.shape[axis] / (1 / values).sum(axis)


def forget_quality(log_ratio, retrained) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test between two models' forget-set truth ratios.

    1: nobody can tell the unlearned from the retrained model by them. Logarithms serve as well as the ratios, for the
    test sees only the order.
    """
    from scipy.stats import ks_2samp

    return float(ks_2samp(np.asarray(log_ratio), np.asarray(retrained)).pvalue)


def _lengths(mask: Tensor, name: str = "mask") -> Tensor:
    count = mask.sum(-1)
    if not count.all():
        row = (count == 0).nonzero()[0].tolist()
        raise ValueError(f"{name}: got no position in example {row[-1]}, allowed: at least one per example")
    return count
