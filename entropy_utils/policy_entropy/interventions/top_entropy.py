"""High-entropy tokens only (Wang et al. 2025, arXiv 2506.01939): the policy gradient of the most uncertain states."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..covariance import select_largest
from .base import Tokens
from .none import NoIntervention


class TopEntropy(NoIntervention):
    """Only the `share` of the valid tokens whose distribution has the highest entropy keep their gradient.

    The others stay in the denominator of the token mean.
    """

    name = "top_entropy"
    share: float = Field(0.2, gt=0, le=1, description="share of the valid tokens to train on")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, _ = super().token_loss(tokens)
        count = (self.share * tokens.mask.sum((-2, -1))).long().clamp(min=1)
        trained = select_largest(tokens.entropy.detach().masked_fill(~tokens.mask, -torch.inf), count)
        return loss.masked_fill(~trained, 0.0), tokens.mask & ~trained
