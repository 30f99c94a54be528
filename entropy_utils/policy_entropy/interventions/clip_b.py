"""Clip_B and its control (Wang et al. 2026, arXiv 2602.03392): no penalty for rare tokens whose fall costs entropy."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..covariance import masked_mean, select_largest
from ..estimators import discriminator
from .base import Prepared, Sampled
from .none import NoIntervention


class ClipB(NoIntervention):
    """Tokens of negative advantage with an outlying low S = p (log p + H) are taken out of the loss and its denominator.

    Without `share`: those with S below the mean of the whole rollout by more than `mu` standard deviations (the paper's
    rule). Since S >= -e^-(1 + H), a policy of high entropy may have none. With `share`: that part of the tokens of
    negative advantage, lowest S first. The memory is the share of all tokens taken out of this rollout.
    """

    name = "clip_b"
    mu: float = Field(2.5, ge=0, le=100, description="threshold", json_schema_extra={"unit": "standard deviations of S"})
    share: float | None = Field(None, gt=0, le=1, description="part of the negative-advantage tokens; replaces mu")

    def prepare(self, sampled: Sampled) -> Prepared:
        mask = sampled.mask.flatten(-3, -2)
        negative = mask & (sampled.advantages < 0).flatten(-2).unsqueeze(-1)
        dropped = self.dropped(sampled, mask, negative)
        memory = masked_mean(dropped.to(sampled.memory.dtype), mask)[..., 0, 0]
        return Prepared(sampled.advantages, sampled.mask & ~dropped.view(sampled.mask.shape), memory)

    def dropped(self, sampled: Sampled, mask: Tensor, negative: Tensor) -> Tensor:
        """Which tokens go, (..., N, T), out of the valid ones and those of negative advantage, both (..., N, T)."""
        score = self.score(sampled, mask)
        if self.share is not None:
            count = (self.share * negative.sum((-2, -1))).long()
            return select_largest((-score).masked_fill(~negative, -torch.inf), count)
        sd = masked_mean((score - masked_mean(score, mask)).square(), mask).sqrt()
        return negative & (score < -self.mu * sd) & (sd > 1e-12)

    def score(self, sampled: Sampled, mask: Tensor) -> Tensor:
        """S minus its mean over the rollout, (..., N, T)."""
        s = discriminator(sampled.logp, sampled.entropy).flatten(-3, -2)
        return s - masked_mean(s, mask)


class ClipBRandom(ClipB):
    """Control for Clip_B: as many tokens of negative advantage as it would take out, chosen at random."""

    name = "clip_b_random"
    uses: ClassVar[frozenset[str]] = frozenset({"random"})

    def dropped(self, sampled: Sampled, mask: Tensor, negative: Tensor) -> Tensor:
        count = super().dropped(sampled, mask, negative).sum((-2, -1))
        return select_largest(sampled.random.flatten(-3, -2).masked_fill(~negative, -torch.inf), count)
