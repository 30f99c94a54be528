"""Several tiny vision transformers of one configuration, run as one stacked batch.

A `StackedViT` holds the tensors of S models along a leading axis and computes for each of them exactly what `TinyViT`
computes, with or without sigmaReparam or weight norm (a test compares outputs, gradients and training steps). Equal
layers lie in one tensor too, so that one power iteration serves all queries and keys of all models.

The attention entropies and the largest logits of the last forward pass are kept, per model, layer and head.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        pairs = ((name, getattr(self, flat)[index]) for flat, names in self.names.items() for name in [names])
        return {name: part.detach().clone() for names, parts in pairs for name, part in zip(names, parts, strict=True)}

    def model(self, index: int) -> TinyViT:
        """One model of the stack, as it is now, in eval mode."""
        model = copy.deepcopy(self.templates[index])
        model.load_state_dict({name: tensor.cpu() for name, tensor in self.state(index).items()})
        for block in model.blocks:
            block.attention.temperature = self.temperature
        return model.eval()

    @torch.no_grad()
    def clip_queries_and_keys(self, limit: float) -> None:
        """QK-clip after an optimiser step: scale W_Q, W_K (and biases) of each head by the root of limit / largest logit of
        the last forward pass where that is below 1 (Kimi K2, arXiv 2507.20534)."""
        root = (limit / self.largest_logit).clamp(max=1.0).sqrt()  # (S, layers, heads)
        for name in ("q+k weight", "q+k bias"):
            tensor = self._get(name)
            heads = tensor.view(len(self), self.layers, 2, self.heads, -1)
            heads.mul_(root[:, :, None, :, None])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (S, batch, classes) of images (S, batch, patches, pixels); fills `entropy` and `largest_logit`.

        Both are (S, layers, heads): mean row entropy over its maximum log T, largest absolute logit. The last layer
        works out its output for the class token only, nothing else being used; its entropies are those of all queries.
        """
        stack, batch, patches, _ = images.shape
        qk, vo, up, down = (self.weights(group).unbind(1) for group in ("q+k", "v+o", "up", "down"))
        b_qk, b_vo, b_up, b_down = (self._get(f"{group} bias").unbind(1) for group in ("q+k", "v+o", "up", "down"))
        x = torch.baddbmm(self._get("embed bias"), images.flatten(1, 2), self.weights("embed")[:, 0].mT)
        token = self._get(" token").expand(-1, batch, -1, -1)
        x = torch.cat([token, x.unflatten(1, (batch, patches))], 2) + self._get(" position")
        x, seen = x.flatten(1, 2), []
        for layer in range(self.layers):
            at, last = 2 * layer, layer == self.layers - 1
            y = self._normed(x, "norm1", layer) if self.norm == "pre" else x
            weight = torch.cat([qk[at], qk[at + 1], vo[at]], 1)
            bias = torch.cat([b_qk[at], b_qk[at + 1], b_vo[at]], 1)
            joint = torch.baddbmm(bias[:, None], y, weight.mT).view(stack, batch, patches + 1, 3, self.heads, -1)
            q, k, v = joint.permute(3, 0, 1, 4, 2, 5).contiguous().unbind()
            mixed, found = self._attend(q, k, v, layer, last)
            seen.append(found)
            if last:
                x = x.unflatten(1, (batch, -1))[:, :, 0]
            x = torch.baddbmm(x + b_vo[at + 1][:, None], mixed, vo[at + 1].mT)
            x = self._normed(x, "norm1", layer) if self.norm == "post" else x
            y = self._normed(x, "norm2", layer) if self.norm == "pre" else x
            y = F.gelu(torch.baddbmm(b_up[layer][:, None], y, up[layer].mT))
            x = torch.baddbmm(x + b_down[layer][:, None], y, down[layer].mT)
            x = self._normed(x, "norm2", layer) if self.norm == "post" else x
        self.entropy, self.largest_logit = (torch.stack(part, 1) for part in zip(*seen, strict=True))
        x = self._normed(x, "final_norm", 0) if self.norm == "pre" else x
        return torch.baddbmm(self._get("head bias"), x, self.weights("head")[:, 0].mT)

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
        with torch.no_grad():
            u = self._get(f"{group} {ORIGINAL}0.u")
            v = F.normalize((weight @ u[..., None])[..., 0], dim=-1)
            if self.training:
                u.copy_(F.normalize((v[..., None, :] @ weight)[..., 0, :], dim=-1))
        sigma = (v * (weight @ u[..., None].clone())[..., 0]).sum(-1)
        return (gamma / sigma)[..., None, None] * weight

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int, last: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attention of one layer on (S, batch, heads, tokens, width of a head): output (S, rows, width) and statistics.

        Logits are kept as (..., keys, queries): a softmax over the last but one axis is faster for few keys.
        """
        if hasattr(self, "q_norm+k_norm weight"):
            gain, shift = (self._get(f"q_norm+k_norm {name}")[:, 2 * layer : 2 * layer + 2] for name in ("weight", "bias"))
            q, k = (
                F.layer_norm(x, x.shape[-1:]) * gain[:, at, None, None, None] + shift[:, at, None, None, None]
                for at, x in enumerate((q, k))
            )
        shape = q.shape
        q, k, v = (x.flatten(0, 2) for x in (q, k, v))
        if last:
            with torch.no_grad():
                logits = self._logits(q, k)
                found = _statistics(logits, logits.log_softmax(1), shape)
            p = self._logits(q[:, :1], k).softmax(1)
        else:
            logits = self._logits(q, k)
            log_p = logits.log_softmax(1)
            p = log_p.exp()
            found = _statistics(logits, log_p, shape)
        mixed = torch.bmm(p.mT, v).view(*shape[:3], -1, shape[-1]).transpose(2, 3)
        return mixed.reshape(shape[0], -1, shape[2] * shape[-1]), found

    def _logits(self, q: Tensor, k: Tensor) -> Tensor:
        scale = 1 / (math.sqrt(q.shape[-1]) * self.temperature)
        logits = torch.baddbmm(q.new_zeros(()), k, q.mT, beta=0, alpha=scale)
        return self.soft_cap * torch.tanh(logits / self.soft_cap) if self.soft_cap else logits

    def _normed(self, x: Tensor, name: str, layer: int) -> Tensor:
        gain, shift = (self._get(f"{name} {part}")[:, layer, None] for part in ("weight", "bias"))
        return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), gain)

    def _get(self, name: str) -> Tensor:
        return getattr(self, name.replace(".", "/"))


@torch.no_grad()
def _statistics(logits: Tensor, log_p: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Mean entropy of the rows over log T, and the largest absolute logit, each (S, heads)."""
    by_head = (*shape[:3], -1)
    entropy = -(log_p.exp() * log_p).view(by_head).sum((1, 3)) / (shape[1] * shape[3] * math.log(shape[3]))
    return entropy, logits.abs().view(by_head).amax((1, 3))
