"""SimNPO (Fan et al. 2024, arXiv:2410.07163): NPO without a reference, on the NLL per token."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from .base import Objective, Output, answer_nll


class SimNPO(Objective):
    """-gamma (2 / beta) log sigmoid(beta (l - delta)), l the mean NLL per token of an answer; the mean over the batch."""

    name: ClassVar[str] = "simnpo"

    beta: float = Field(4.5, gt=0, le=100, description="inverse temperature")
    delta: float = Field(0.0, ge=0, le=100, description="margin", json_schema_extra={"unit": "nats"})
    gamma: float = Field(0.125, gt=0, le=100, description="weight of the forgetting part")

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        nll, length = answer_nll(live.logits, labels)
        margin = nll / length - self.delta
        return -self.gamma * 2 / self.beta * F.logsigmoid(self.beta * margin).mean(-1)
