"""A tiny vision transformer, written to be read: the definition of what notebook 04 trains.

Patches and a class token, `layers` blocks of attention and a two-layer perceptron, the class token's vector to the
classes. All matrices are `nn.Linear` (separate query, key, value, output), so that `sigma_reparam.reparametrize` applies.
`stacked_vit` trains several of them at once and computes the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rivals import soft_cap


class Attention(nn.Module):
    """Softmax attention of several heads; logits q k / sqrt(width of a head) / temperature."""

    def __init__(self, linear, width: int, heads: int, qk_norm: bool, soft_cap: float | None):
        super().__init__()
        self.heads, self.soft_cap, self.temperature = heads, soft_cap, 1.0
        self.q, self.k, self.v, self.o = (linear(width, width) for _ in range(4))
        self.q_norm, self.k_norm = ((nn.LayerNorm(width // heads) if qk_norm else nn.Identity()) for _ in range(2))

    def logits(self, x: Tensor) -> Tensor:
        """(batch, heads, queries, keys), after temperature and soft-cap."""
        q, k = self.q_norm(self._split(self.q(x))), self.k_norm(self._split(self.k(x)))
        logits = q @ k.mT / math.sqrt(q.shape[-1]) / self.temperature
        return logits if self.soft_cap is None else soft_cap(logits, self.soft_cap)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.logits(x).softmax(-1) @ self._split(self.v(x))
        return self.o(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """x + attention, then + perceptron; a LayerNorm before each (``pre``), after each sum (``post``), or ``none``."""

    def __init__(self, linear, width: int, heads: int, norm: str, qk_norm: bool, soft_cap: float | None):
        super().__init__()
        self.norm = norm
        self.attention = Attention(linear, width, heads, qk_norm, soft_cap)
        self.up, self.down = linear(width, 2 * width), linear(2 * width, width)
        self.norm1, self.norm2 = ((nn.Identity() if norm == "none" else nn.LayerNorm(width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "post":
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.perceptron(x))
        x = x + self.attention(self.norm1(x))
        return x + self.perceptron(self.norm2(x))

    def perceptron(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class TinyViT(nn.Module):
    """Logits (batch, classes) of images (batch, patches, pixels of a patch).

    Weights start from a normal distribution of standard deviation `std`, cut at +-2; class token and positions at 0.02;
    biases at 0; norms at the identity. `generator` makes the start reproducible.
    """

    def __init__(
        self,
        patches: int = 16,
        pixels: int = 4,
        classes: int = 10,
        width: int = 32,
        heads: int = 4,
        layers: int = 4,
        norm: str = "pre",
        qk_norm: bool = False,
        soft_cap: float | None = None,
        std: float = 0.18,
        generator: torch.Generator | None = None,
    ):
        super().__init__()

        def linear(inputs: int, outputs: int) -> nn.Linear:
            layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
            nn.init.trunc_normal_(layer.weight, std=std, generator=generator)
            nn.init.zeros_(layer.bias)
            return layer

        self.embed = linear(pixels, width)
        self.token = nn.Parameter(0.02 * torch.randn(1, width, generator=generator))
        self.position = nn.Parameter(0.02 * torch.randn(patches + 1, width, generator=generator))
        self.blocks = nn.ModuleList(Block(linear, width, heads, norm, qk_norm, soft_cap) for _ in range(layers))
        self.final_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.head = linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self._tokens(images)
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x[:, 0]))

    def attention(self, images: Tensor) -> list[Tensor]:
        """The attention weights of every layer, each (batch, heads, queries, keys)."""
        x, found = self._tokens(images), []
        for block in self.blocks:
            found.append(block.attention.logits(block.norm1(x) if block.norm == "pre" else x).softmax(-1))
            x = block(x)
        return found

    def _tokens(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        return torch.cat([self.token.expand(len(x), 1, -1), x], 1) + self.position
