"""Gradient ascent: raise the loss on the forget set, without bound and without anything that holds the rest."""

from typing import ClassVar

from torch import Tensor

from .base import Objective, Output, mean_answer_nll


class GradientAscent(Objective):
    """Minus the mean NLL of the answers to forget, per token."""

    name: ClassVar[str] = "gradient_ascent"

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return -mean_answer_nll(live.logits, labels)
