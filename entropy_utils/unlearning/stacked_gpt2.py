"""Several small GPT-2 models of one shape, run as one stacked batch.

Tiny models are bound by the overhead of calls: three in one batched matrix product cost little more than one. Weights lie
along a leading axis of size S; a test compares with `transformers.GPT2LMHeadModel`, which the weights come from and can
go back to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError

from .objectives.base import Output

if TYPE_CHECKING:
    from transformers import GPT2Config

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh"}


class StackedGPT2(nn.Module):
    """S GPT-2 models without dropout, every weight with a leading axis S; models never see each other."""

    def __init__(self, config: GPT2Config, states: Sequence[Mapping[str, Tensor]]):
        """config: that of each model, or what has its fields (`Memory.shape`); states: a `GPT2LMHeadModel`'s of each."""
        super().__init__()
        plain = config.model_type == "gpt2" and config.activation_function in ACTIVATIONS
        if not plain or config.resid_pdrop or config.embd_pdrop or config.attn_pdrop or config.tie_word_embeddings:
            raise ParameterError.of("config", config.model_type, "gpt2 with gelu, untied, without dropout", "argument")
        self.config, self.replicas = config, len(states)
        self._width, self._layers, self._heads = config.n_embd, config.n_layer, config.n_head  # a config is slow to ask
        self._eps, self._gelu = config.layer_norm_epsilon, ACTIVATIONS[config.activation_function]
        for name in states[0]:
            stacked = torch.stack([state[name].detach().float() for state in states])
            if name == "lm_head.weight":  # (V, d) as nn.Linear keeps it; the other weights are (in, out) already
                stacked = stacked.mT.contiguous()
            self.register_parameter(_flat(name), nn.Parameter(stacked))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (S, N, L, V) of ids (N, L), read by every model, or (S, N, L), each model its own."""
        return self.output(ids).logits

    def output(self, ids: Tensor, layer: int | None = None, places: Tensor | None = None) -> Output:
        """Logits, and the activations (S, N, L, d) that enter layer number `layer` (`hidden_states[layer]`) if asked for.

        places (S, N, A): the positions whose logits (S, N, A, V) are wanted; the last layer computes no others.
        ParameterError: sequences longer than the model.
        """
        tokens, positions = self._get("transformer.wte.weight"), self._get("transformer.wpe.weight")
        length = ids.shape[-1]
        if length > (most := positions.shape[1]):
            raise ParameterError.of("input_ids", f"{length} tokens", f"at most the model's {most}", "argument")
        ids = ids.expand(self.replicas, *ids.shape[-2:])
        offset = torch.arange(self.replicas, device=ids.device).view(-1, 1, 1) * tokens.shape[1]
        x = F.embedding(ids + offset, tokens.flatten(0, 1))
        x = (x + positions[:, None, :length]).flatten(1, 2)
        rows, hidden, asking = ids.shape[1], None, torch.arange(length, device=ids.device)
        for number in range(self._layers):
            if number == layer:
                hidden = x
            at = f"transformer.h.{number}."
            qkv = self._affine(self._norm(x, at + "ln_1"), at + "attn.c_attn").unflatten(1, (rows, length))
            query, key, value = qkv.split(self._width, -1)
            if places is not None and number == self._layers - 1:
                x, query, asking = _at(x.unflatten(1, (rows, length)), places).flatten(1, 2), _at(query, places), places
            mixed = self._attend(query, key, value, asking)
            x = x + self._affine(mixed, at + "attn.c_proj")
            y = self._affine(self._norm(x, at + "ln_2"), at + "mlp.c_fc")
            y = F.gelu(y, approximate=self._gelu)
            x = x + self._affine(y, at + "mlp.c_proj")
        x = self._norm(x, "transformer.ln_f")
        if layer == self._layers:
            hidden = x
        logits = torch.bmm(x, self._get("lm_head.weight")).unflatten(1, (rows, -1))
        return Output(logits, None if hidden is None else hidden.unflatten(1, (rows, -1)))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, places: Tensor) -> Tensor:
        """What the queries (S, N, A, d) that stand at `places` (A,) or (S, N, A) read: (S, N A, d).

        Written out, for torch's own attention takes longer on sequences as short as these.
        """
        heads = self._heads
        hidden = torch.arange(key.shape[2], device=key.device) > places.unsqueeze(-1)
        mask = key.new_zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        if places.ndim > 1:
            mask = mask.flatten(0, 1).repeat_interleave(heads, 0)
        q, k, v = (_by_head(part, heads) for part in (query, key, value))
        mixed = torch.bmm(torch.baddbmm(mask, q, k.mT, alpha=q.shape[-1] ** -0.5).softmax(-1), v)
        return mixed.unflatten(0, (-1, heads)).transpose(1, 2).reshape(len(query), -1, query.shape[-1])

    def state(self, replica: int) -> dict[str, Tensor]:
        """State dict of one model, as `GPT2LMHeadModel.load_state_dict` takes it."""
        found = {name.replace("/", "."): tensor[replica].detach().clone() for name, tensor in self.named_parameters()}
        found["lm_head.weight"] = found["lm_head.weight"].T.contiguous()
        return found

    def _get(self, name: str) -> Tensor:
        return getattr(self, _flat(name))

    def _affine(self, x: Tensor, name: str) -> Tensor:
        return torch.baddbmm(self._get(name + ".bias")[:, None], x, self._get(name + ".weight"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        x = F.layer_norm(x, x.shape[-1:], eps=self._eps)
        return torch.addcmul(self._get(name + ".bias")[:, None], x, self._get(name + ".weight")[:, None])


def _at(x: Tensor, places: Tensor) -> Tensor:
    """The rows (S, N, A, d) of x (S, N, L, d) at `places` (S, N, A)."""
    return x.gather(2, places.unsqueeze(-1).expand(*places.shape, x.shape[-1]))


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(S, N, L, d) as (S N heads, L, d / heads)."""
    return x.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _flat(name: str) -> str:
    return name.replace(".", "/")  # nn.Module allows no dot in the name of a parameter
