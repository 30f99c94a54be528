"""The tokens of an answer and what a model gave them: the shift by one and the mask, in one place for everything else."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100  # label of a token that carries no loss: the question and the padding


def answer_targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(token that each position is to predict, whether it is one of the answer): (..., L) gives twice (..., L - 1).

    Position t predicts the token at t + 1. Outside the answer the token is 0, and the mask says so.
    """
    target = labels[..., 1:]
    mask = target != IGNORED
    return target.where(mask, 0), mask


def answer_log_prob(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each answer token in nats, 0 outside the answer, and the mask of the answer.

    logits (..., N, L, V), in float32 at least; labels (..., N, L) with -100 outside the answer and fewer leading axes if
    models share their rows. Both results are (..., N, L - 1), in the shifted frame of `answer_targets`.
    """
    logits = logits[..., :-1, :]
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    target, mask = (part.expand(logits.shape[:-1]) for part in answer_targets(labels))
    own = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return (own - logits.logsumexp(-1)).where(mask, 0), mask
