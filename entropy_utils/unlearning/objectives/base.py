"""What every unlearning objective is: targets from the frozen model, once per example, and a loss on the live one.

Nothing here knows which model produced the logits: a transformers model gives (B, L, V), a stack of S models gives
(S, B, L, V), and the loss has the leading axes that are left, so that stacked models stay independent.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from entropy_utils.lab.experiment import Parameters

from ..answer_tokens import answer_log_prob


class Output(NamedTuple):
    """What a model says about a batch: logits (..., B, L, V), and activations (..., B, L, d) where they are needed."""

    logits: Tensor
    hidden: Tensor | None = None


class Retained(NamedTuple):
    """The live model on a batch to keep, its labels, and what `prepare_retain` made of the frozen model there."""

    live: Output
    labels: Tensor
    targets: dict[str, Tensor]


class Objective(Parameters):
    """An unlearning objective. Fields are its coefficients, with bounds; `needs` names what it takes besides logits:

    "hidden": the activations that enter layer `layer`. Whether it needs a batch to keep says `needs_retain`.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()

    retain_weight: float = Field(0.0, ge=0, le=1e3, description="weight of the loss on the retain set; 0: none needed")

    @property
    def needs_retain(self) -> bool:
        return self.retain_weight > 0

    @property
    def prepares(self) -> bool:
        """Whether there are targets of the examples to forget, `prepare`."""
        return type(self).prepare is not Objective.prepare

    @property
    def prepares_retain(self) -> bool:
        """Whether there are targets of the examples to keep, `prepare_retain`."""
        return self.needs_retain and type(self).prepare_retain is not Objective.prepare_retain

    @property
    def draws(self) -> bool:
        """Whether `prepare` draws random numbers, so that it must not be done twice."""
        return False

    def check(self, vocabulary: int, layers: int) -> None:
        """Raise a `ParameterError` if the coefficients do not fit a model of so many tokens and layers."""

    def prepare(self, frozen: Output, labels: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Targets, each (..., B, ...), from the frozen model on examples to forget; computed once, then cut into batches."""
        return {}

    def prepare_retain(self, frozen: Output, labels: Tensor) -> dict[str, Tensor]:
        """The same on examples to keep."""
        return {}

    def loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor], retain: Retained | None = None) -> Tensor:
        """What is minimised, (...): forgetting, plus `retain_weight` times keeping."""
        loss = self.forget_loss(live, labels, targets)
        if self.needs_retain:
            if retain is None:
                raise ValueError(f"retain: got none, allowed: a batch to keep, for {self.name} has retain_weight > 0")
            loss = loss + self.retain_weight * self.retain_loss(retain)
        return loss

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define forget_loss")

    def retain_loss(self, retain: Retained) -> Tensor:
        """Mean NLL of the answers to keep."""
        return mean_answer_nll(retain.live.logits, retain.labels)


def mean_answer_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-probability per answer token over the last two axes (examples, tokens), (...), nats."""
    log_prob, mask = answer_log_prob(logits, labels)
    return -log_prob.sum((-2, -1)) / mask.sum((-2, -1))


def answer_nll(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed negative log-probability of each answer, (..., B), and its number of tokens."""
    log_prob, mask = answer_log_prob(logits, labels)
    return -log_prob.sum(-1), mask.sum(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of a batch (last two axes) where `mask`, (...); 0 where there are none."""
    return values.masked_fill(~mask, 0).sum((-2, -1)) / mask.sum((-2, -1)).clamp(min=1)
