"""No intervention: GRPO's clipped loss as it is."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .base import Intervention, Tokens, clipped_loss


class NoIntervention(Intervention):
    """Clipped policy-gradient loss with the importance ratio kept in [1 - clip_low, 1 + clip_high]."""

    name = "none"
    clip_low: float = Field(0.2, gt=0, le=1, description="how far the ratio may fall below 1")
    clip_high: float = Field(0.2, gt=0, le=10, description="how far the ratio may rise above 1")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        return clipped_loss(tokens, self.clip_low, self.clip_high)
