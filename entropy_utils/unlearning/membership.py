"""Was a text in the training set? The Min-K% attack, its AUC, and PrivLeak (Shi et al. 2024, arXiv:2310.16789, 2407.06460).

A text that was learned has no very improbable token. The attack scores a text by its least probable tokens; the AUC
says how well that score separates forget texts from texts never seen; PrivLeak compares the AUC with that of a model
retrained without the forget set, which is what unlearning should look like.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def min_k_score(log_prob: Tensor, mask: Tensor, k: float = 0.4) -> Tensor:
    """Minus the mean of the lowest share `k` of an answer's token log-probabilities, (..., N), in nats.

    `log_prob` (..., N, T) and `mask` (N, T) as in `metrics`; the end token, the last of each answer, is left out. Of n
    tokens the max(1, floor(k n)) lowest count. Low scores are member-like.
    """
    if not 0 < k <= 1:
        raise ValueError(f"k: got {k!r}, allowed: a share above 0, up to 1")
    rank = mask.cumsum(-1)
    text = mask & (rank < rank[..., -1:])
    length = text.sum(-1)
    if not length.all():
        raise ValueError("mask: got an answer of its end token alone, allowed: at least one token before it")
    ordered = torch.where(text, log_prob, torch.inf).sort(-1).values
    count = (k * length + 1e-9).floor().clamp(min=1)  # 0.4 x 5 counts 2 in floating point too
    lowest = torch.arange(ordered.shape[-1], device=ordered.device) < count.unsqueeze(-1)
    return -torch.where(lowest, ordered, 0).sum(-1) / count


def auc(lower, higher) -> np.ndarray | float:
    """Probability that a random one of `lower` (..., N) is below a random one of `higher` (..., M); ties count half.

    With forget scores first and holdout scores second: 1 means every forget text looks more member-like.
    """
    a, b = np.asarray(lower)[..., :, None], np.asarray(higher)[..., None, :]
    if not (a.size and b.size):
        raise ValueError("scores: got an empty set, allowed: at least one score on each side")
    return ((a < b) + 0.5 * (a == b)).mean((-2, -1))


def privleak(auc, reference=0.5):
    """100 [(1 - AUC) - (1 - AUC_ref)] / (1 - AUC_ref), in per cent; `reference` is the retrained model's AUC.

    -100: members fully recognised. 0: as if retrained. Above 0: forget texts look less familiar than unseen ones. NaN
    where the reference is 1: even without the forget set every forget text looked like a member.
    """
    auc, reference = np.asarray(auc, float), np.asarray(reference, float)
    if not ((reference >= 0) & (reference <= 1)).all():
        raise ValueError(f"reference: got an AUC of {reference.tolist()}, allowed: from 0 to 1")
    return 100 * (reference - auc) / np.where(reference < 1, 1 - reference, np.nan)
