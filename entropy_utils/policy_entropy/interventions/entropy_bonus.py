"""Entropy bonus: the loss of every token minus `coefficient` times the entropy of its distribution."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from .base import Tokens
from .none import NoIntervention


class EntropyBonus(NoIntervention):
    """L - coefficient * H, the classical regulariser (Cui et al. 2025, sec. 4.1)."""

    name = "entropy_bonus"
    uses: ClassVar[frozenset[str]] = frozenset({"entropy"})
    coefficient: float = Field(0.01, ge=0, le=100, description="weight of the entropy, per nat")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, touched = super().token_loss(tokens)
        return loss - self.coefficient * tokens.entropy, touched
