"""NPO (Zhang et al. 2024, arXiv:2404.05868): the answers to forget as the losing half of a preference pair."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from .base import Objective, Output, answer_nll


class NPO(Objective):
    """-(2 / beta) log sigmoid(beta (s - s_frozen)), s the summed NLL of an answer; the mean over the batch.

    The push fades once the answer is much less probable than under the frozen model.
    """

    name: ClassVar[str] = "npo"

    beta: float = Field(0.1, gt=0, le=100, description="inverse temperature of the preference")

    def prepare(self, frozen: Output, labels: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """nll (..., B): summed NLL of every answer under the frozen model."""
        return {"nll": answer_nll(frozen.logits, labels)[0]}

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        nll = answer_nll(live.logits, labels)[0]
        return -2 / self.beta * F.logsigmoid(self.beta * (nll - targets["nll"])).mean(-1)
