"""Control for Clip-Cov: the same share of tokens detached, chosen without looking at the covariance."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..covariance import select_largest
from .base import Intervention, Tokens, clipped_loss


class RandomMask(Intervention):
    """A random `share` of the valid tokens loses its gradient, under Clip-Cov's wide PPO range [0, 2]."""

    name = "random_mask"
    share: float = Field(0.1, gt=0, le=1, description="share of the valid tokens to detach")
    clip_low: float = Field(1.0, gt=0, le=1, description="how far the ratio may fall below 1")
    clip_high: float = Field(1.0, gt=0, le=10, description="how far the ratio may rise above 1")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, _ = clipped_loss(tokens, self.clip_low, self.clip_high)
        count = (self.share * tokens.mask.sum((-2, -1))).long().clamp(min=1)
        detached = select_largest(tokens.random.masked_fill(~tokens.mask, -torch.inf), count)
        return loss.masked_fill(detached, 0.0), detached
