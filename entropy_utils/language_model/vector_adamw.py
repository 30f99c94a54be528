"""AdamW on all weights of a stack as one vector: a few long passes over memory in the place of hundreds of short calls."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class VectorAdamW:
    """The updates of `torch.optim.AdamW` on `weights`, from the losses themselves.

    At the first gradient the weights that the loss depends on move into one vector; their tensors stay what they were and
    show parts of it. Weights that it does not depend on stay as they are, without decay, as they do in torch. Without decay
    in all it is Adam.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, weight_decay: float = 0.01):
        self.weights, self.lr, self.weight_decay = list(weights), lr, weight_decay
        self._vector, self._parts, self.gradients = None, [], []

    def backward(self, loss: Tensor) -> None:
        """The gradient of a loss without axes, weight by weight in `gradients`, where it may be changed in place."""
        found = torch.autograd.grad(loss, self.weights, allow_unused=True)
        if self._vector is None:
            self._join([weight for weight, gradient in zip(self.weights, found, strict=True) if gradient is not None])
        torch.cat([gradient.flatten() for gradient in found if gradient is not None], out=self._gradient)

    def step(self) -> None:
        """One update down the gradient, at the present `lr`."""
        self._before.copy_(self._vector)
        self._updates += 1
        torch._fused_adamw_(  # the kernel alone: the first `torch.optim.AdamW` of a process takes two seconds
            [self._vector], [self._gradient], [self._mean], [self._square], [], [self._updates], lr=self.lr, beta1=0.9,
            beta2=0.999, eps=1e-8, weight_decay=self.weight_decay, amsgrad=False, maximize=False,
        )  # fmt: skip

    @torch.no_grad()
    def undo(self, which: Tensor | None = None) -> None:
        """Take the last update back, if there was one: in all, or in the models `which` (S,) of weights (S, ...)."""
        if which is None and self._vector is not None:
            self._vector.copy_(self._before)
        elif which is not None and which.any():
            for weight, before in self._parts:
                weight[which] = before[which]

    def finite(self) -> bool:
        """Whether all weights that are updated are finite, after the first update."""
        return bool(self._vector.sum().isfinite())

    @torch.no_grad()
    def _join(self, weights: list[Tensor]) -> None:
        self._vector = torch.cat([weight.flatten() for weight in weights])
        self._gradient, self._before = torch.empty_like(self._vector), self._vector.clone()
        self._mean, self._square = torch.zeros_like(self._vector), torch.zeros_like(self._vector)
        self._updates = torch.zeros((), device=self._vector.device)
        sizes = [weight.numel() for weight in weights]
        vectors = (self._vector.split(sizes), self._gradient.split(sizes), self._before.split(sizes))
        for weight, now, gradient, before in zip(weights, *vectors, strict=True):
            weight.data = now.view_as(weight)
            self.gradients.append(gradient.view_as(weight))
            self._parts.append((weight, before.view_as(weight)))
