"""The floors of bounds.py in a network: what the theorem says about attention heads that see real tokens."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from entropy_utils.lab.errors import ParameterError

from .bounds import floors
from .tiny_vit import Attention, TinyViT


@torch.no_grad()
def network_floors(vit: TinyViT, images: Tensor) -> dict[str, np.ndarray]:
    """`bounds.floors` of every head: each (layers, heads, images, T), in nats, in float64.

    The floors are those of plain logits: the queries and keys must have no biases, as at the start of a network, no norm,
    no temperature and no soft-cap.
    """
    if not all(_plain(block.attention) for block in vit.blocks):
        allowed = "a network without biases, norm, temperature or soft-cap on queries and keys"
        raise ParameterError.of("vit", type(vit).__name__, allowed)
    seen: list[Tensor] = []
    vit = copy.deepcopy(vit).double()
    for block in vit.blocks:
        block.attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    vit(images.double())
    layers = []
    for block, tokens in zip(vit.blocks, seen, strict=True):
        heads = block.attention.heads
        W_Q, W_K = (part.weight.unflatten(0, (heads, -1)).mT.numpy() for part in (block.attention.q, block.attention.k))
        scale = W_Q.shape[-1] ** -0.5  # rows are queries: W_Q stands in the place of the paper's W_K
        layers.append([[floors(X, q * scale, k) for X in tokens.numpy()] for q, k in zip(W_Q, W_K, strict=True)])
    names = layers[0][0][0]
    return {name: np.array([[[one[name] for one in head] for head in layer] for layer in layers]) for name in names}


def _plain(attention: Attention) -> bool:
    no_norm = all(isinstance(norm, nn.Identity) for norm in (attention.q_norm, attention.k_norm))
    no_bias = not (attention.q.bias.any() or attention.k.bias.any())
    return no_norm and no_bias and attention.temperature == 1 and attention.soft_cap is None
