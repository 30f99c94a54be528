"""Several tiny vision transformers of one configuration, run as one stacked batch.

A `StackedViT` holds the tensors of S models along a leading axis and computes for each of them exactly what `TinyViT`
computes, with or without sigmaReparam or weight norm (a test compares outputs, gradients and training steps). Equal
layers lie in one tensor too, so that one power iteration serves all queries and keys of all models.

The attention entropies and the largest logits of the last forward pass are kept, per model, layer and head.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .rivals import clip_queries_and_keys
from .sigma_reparam import sigma_batch
from .stacked_block import FastBlocks, Shape, Weights, blocks, layer_norm
from .tiny_vit import TinyViT

ORIGINAL = "parametrizations.weight."  # how torch names what is behind a parametrized weight


class StackedViT(nn.Module):
    """The stack of `models`, which must be equal but for their numbers; these are copied, the models left alone."""

    def __init__(self, models: Sequence[TinyViT]):
        super().__init__()
        self.templates = tuple(models)
        first = self.templates[0]
        self.layers, self.heads, self.norm = len(first.blocks), first.blocks[0].attention.heads, first.blocks[0].norm
        self.soft_cap, self.temperature = first.blocks[0].attention.soft_cap, 1.0
        blocks = [f"blocks.{layer}." for layer in range(self.layers)]
        self.members = {"": [""], "embed": ["embed."], "head": ["head."], "final_norm": ["final_norm."]}
        self.members |= {name: [f"{block}{name}." for block in blocks] for name in ("up", "down", "norm1", "norm2")}
        for pair in (("q", "k"), ("v", "o"), ("q_norm", "k_norm")):
            self.members["+".join(pair)] = [f"{block}attention.{name}." for block in blocks for name in pair]
        trained = {name for name, parameter in first.named_parameters() if parameter.requires_grad}
        states = [model.state_dict() for model in self.templates]
        self.names = {}  # of a stacked tensor -> its names in one model
        for group, members in self.members.items():
            own = members[0]
            for name in states[0]:
                known = name in ("token", "position") if not own else name.startswith(own)
                if known:
                    ending = name.removeprefix(own)
                    flat = f"{group} {ending}".replace(".", "/")
                    self.names[flat] = [member + ending for member in members]
                    stacked = torch.stack([torch.stack([state[part] for part in self.names[flat]]) for state in states])
                    stacked = stacked.detach().clone()
                    if name in trained:
                        self.register_parameter(flat, nn.Parameter(stacked))
                    else:
                        self.register_buffer(flat, stacked)
        self.entropy = self.largest_logit = None

    def __len__(self) -> int:
        return len(self.templates)

    def state(self, index: int) -> dict[str, Tensor]:
        """The state dict of one model, as `TinyViT.load_state_dict` takes it."""
        return {
            name: part.detach().clone()
            for flat, names in self.names.items()
            for name, part in zip(names, getattr(self, flat)[index], strict=True)
        }

    def model(self, index: int) -> TinyViT:
        """One model of the stack, as it is now, in eval mode."""
        model = copy.deepcopy(self.templates[index])
        model.load_state_dict({name: tensor.cpu() for name, tensor in self.state(index).items()})
        for one in model.blocks:
            one.attention.temperature = self.temperature
        return model.eval()

    @torch.no_grad()
    def clip_queries_and_keys(self, limit: float) -> None:
        """QK-clip (`rivals.clip_queries_and_keys`) after an optimiser step, by the logits of the last forward pass."""
        largest = self.largest_logit.repeat_interleave(2, 1)  # the stack's layers are q, k, q, k, ...
        clip_queries_and_keys(largest, limit, [self._get("q+k weight")], [self._get("q+k bias")])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (S, batch, classes) of images (S, batch, patches, pixels); fills `entropy` and `largest_logit`.

        Both are (S, layers, heads): mean row entropy over its maximum log T, largest absolute logit. The last layer
        works out its output for the class token only, nothing else being used; its entropies are those of all queries.
        Activations are (S, features, tokens x batch): a layer is one product from the left, the images lie last.
        """
        _, batch, patches, _ = images.shape
        x = self.weights("embed")[:, 0] @ images.transpose(1, 3).flatten(2) + self._get("embed bias").mT
        token = self._get(" token")[:, 0].mT[..., None].expand(-1, -1, -1, batch)
        x = torch.cat([token, x.unflatten(2, (patches, batch))], 2) + self._get(" position")[:, 0].mT[..., None]
        x, scale = x.flatten(2), 1 / (math.sqrt(x.shape[1] / self.heads) * self.temperature)
        shape = Shape(self.heads, patches + 1, 1, scale, self.norm, self.soft_cap)
        weights = self._weights()
        x, entropy, self.largest_logit = FastBlocks.apply(x, shape, *weights) if _fast(x) else blocks(x, weights, shape)
        self.entropy = entropy / math.log(patches + 1)
        x = layer_norm(x, *(part[:, 0] for part in self._norm("final_norm"))) if self.norm == "pre" else x
        return (self.weights("head")[:, 0] @ x + self._get("head bias").mT).mT

    def weights(self, group: str) -> Tensor:
        """The weights that a group of layers has in effect, (S, layers of the group, outputs, inputs).

        In train mode sigmaReparam makes its power iteration here, as `sigma_reparam.SigmaReparam` does.
        """
        if hasattr(self, f"{group} weight"):
            return self._get(f"{group} weight")
        if hasattr(self, f"{group} {ORIGINAL}original1".replace(".", "/")):  # weight norm
            gain, rows = (self._get(f"{group} {ORIGINAL}original{part}") for part in (0, 1))
            return gain * rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        weight, gamma = self._get(f"{group} {ORIGINAL}original"), self._get(f"{group} {ORIGINAL}0.gamma")
        stored = self._get(f"{group} {ORIGINAL}0.u")
        new, u = sigma_batch(*(part.flatten(0, 1) for part in (weight, gamma, stored)), self.training)
        if self.training:
            stored.copy_(u.view_as(stored))
        return new.view_as(weight)

    def _weights(self) -> Weights:
        """Those of the blocks."""
        parts = [(self.weights(group), self._get(f"{group} bias")) for group in ("q+k", "v+o", "up", "down")]
        parts += [self._norm(group) for group in ("norm1", "norm2", "q_norm+k_norm")]
        return Weights(*itertools.chain(*parts))

    def _norm(self, group: str) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Gain and shift of a group of LayerNorms, (S, layers, width), if the model has it."""
        return tuple(getattr(self, f"{group} {part}", None) for part in ("weight", "bias"))

    def _get(self, name: str) -> Tensor:
        return getattr(self, name.replace(".", "/"))


def _fast(x: Tensor) -> bool:
    """Whether the compiled blocks take a tensor."""
    return x.device.type == "cpu" and x.dtype == torch.float32
