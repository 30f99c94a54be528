"""Adaptive entropy bonus (Skywork-OR1, He et al. 2025, arXiv 2505.22312): a coefficient that hunts a target entropy."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from .base import Prepared, Sampled, Tokens
from .none import NoIntervention


class AdaptiveBonus(NoIntervention):
    """L - c * H, where c grows by `delta` after a rollout below the target entropy and shrinks by it after one above.

    The bonus acts only while the entropy of the rollout is at or below the target. The memory is c, signed: negative
    while the bonus is switched off.
    """

    name = "adaptive_bonus"
    uses: ClassVar[frozenset[str]] = frozenset({"entropy"})
    target: float = Field(0.2, gt=0, le=20, description="entropy to keep", json_schema_extra={"unit": "nats"})
    delta: float = Field(0.005, gt=0, le=1, description="change of the coefficient per rollout")
    start: float = Field(0.0, ge=0, le=10, description="coefficient before the first rollout")
    largest: float = Field(1.0, gt=0, le=100, description="upper bound of the coefficient")

    @model_validator(mode="after")
    def _start_fits(self) -> Self:
        if self.start > self.largest:
            raise ValueError(f"start {self.start} and largest {self.largest}: allowed are start <= largest")
        return self

    @property
    def first_memory(self) -> float:
        return self.start

    def prepare(self, sampled: Sampled) -> Prepared:
        below = sampled.mean_entropy <= self.target
        size = (sampled.memory.abs() + torch.where(below, self.delta, -self.delta)).clamp(0.0, self.largest)
        return Prepared(sampled.advantages, sampled.mask, torch.where(below, size, -size))

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, touched = super().token_loss(tokens)
        return loss - tokens.memory.clamp(min=0) * tokens.entropy, touched
