"""The scale law of sigmaReparam: weights times c, with their Adam rate times c, train as before (notebook 04, 1.9)."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from .digits import digits
from .sigma_reparam import reparametrize
from .tiny_vit import TinyViT


def scaled_losses(scale: float, rate: float, steps: int = 10, lr: float = 0.01, seed: int = 0) -> list[float]:
    """Losses of `steps` Adam steps in float64, all weight matrices multiplied by `scale` at first, their lr by `rate`.

    Gains, biases and norms keep `lr`. Adam's epsilon is negligible: it is what would break the law.
    """
    vit = reparametrize(TinyViT(generator=torch.Generator().manual_seed(seed)).double())
    weights = {name: p for name, p in vit.named_parameters() if name.endswith("original")}
    others = [p for name, p in vit.named_parameters() if name not in weights]
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(scale)
    groups = [{"params": list(weights.values()), "lr": lr * rate}, {"params": others, "lr": lr}]
    adam = torch.optim.Adam(groups, eps=1e-30)
    found, data = [], digits()
    for step in range(steps):
        batch = slice(64 * step, 64 * (step + 1))
        loss = cross_entropy(vit(data.train[batch].double()), data.train_labels[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    return found
