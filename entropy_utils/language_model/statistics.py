"""What a softmax says about each token: its log-probability, the entropy, and two moments of the vocabulary."""

import math
from typing import NamedTuple

import torch


class TokenStatistics(NamedTuple):
    """Per-token quantities of p = softmax(z / temperature), in nats, each of the shape of the tokens.

    ``log_prob`` log p of the token itself; ``entropy`` -sum p log p; ``sum_p2`` sum p^2, the collision probability;
    ``sum_p2_log_p`` sum p^2 log p, of which entropy * sum_p2 + sum_p2_log_p is the entropy change expected per step.
    """

    log_prob: torch.Tensor
    entropy: torch.Tensor
    sum_p2: torch.Tensor
    sum_p2_log_p: torch.Tensor


def token_statistics_reference(
    tokens: torch.Tensor, logits: torch.Tensor, *, temperature: float = 1.0, entropy_grad: bool = False
) -> TokenStatistics:
    """The definition, written out: every intermediate of the size of the logits is held. Works under ``torch.func``.

    ``tokens`` int64 [...], ``logits`` [..., vocabulary]; computed in the precision of the logits, at least float32.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    log_p = (logits / temperature).log_softmax(-1)
    log_prob = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    wide = log_p if entropy_grad else log_p.detach()
    p = wide.exp()
    p_log_p = p * wide.clamp(min=torch.finfo(wide.dtype).min)  # 0 log 0 = 0
    with torch.no_grad():
        sum_p2, sum_p2_log_p = (p * p).sum(-1), (p * p_log_p).sum(-1)
    return TokenStatistics(log_prob, -p_log_p.sum(-1), sum_p2, sum_p2_log_p)


def token_statistics(
    tokens: torch.Tensor,
    logits: torch.Tensor | None = None,
    *,
    hidden: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    temperature: float = 1.0,
    entropy_grad: bool = False,
) -> TokenStatistics:
    """Statistics of each token under softmax(z / temperature); see ``TokenStatistics``.

    z is either ``logits`` [..., vocabulary] or ``hidden`` [..., d] @ ``weight`` [vocabulary, d].T + ``bias``.
    Row t of z is the distribution that ``tokens`` [...] at t was drawn from: shifting by one is the caller's.
    Gradients flow through ``log_prob`` and, with ``entropy_grad``, through ``entropy``; the moments carry none.
    """
    if logits is None:
        logits = torch.nn.functional.linear(hidden.float(), weight.float(), None if bias is None else bias.float())
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: got {temperature!r}, allowed: a finite number above 0")
    return token_statistics_reference(tokens, logits, temperature=temperature, entropy_grad=entropy_grad)
