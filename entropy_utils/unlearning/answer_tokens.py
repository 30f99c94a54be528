"""The tokens of an answer and what a model gave them: the shift by one and the mask, in one place for everything else."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

IGNORED = -100  # label of a token that carries no loss: the question and the padding


def answer_targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(token that each position is to predict, whether it is one of the answer): (..., L) gives twice (..., L - 1).

    Position t predicts the token at t + 1. Outside the answer the token is 0, and the mask says so.
    """
    target = labels[..., 1:]
    mask = target != IGNORED
    return target.where(mask, 0), mask


def answer_places(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where answers are predicted, (N, A), and the tokens to predict there, (N, A), -100 behind the end."""
    target, mask = labels[:, 1:], answer_targets(labels)[1]
    places = mask.int().argmax(-1, keepdim=True) + torch.arange(int(mask.sum(-1).max()))
    inside = places < target.shape[-1]
    places = places.clamp(max=target.shape[-1] - 1)
    return places, target.gather(-1, places).masked_fill(~inside, IGNORED)


def check_answers(name: str, batch: Mapping[str, Tensor], positions: int | None) -> None:
    """Raise a `ParameterError` for a batch (N, L) that cannot be trained on by a model of so many `positions`."""
    if not len(batch["labels"]):
        raise ParameterError.of(name, "no example", "at least one example")
    if not answer_targets(batch["labels"])[1].any(1).all():
        raise ParameterError.of(name, "an example without answer", "at least one answer token in every example")
    longest = int(batch["attention_mask"].sum(-1).max())
    if positions is not None and longest > positions:
        raise ParameterError.of(name, f"{longest} tokens", f"at most the model's {positions} positions")


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
