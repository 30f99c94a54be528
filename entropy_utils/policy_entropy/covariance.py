"""Covariances of log-probability and advantage: the quantities that drive the entropy (Cui et al. 2025, sec. 3-4).

Tensors are (..., sequences, tokens): everything is computed over the last two axes, so that a stack of replicas
(leading axes) is treated as that many separate minibatches. All advantages are per token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x (..., N, T) over the valid tokens of the last two axes, keeping them as (..., 1, 1); 0 if none is valid."""
    count = mask.sum((-2, -1), keepdim=True).clamp(min=1)
    return (x * mask).sum((-2, -1), keepdim=True) / count


def token_covariance(logp: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Score of every token, (log pi - mean log pi)(A - mean A), means over the valid tokens (eq. 10). Unit: nats.

    logp, advantages, mask: (..., N, T). Its mean over the tokens is the covariance; it carries no gradient.
    """
    logp = logp.detach()
    return (logp - masked_mean(logp, mask)) * (advantages - masked_mean(advantages, mask)) * mask


def group_covariance(logp: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Cov(log pi(y), pi(y) A) inside each group of responses, whole responses being the actions (eq. 8-9).

    logp, mask (..., G, T) over the G responses of a prompt, advantages (..., G). log pi(y) is the mean log-probability
    of the tokens of a response and pi(y) its exponential, as the paper does. Returns (...,), in nats.
    """
    mean_logp = (logp * mask).sum(-1) / mask.sum(-1).clamp(min=1)
    weighted = mean_logp.exp() * advantages
    centred = mean_logp - mean_logp.mean(-1, keepdim=True)
    return (centred * (weighted - weighted.mean(-1, keepdim=True))).mean(-1)


def entropy_change_from_logits(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Measured and predicted entropy change of every state whose logits moved from `before` to `after`, (..., V).

    Measured: H(after) - H(before). Predicted (Lemma 1): -Cov_{a ~ pi}(log pi(a), z_after(a) - z_before(a)), the
    expectation taken exactly over the vocabulary. Both (...,), in nats; they agree to first order in the move.
    """
    log_before, log_after = before.log_softmax(-1), after.log_softmax(-1)
    p = log_before.exp()
    entropy = -(p * log_before).sum(-1)
    measured = -(log_after.exp() * log_after).sum(-1) - entropy
    predicted = -(p * (log_before + entropy.unsqueeze(-1)) * (after - before)).sum(-1)
    return measured, predicted


def top_means(scores: Tensor, shares: tuple[float, ...]) -> list[float]:
    """Mean of the largest `share` of the scores (at least one), for every share (the layout of the paper's Table 1)."""
    ordered = scores.flatten().sort(descending=True).values
    return [ordered[: max(1, int(share * len(ordered)))].mean().item() for share in shares]


def select_largest(scores: Tensor, count: Tensor) -> Tensor:
    """Boolean mask of the `count` (...,) largest finite scores over the last two axes of `scores` (..., N, T)."""
    flat = scores.flatten(-2)
    order = flat.sort(dim=-1, descending=True, stable=True).indices
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(flat.shape[-1], device=flat.device).expand_as(order))
    chosen = (rank < count.unsqueeze(-1)) & flat.isfinite()
    return chosen.view(scores.shape)
