"""Reference KL: a penalty on the divergence from the policy that training started from."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from .base import Tokens
from .none import NoIntervention


class ReferenceKL(NoIntervention):
    """L + coefficient * (e^d - d - 1), d = log pi_ref - log pi: a non-negative estimator of KL(pi || pi_ref)."""

    name = "reference_kl"
    uses: ClassVar[frozenset[str]] = frozenset({"reference"})
    coefficient: float = Field(0.05, ge=0, le=100, description="weight of the divergence, per nat")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, touched = super().token_loss(tokens)
        difference = tokens.reference_logp - tokens.logp
        return loss + self.coefficient * (difference.exp() - difference - 1), touched
