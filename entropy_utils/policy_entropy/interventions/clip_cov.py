"""Clip-Cov (Cui et al. 2025, eq. 11-12): no gradient from a few random tokens of high covariance."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..covariance import select_largest, token_covariance
from .base import Intervention, Tokens, clipped_loss


class ClipCov(Intervention):
    """Of the tokens whose score lies in the band (low, high), a random `share` of the minibatch loses its gradient.

    The score is the token covariance (eq. 10). Tokens that the wide PPO range [0, 2] already clips are no candidates.
    Detached tokens stay in the denominator of the token mean. The paper's share of 2e-4 is meant for minibatches of
    about a million tokens; at least one token is always taken if the band holds any.
    """

    name = "clip_cov"
    share: float = Field(2e-4, gt=0, le=1, description="share of the valid tokens to detach")
    low: float = Field(1.0, description="lower end of the band of scores", json_schema_extra={"unit": "nats"})
    high: float = Field(5.0, description="upper end of the band of scores", json_schema_extra={"unit": "nats"})
    clip_low: float = Field(1.0, gt=0, le=1, description="how far the ratio may fall below 1")
    clip_high: float = Field(1.0, gt=0, le=10, description="how far the ratio may rise above 1")

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} and high {self.high}: allowed are low < high")
        return self

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, clipped = clipped_loss(tokens, self.clip_low, self.clip_high)
        score = token_covariance(tokens.logp, tokens.advantages, tokens.mask)
        candidate = (score > self.low) & (score < self.high) & tokens.mask & ~clipped
        count = (self.share * tokens.mask.sum((-2, -1))).long().clamp(min=1)
        detached = select_largest(tokens.random.masked_fill(~candidate, -torch.inf), count)
        return loss.masked_fill(detached, 0.0), detached
