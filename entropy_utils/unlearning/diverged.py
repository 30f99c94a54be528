"""A training that broke: its loss or its weights are no finite numbers any more."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from entropy_utils.lab.errors import LabError


class Diverged(LabError, ArithmeticError):
    """A loss or weights that are no finite numbers. `step`: the update where it was seen, from 1; `good`: updates that the
    last good weights have seen, where the training went back to them."""

    def __init__(self, message: str, step: int = 0, good: int = 0):
        super().__init__(message)
        self.step, self.good = step, good


@torch.no_grad()
def finite(weights: Iterable[Tensor]) -> Tensor:
    """Whether all weights of each model of a stack are finite, (S,), from weights (S, ...)."""
    return torch.stack([w.flatten(1).sum(1).isfinite() for w in weights]).all(0)
