"""Learning from one side: RAFT++ (positives only), NSR (negatives only) and W-REINFORCE (Zhu et al. 2025) in one form."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from .base import Prepared, Sampled
from .none import NoIntervention


class SignedReward(NoIntervention):
    """The advantage is the raw reward r = +1 or -1 (2 * reward - 1), times `positive` or `negative` by its sign.

    (1, 0) is RAFT++, (0, 1) is NSR, (0.1, 1) is W-REINFORCE. No group mean is taken: groups of equal rewards count too.
    """

    name = "signed_reward"
    positive: float = Field(1.0, ge=0, le=100, description="weight of rewarded responses")
    negative: float = Field(0.0, ge=0, le=100, description="weight of failed responses")

    @model_validator(mode="after")
    def _learns_from_something(self) -> Self:
        if not self.positive + self.negative > 0:
            raise ValueError("positive 0 and negative 0: allowed is at most one weight of zero")
        return self

    def prepare(self, sampled: Sampled) -> Prepared:
        r = 2 * sampled.rewards - 1
        advantages = self.positive * r.clamp(min=0) + self.negative * r.clamp(max=0)
        return Prepared(advantages, sampled.mask, sampled.memory)
