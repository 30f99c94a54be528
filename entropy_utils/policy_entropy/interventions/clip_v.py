"""Clip_V (Wang et al. 2026, arXiv 2602.03392): Clip_B with every token measured against its own distribution."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..covariance import select_largest
from ..estimators import baseline, discriminator
from .base import Sampled
from .clip_b import ClipB


class ClipV(ClipB):
    """As Clip_B with the deviation D = S - E_p[S] in place of S: D below -mu standard deviations of D, no mean taken off.

    At most `max_share` of the valid tokens go, lowest D first, but one may always go; 1 lifts that cap. The authors' code
    lets tokens of zero advantage pass the threshold too; here only tokens of negative advantage do (the others have no
    gradient). With `share`, that part of the negative-advantage tokens goes, lowest D first, and there is no cap.
    """

    name = "clip_v"
    uses: ClassVar[frozenset[str]] = frozenset({"moments"})
    mu: float = Field(8.5, ge=0, le=100, description="threshold", json_schema_extra={"unit": "standard deviations of D"})
    max_share: float = Field(1e-4, gt=0, le=1, description="share of the valid tokens to take out, at most")

    def dropped(self, sampled: Sampled, mask: Tensor, negative: Tensor) -> Tensor:
        found = super().dropped(sampled, mask, negative)
        if self.share is not None:
            return found
        most = (self.max_share * mask.sum((-2, -1))).long().clamp(min=1)
        return select_largest((-self.score(sampled, mask)).masked_fill(~found, -torch.inf), most)

    def score(self, sampled: Sampled, mask: Tensor) -> Tensor:
        """D = S - E_p[S] of every token, (..., N, T)."""
        s = discriminator(sampled.logp, sampled.entropy)
        return (s - baseline(sampled.entropy, sampled.sum_p2, sampled.sum_p2_log_p)).flatten(-3, -2)
