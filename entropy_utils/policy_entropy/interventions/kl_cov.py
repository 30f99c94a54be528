"""KL-Cov (Cui et al. 2025, eq. 13-14): a penalty on the tokens of highest covariance."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..covariance import select_largest, token_covariance
from .base import Intervention, Tokens


class KLCov(Intervention):
    """The `share` of tokens with the highest score pay coefficient * |log pi - log pi_old|; nothing is clipped.

    The penalty is the absolute log-ratio of the sampled token, not a divergence. Its gradient is a constant pull
    towards the old policy and exactly zero where the two agree: on a strictly on-policy step (one minibatch per
    rollout) the method does nothing.
    """

    name = "kl_cov"
    share: float = Field(2e-3, gt=0, le=1, description="share of the valid tokens to penalise")
    coefficient: float = Field(1.0, ge=0, le=100, description="weight of the penalty, per nat")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        score = token_covariance(tokens.logp, tokens.advantages, tokens.mask)
        count = (self.share * tokens.mask.sum((-2, -1))).long().clamp(min=1)
        chosen = select_largest(score.masked_fill(~tokens.mask, -torch.inf), count)
        loss = -tokens.advantages * tokens.log_ratio.exp()
        return loss + self.coefficient * chosen * tokens.log_ratio.abs(), chosen
