"""Entrocraft (Li et al. 2026, arXiv 2604.26326, Algorithm 1 and code): hold the entropy in a band by rejecting rollouts."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..schedule import Schedule, Target
from .base import Prepared, Sampled
from .none import NoIntervention


class Entrocraft(NoIntervention):
    """Above the band only what lowers the entropy is trained on, below it only what raises it, inside it everything.

    The band is the target curve plus and minus half the width. m = +1 above it, -1 below it, 0 inside, per replica.

    - ``alg1``: the paper's Algorithm 1. Keep a response if m A >= 0; the others leave the loss and its denominator.
    - ``code``: the released code. Outside the band the advantage becomes max(r, 0) above and min(r, 0) below, with the
      raw reward r = +1 or -1; rejected responses count as zeros in the denominator, and groups of equal rewards count.

    Where nothing is accepted there is nothing to learn: the loss and its gradient are zero. The memory is m (NaN if the
    entropy is NaN).
    """

    name = "entrocraft"
    target: Target = Field(Schedule(values=(0.5,)), description="target curve", json_schema_extra={"unit": "nats"})
    width: float = Field(0.1, ge=0, le=20, description="width of the band", json_schema_extra={"unit": "nats"})
    variant: Literal["alg1", "code"] = Field("alg1", description="Algorithm 1 of the paper, or its released code")

    def check(self, vocabulary: int, steps: int) -> None:
        self.target.check(vocabulary, steps)

    def prepare(self, sampled: Sampled) -> Prepared:
        m = self.side(sampled.mean_entropy, sampled.step, sampled.steps)
        outside = m[..., None, None]
        if self.variant == "code":
            advantages = torch.where(outside == 0, sampled.advantages, one_sided(sampled.rewards, outside))
            return Prepared(advantages, sampled.mask, m)
        accepted = outside * sampled.advantages >= 0
        return Prepared(sampled.advantages * accepted, sampled.mask & accepted[..., None], m)

    def side(self, entropy: Tensor, step: int, steps: int) -> Tensor:
        """m of every replica: +1 where the entropy (...,) lies above the band, -1 below it, 0 inside."""
        low, high = (self.target.value(step, steps) + sign * self.width / 2 for sign in (-1, 1))
        m = (entropy > high).to(entropy) - (entropy < low).to(entropy)
        return torch.where(entropy.isnan(), entropy, m)


def one_sided(rewards: Tensor, side: Tensor) -> Tensor:
    """Raw rewards r = 2 * reward - 1 in [-1, 1] with only one sign left: max(r, 0) where side > 0, else min(r, 0)."""
    signed = 2 * rewards - 1
    return torch.where(side > 0, signed.clamp(min=0), signed.clamp(max=0))
