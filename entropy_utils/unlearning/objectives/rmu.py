"""RMU (Li et al. 2024, arXiv:2403.03218): steer the activations of one layer to a fixed random vector."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

from ..answer_tokens import IGNORED
from .base import Objective, Output, Retained, masked_mean


class RMU(Objective):
    """Mean squared distance of the answer tokens' activations to a random vector, plus that of retained ones to the
    frozen model's.

    The vector has length `coefficient` and a random direction with positive entries, a function of `vector_seed`: it is
    the same for all models of a stack, so their spread does not contain it.
    """

    name: ClassVar[str] = "rmu"
    needs: ClassVar[frozenset[str]] = frozenset({"hidden"})

    retain_weight: float = Field(1.0, ge=0, le=1e3, description="weight of the loss on the retain set")
    layer: int = Field(
        1,
        ge=0,
        le=200,
        description="layers below the activations that are steered: their number in hidden_states, one more than that of "
        "the module that puts them out; 1 fits a model of two layers",
    )
    coefficient: float = Field(2.0, gt=0, le=1e4, description="length of the random vector")
    vector_seed: int = Field(0, ge=0, description="of the random vector")

    def check(self, vocabulary: int, layers: int) -> None:
        if self.layer > layers:
            raise ParameterError.of("layer", self.layer, f"at most the model's {layers} layers")

    def direction(self, width: int) -> Tensor:
        """The vector to steer to, (width,)."""
        vector = torch.rand(width, generator=torch.Generator().manual_seed(self.vector_seed))
        return self.coefficient * vector / vector.norm()

    def prepare_retain(self, frozen: Output, labels: Tensor) -> dict[str, Tensor]:
        """hidden (..., B, L, d): the frozen model's activations. With a large model make them batch by batch."""
        return {"hidden": frozen.hidden}

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return _distance(live.hidden, self.direction(live.hidden.shape[-1]).to(live.hidden), labels)

    def retain_loss(self, retain: Retained) -> Tensor:
        return _distance(retain.live.hidden, retain.targets["hidden"], retain.labels)


def _distance(hidden: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Mean squared difference per entry over the answer's tokens, (...)."""
    mask = (labels != IGNORED).expand(hidden.shape[:-1])
    squared = (hidden - target).square().mean(-1)
    return masked_mean(squared, mask)
