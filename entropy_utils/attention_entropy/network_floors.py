"""The floors of bounds.py in a network: what the theorem says about attention heads that see real tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .bounds import floors
from .tiny_vit import TinyViT


@torch.no_grad()
def network_floors(vit: TinyViT, images: Tensor) -> dict[str, np.ndarray]:
    """`bounds.floors` of every head: each (layers, heads, images, T), in nats, in float64.

    The network must be without biases in queries and keys, as it is at its start, and without normalised queries and keys.
    """
    seen: list[Tensor] = []
    vit = vit.double()
    hooks = [block.attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for block in vit.blocks]
    try:
        vit(images.double())
    finally:
        for hook in hooks:
            hook.remove()
    layers = []
    for block, tokens in zip(vit.blocks, seen, strict=True):
        heads = block.attention.heads
        W_Q, W_K = (part.weight.unflatten(0, (heads, -1)).mT.numpy() for part in (block.attention.q, block.attention.k))
        scale = W_Q.shape[-1] ** -0.5  # rows are queries: W_Q stands in the place of the paper's W_K
        layers.append([[floors(X, q * scale, k) for X in tokens.numpy()] for q, k in zip(W_Q, W_K, strict=True)])
    names = layers[0][0][0]
    return {name: np.array([[[one[name] for one in head] for head in layer] for layer in layers]) for name in names}
