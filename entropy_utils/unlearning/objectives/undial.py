"""UNDIAL (Dong et al. 2024, arXiv:2402.10052): self-distillation with the answer's logits lowered by beta everywhere."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..answer_tokens import answer_targets
from .base import Objective, Output, masked_mean


class Undial(Objective):
    """Cross-entropy to the frozen model's distribution with beta taken from the logit of every answer token.

    The mean runs over the answer's tokens only. For beta -> infinity this is SHRED's variant A with share 1 and the whole
    vocabulary stored, up to the target's entropy, which has no gradient.
    """

    name: ClassVar[str] = "undial"

    beta: float = Field(10.0, ge=0, le=1e4, description="what the memorised logit loses", json_schema_extra={"unit": "nats"})

    def prepare(self, frozen: Output, labels: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """q (..., B, L - 1, V): the target. With a large vocabulary make it batch by batch."""
        z = frozen.logits[..., :-1, :].float()
        tokens = answer_targets(labels)[0].expand(z.shape[:-1])
        return {"q": undial_target(z, tokens, self.beta).exp()}

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        z = live.logits[..., :-1, :]
        mask = answer_targets(labels)[1].expand(z.shape[:-1])
        return masked_mean(z.logsumexp(-1) - (targets["q"] * z).sum(-1), mask)


def undial_target(log_p: Tensor, tokens: Tensor, beta: float | Tensor) -> Tensor:
    """log q (..., V): distributions (or logits) log_p (..., V) with beta taken from those of `tokens` (...).

    beta: a number, or one per distribution (...).
    """
    lowered = torch.zeros_like(log_p).scatter(-1, tokens.unsqueeze(-1), 1.0)
    return (log_p - lowered * torch.as_tensor(beta, dtype=log_p.dtype, device=log_p.device).unsqueeze(-1)).log_softmax(-1)
