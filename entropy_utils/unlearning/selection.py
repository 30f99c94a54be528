"""Which tokens of a text carry what was memorised: the least probable share of it (SHRED, arXiv 2605.07482)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

from .answer_tokens import IGNORED

How = Literal["surprising", "random", "probable"]


def select(log_prob: Tensor, mask: Tensor, share: float, how: How = "surprising", random: Tensor | None = None) -> Tensor:
    """The positions to forget, boolean (..., T): per instance the n = max(1, floor(share * length + 1/2)) that come first.

    `log_prob` (..., T) of the instance's own tokens under the frozen model, in nats; `mask` (..., T): which positions
    count. First come the least probable ("surprising"; the method), the most probable ("probable"), or those with the
    smallest of the uniform numbers `random` (..., T) ("random"): the two controls. Ties: the earlier position.
    """
    if not 0 < share <= 1:
        raise ParameterError.of("share", share, "a number above 0 and at most 1")
    if how not in ("surprising", "random", "probable"):
        raise ParameterError.of("how", how, "'surprising', 'random' or 'probable'")
    if how == "random" and random is None:
        raise ParameterError.of("random", None, "uniform numbers, one per position, for a random selection")
    score = {"surprising": log_prob, "probable": -log_prob, "random": random}[how]
    rank = score.masked_fill(~mask, torch.inf).argsort(dim=-1, stable=True).argsort(-1)
    length = mask.sum(-1, keepdim=True)
    chosen = (length.double() * share + 0.5 + 1e-9).floor().clamp(min=1)  # 0.29 x 50 is a half in floating point too
    return (rank < chosen) & mask


def chunks(tokens: Tensor, length: int, context: int = 0) -> dict[str, Tensor]:
    """A long document (n,) as a batch of chunks without overlap: input_ids, attention_mask and labels (chunks, length).

    From the second chunk on the first `context` tokens carry no loss: with little before it every token looks surprising.
    """
    if tokens.ndim != 1 or not len(tokens):
        raise ParameterError.of("tokens", f"shape {tuple(tokens.shape)}", "one sequence of at least one token")
    if length < 2:
        raise ParameterError.of("length", length, "at least 2 tokens per chunk")
    if not 0 <= context < length:
        raise ParameterError.of("context", context, f"from 0 to {length - 1}, below the length of a chunk")
    count = -(-len(tokens) // length)
    padded = torch.nn.functional.pad(tokens, (0, count * length - len(tokens)))
    mask = torch.arange(count * length) < len(tokens)
    ids, mask = padded.view(count, length), mask.view(count, length)
    labels = ids.masked_fill(~mask, IGNORED)
    labels[1:, :context] = IGNORED
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}
